"""The resolver of tasks, asked over real sockets on the loopback; another server stands for the world's."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model import zones
from neargate.model.zones import Document, Host, RecordSet, Zone
from neargate.node.resolver.__main__ import open_sockets
from neargate.node.resolver.answers import read
from neargate.node.resolver.book import FILE, Book, Shelf
from neargate.node.resolver.bounds import PACKETS_PER_SECOND, UNDER_WAY, Rate, Slots
from neargate.node.resolver.forward import Forwarder, Upstream, answers
from neargate.node.resolver.server import Server
from tests.support.real import eventually

TEN = tuple(f"10.0.0.{n}" for n in range(1, 11))
DOCUMENT = Document(
    zones=(Zone("corp.internal", 30), Zone("deep.corp.internal", 7)),
    sets=(
        RecordSet("web.corp.internal", "A", 5, TEN),
        RecordSet("one.corp.internal", "A", 5, TEN, 1),
        RecordSet("web.corp.internal", "AAAA", 6, ("fd00::1",)),
        RecordSet("_api._tcp.corp.internal", "SRV", 9, ("1 1 8080 i-1._api._tcp.corp.internal.",)),
        RecordSet("i-1._api._tcp.corp.internal", "A", 9, ("10.0.0.1",)),
        RecordSet("near.corp.internal", "CNAME", 4, ("web.corp.internal",), 1),
        RecordSet("far.corp.internal", "CNAME", 4, ("www.example.com",), 1),
        RecordSet("circle.corp.internal", "CNAME", 4, ("circle.corp.internal",), 1),
        RecordSet("x.deep.corp.internal", "A", 4, ("10.1.1.1",)),
    ),
    hosts=(Host("lb-1.us-east-1.elb.amazonaws.com", ("10.0.0.8", "10.0.16.8")),),
    domain="ec2.internal",
    range="10.0.0.0/16",
)


@dataclass
class World:
    """A server that knows `www.example.com`. `silent`: it hears nothing. `wrong`: others answer first."""

    heard: list[str] = field(default_factory=list)
    silent: bool = False
    wrong: bool = False
    port: int = 0

    def answer(self, data: bytes, *, stream: bool) -> bytes:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        self.heard.append(f"{'tcp' if stream else 'udp'} {name}")
        response = dns.message.make_response(query, recursion_available=True)
        if name == "long.example.com." and not stream:
            response.flags |= dns.flags.TC
        elif name in ("www.example.com.", "long.example.com."):
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, world: World) -> None:
        self._world = world

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._world.silent:
            return
        if self._world.wrong:
            self._transport.sendto(b"\0\0" + data[2:], addr)
            other = dns.message.make_response(dns.message.make_query("other.example.com", "A"))
            other.id = int.from_bytes(data[:2])
            self._transport.sendto(other.to_wire(), addr)
        self._transport.sendto(self._world.answer(data, stream=False), addr)


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[None]:
    datagrams, listener = open_sockets("127.0.0.1", 40_000 + os.getpid() % 20_000)
    world.port = datagrams.getsockname()[1]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            answer = world.answer(data, stream=True)
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(world), sock=datagrams)
    async with await asyncio.start_server(connected, sock=listener):
        yield
    transport.close()


@dataclass
class Resolver:
    directory: Path
    port: int
    world: World

    def write(self, document: Document) -> None:
        draft = self.directory / "draft"
        draft.write_bytes(zones.encode(document))
        draft.replace(self.directory / FILE)

    async def ask(self, name: str, kind: str = "A", *, stream: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        send = dns.asyncquery.tcp if stream else dns.asyncquery.udp
        return await send(query, "127.0.0.1", timeout=10, port=self.port)

    async def values(self, name: str, kind: str = "A", *, stream: bool = False) -> list[str]:
        answer = (await self.ask(name, kind, stream=stream)).answer
        return [value.to_text() for found in answer for value in found]


@asynccontextmanager
async def resolving(directory: Path, clients: str = "127.0.0.0/8") -> AsyncIterator[Resolver]:
    world = World()
    async with serving(world):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        datagrams, listener = open_sockets("127.0.0.1", world.port + 1)
        resolver = Resolver(directory, datagrams.getsockname()[1], world)
        resolver.write(DOCUMENT)
        server = Server(Shelf(fd), Forwarder(lambda: [("127.0.0.1", world.port)]), clients)
        task = asyncio.create_task(server.serve(datagrams, listener))
        try:
            yield resolver
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            os.close(fd)


@pytest.fixture
async def resolver(tmp_path: Path) -> AsyncIterator[Resolver]:
    async with resolving(tmp_path) as found:
        yield found


async def test_up_to_eight_of_many_in_an_order_of_chance(resolver: Resolver) -> None:
    seen = [tuple(await resolver.values("web.corp.internal")) for _ in range(20)]
    assert all(len(set(found)) == 8 and set(found) <= set(TEN) for found in seen)
    assert len(set(seen)) > 1
    response = await resolver.ask("WEB.corp.Internal")
    assert response.flags & dns.flags.AA and response.flags & dns.flags.RA
    assert response.answer[0].ttl == 5 and response.answer[0].name.to_text() == "WEB.corp.Internal."
    assert await resolver.values("web.corp.internal", "AAAA") == ["fd00::1"]
    assert len({(await resolver.values("one.corp.internal"))[0] for _ in range(30)}) > 1


async def test_ports_by_name(resolver: Resolver) -> None:
    assert await resolver.values("_api._tcp.corp.internal", "SRV") == [
        "1 1 8080 i-1._api._tcp.corp.internal."
    ]
    assert await resolver.values("i-1._api._tcp.corp.internal") == ["10.0.0.1"]


async def test_what_is_not_there(resolver: Resolver) -> None:
    for name, ttl in (("none.corp.internal", 30), ("a.b.deep.corp.internal", 7), ("ec2.internal", 60)):
        response = await resolver.ask(name, "TXT")
        there = name == "ec2.internal"
        assert response.rcode() == (dns.rcode.NOERROR if there else dns.rcode.NXDOMAIN)
        assert response.authority[0].rdtype == dns.rdatatype.SOA and response.authority[0].ttl == ttl
        assert response.authority[0][0].minimum == ttl  # type: ignore[attr-defined]
    # Names between a zone and its names, and names without the type that is asked for, are there.
    for name, kind in (("_tcp.corp.internal", "A"), ("one.corp.internal", "AAAA")):
        response = await resolver.ask(name, kind)
        assert (response.rcode(), response.answer) == (dns.rcode.NOERROR, [])
    assert resolver.world.heard == []


async def test_aliases_are_followed(resolver: Resolver) -> None:
    near = await resolver.values("near.corp.internal")
    assert near[0] == "web.corp.internal." and len(near) == 9
    assert await resolver.values("near.corp.internal", "CNAME") == ["web.corp.internal."]
    assert await resolver.values("far.corp.internal") == ["www.example.com.", "192.0.2.7"]
    assert (await resolver.ask("circle.corp.internal")).rcode() == dns.rcode.NOERROR


async def test_names_of_addresses_and_balancers(resolver: Resolver) -> None:
    assert await resolver.values("ip-10-0-3-4.ec2.internal") == ["10.0.3.4"]
    for name in ("ip-10-1-0-1.ec2.internal", "ip-10-0-0-01.ec2.internal", "ip-10-0-0.ec2.internal"):
        assert (await resolver.ask(name)).rcode() == dns.rcode.NXDOMAIN
    assert await resolver.values("4.3.0.10.in-addr.arpa", "PTR") == ["ip-10-0-3-4.ec2.internal."]
    balancer = "lb-1.us-east-1.elb.amazonaws.com"
    assert sorted(await resolver.values(balancer)) == ["10.0.0.8", "10.0.16.8"]
    assert await resolver.values(balancer, "AAAA") == [] and resolver.world.heard == []
    assert (await resolver.ask(f"x.{balancer}")).rcode() == dns.rcode.NXDOMAIN
    assert resolver.world.heard == [f"udp x.{balancer}."]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_rest_is_asked_of_others(resolver: Resolver, stream: bool) -> None:
    assert await resolver.values("www.example.com", stream=stream) == ["192.0.2.7"]
    assert (await resolver.ask("none.example.com", stream=stream)).rcode() == dns.rcode.NXDOMAIN
    how = "tcp" if stream else "udp"
    assert resolver.world.heard == [f"{how} www.example.com.", f"{how} none.example.com."]


async def test_an_answer_too_long_for_udp_comes_over_tcp(resolver: Resolver) -> None:
    assert (await resolver.ask("long.example.com")).flags & dns.flags.TC
    assert await resolver.values("long.example.com", stream=True) == ["192.0.2.7"]
    many = tuple(f"fd00::{n:x}" for n in range(1, 100))
    sets = (RecordSet("many.corp.internal", "AAAA", 1, many, len(many)),)
    resolver.write(Document(zones=DOCUMENT.zones, sets=sets))
    response = await resolver.ask("many.corp.internal", "AAAA")
    assert response.flags & dns.flags.TC and response.answer == []
    assert len(await resolver.values("many.corp.internal", "AAAA", stream=True)) == len(many)


async def test_only_the_answer_to_the_question_counts(resolver: Resolver) -> None:
    resolver.world.wrong = True
    assert await resolver.values("www.example.com") == ["192.0.2.7"]


async def test_a_new_file_counts_from_the_next_query_on(resolver: Resolver) -> None:
    assert len(await resolver.values("web.corp.internal")) == 8
    sets = (RecordSet("web.corp.internal", "A", 5, ("10.9.9.9",)),)
    resolver.write(Document(zones=DOCUMENT.zones, sets=sets))
    assert await resolver.values("web.corp.internal") == ["10.9.9.9"]
    (resolver.directory / FILE).write_text("no document")
    assert await resolver.values("web.corp.internal") == ["10.9.9.9"]
    (resolver.directory / FILE).unlink()
    assert await resolver.values("web.corp.internal") == ["10.9.9.9"]


async def test_one_that_asks_too_much_at_a_time_is_refused(resolver: Resolver) -> None:
    resolver.world.silent = True
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", resolver.port))
        for number in range(UNDER_WAY + 1):
            query = dns.message.make_query("www.example.com", "A", id=number)
            await loop.sock_sendall(client, query.to_wire())
        refused = dns.message.from_wire(await loop.sock_recv(client, 1000))
    assert refused.rcode() == dns.rcode.SERVFAIL
    assert len(await resolver.values("web.corp.internal")) == 8  # what is known here has its answer


async def test_strangers_are_not_answered(tmp_path: Path) -> None:
    async with resolving(tmp_path, clients="10.0.0.0/16") as resolver:
        with pytest.raises(OSError):  # the connection is closed without a word
            await dns.asyncquery.tcp(
                dns.message.make_query("web.corp.internal", "A"), "127.0.0.1", timeout=10, port=resolver.port
            )


QUERY = dns.message.make_query("web.corp.internal", "A").to_wire()


def test_only_plain_queries_are_read() -> None:
    assert read(QUERY) is not None
    answer = bytearray(QUERY)
    answer[2] |= 0x80
    update = bytearray(QUERY)
    update[2] |= 5 << 3
    two = bytearray(QUERY)
    two[5] = 2
    with_answer = bytearray(QUERY)
    with_answer[7] = 1
    for data in (
        b"",
        QUERY[:11],
        bytes(answer),
        bytes(update),
        bytes(two),
        bytes(with_answer),
        QUERY + b"\0" * 2000,
    ):
        assert read(data) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    head = b"\0\1\1\0\0\1\0\0\0\0\0\1"
    for tried in (data, head + data, QUERY[: len(QUERY) - len(data) % len(QUERY)] + data):
        message = read(tried)
        assert message is None or len(message.question) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda query: setattr(query.question[0], "rdclass", dns.rdataclass.CH), dns.rcode.REFUSED),
        (lambda query: setattr(query.question[0], "rdtype", dns.rdatatype.AXFR), dns.rcode.REFUSED),
    ],
)
async def test_what_is_refused(
    resolver: Resolver, change: Callable[[dns.message.Message], None], code: int
) -> None:
    query = dns.message.make_query("web.corp.internal", "A")
    change(query)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", resolver.port))
        await loop.sock_sendall(client, query.to_wire())
        answer = await loop.sock_recv(client, 1000)
    assert answer[3] & 0x0F == code


def test_a_bucket_of_packets() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0], most=2)
    assert sum(rate.allows("a") for _ in range(2 * PACKETS_PER_SECOND)) == PACKETS_PER_SECOND
    assert rate.allows("b")
    now[0] = 0.5
    assert sum(rate.allows("a") for _ in range(2 * PACKETS_PER_SECOND)) == PACKETS_PER_SECOND // 2
    assert rate.allows("c")  # `b` is forgotten for it, `a` is not
    assert not rate.allows("a")


def test_places_are_given_back() -> None:
    slots = Slots(1, 2)
    with slots.taken("a") as first, slots.taken("a") as second, slots.taken("b") as other:
        assert (first, second, other) == (True, False, True)
        with slots.taken("c") as third:
            assert not third
    with slots.taken("a") as again:
        assert again


def test_the_machine_s_resolvers_are_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    upstream = Upstream(file, "10.0.0.2")
    assert upstream.servers() == ()
    file.write_text("# nameserver 1.1.1.1\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver fe80::1\n")
    assert upstream.servers() == (("127.0.0.53", 53), ("fe80::1", 53))
    other = tmp_path / "other"
    other.write_text("nameserver 192.0.2.1\n")
    other.replace(file)
    assert upstream.servers() == (("192.0.2.1", 53),)


def test_an_answer_is_known_by_id_and_question() -> None:
    response = dns.message.make_response(dns.message.from_wire(QUERY)).to_wire()
    assert answers(QUERY, response)
    assert not answers(QUERY, QUERY)
    assert not answers(QUERY, b"\0\0" + response[2:])
    assert not answers(QUERY, response.replace(b"web", b"wob"))
    assert not answers(QUERY, response[:11])


def test_the_nearest_zone_knows() -> None:
    book = Book(DOCUMENT)
    known = book.known("x.deep.corp.internal")
    assert known is not None and known.zone.name == "deep.corp.internal"
    assert book.known("corp.internal.example.com") is None and book.known("internal") is None
    assert book.known("xcorp.internal") is None


def test_the_process_ends_with_its_directory(tmp_path: Path) -> None:
    directory = tmp_path / "resolver"
    directory.mkdir()
    command = [
        sys.executable, "-m", "neargate.node.resolver", "--address", "127.0.0.1", "--clients", "127.0.0.0/8",
        "--directory", str(directory), "--first-port", str(25_000 + os.getpid() % 5_000),
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        eventually((directory / "port").exists, "it listens")
        assert (directory / "port").read_text().split()[0] == str(process.pid)
        assert process.poll() is None
        shutil.rmtree(directory)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
