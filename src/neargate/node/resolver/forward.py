"""Queries that are not ours, asked of this machine's own resolvers. Called by server.py.

A query goes on as it came, but for its id, and so does its answer. What came over TCP goes on over TCP. How
much is under way at a time is bounded by bounds.py.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import dns.exception
import dns.message

from neargate.node.resolver.answers import PAYLOAD

_TRY_SECONDS = 1.5
_ALL_SECONDS = 4.5
_MOST_SERVERS = 3
_PORT = 53

Server = tuple[str, int]


class Upstream:
    """The resolvers that a file names (/etc/resolv.conf), whatever it says at the time."""

    def __init__(self, path: Path, own: str) -> None:
        """own -- our own address: nobody is asked in a circle."""
        self._path = path
        self._own = own
        self._seen: tuple[int, int] | None = None
        self._servers: tuple[Server, ...] = ()

    def servers(self) -> Sequence[Server]:
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                self._servers = self._read(self._path.read_text(errors="replace"))
                self._seen = (found.st_ino, found.st_mtime_ns)
        except FileNotFoundError:
            return self._servers
        return self._servers

    def _read(self, text: str) -> tuple[Server, ...]:
        lines = [line.split() for line in text.splitlines()]
        named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
        return tuple((name, _PORT) for name in named if name != self._own)[:_MOST_SERVERS]


class Forwarder:
    def __init__(self, servers: Callable[[], Sequence[Server]]) -> None:
        self._servers = servers

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        """The answer of the first server that has one; None if none has in time."""
        own = secrets.token_bytes(2) + query[2:]
        try:
            async with asyncio.timeout(_ALL_SECONDS):
                for server in (*self._servers(), *self._servers()):
                    answer = await _attempt(server, own, stream=stream)
                    if answer is not None:
                        return query[:2] + answer[2:]
        except TimeoutError:
            return None
        return None

    async def ask_message(self, query: dns.message.Message) -> dns.message.Message | None:
        """A query of our own; over TCP where the answer is too long for UDP."""
        query.use_edns(0, payload=PAYLOAD)
        for stream in (False, True):
            answer = await self.ask(query.to_wire(), stream=stream)
            if answer is None or not answer[2] & 2:  # TC
                break
        try:
            return dns.message.from_wire(answer) if answer is not None else None
        except dns.exception.DNSException:
            return None


async def _attempt(server: Server, query: bytes, *, stream: bool) -> bytes | None:
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            return await (_over_tcp(server, query) if stream else _over_udp(server, query))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


class _Datagrams(asyncio.DatagramProtocol):
    """One question on a port of its own; what does not answer it is passed over."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and answers(self._query, data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(server: Server, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(query), remote_addr=server)
    try:
        transport.sendto(query)
        return await protocol.answer
    finally:
        transport.close()


async def _over_tcp(server: Server, query: bytes) -> bytes | None:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2) + query)
        await writer.drain()
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        return data if answers(query, data) else None
    finally:
        writer.close()


def answers(query: bytes, data: bytes) -> bool:
    """Whether a message is the answer to a query, by its id and question."""
    if len(data) < 12 or data[:2] != query[:2] or not data[2] & 0x80:
        return False
    if data[4:6] == b"\0\0":  # a refusal need not repeat the question
        return bool(data[3] & 0x0F)
    end = _question_end(query)
    return data[12:end].lower() == query[12:end].lower()


def _question_end(query: bytes) -> int:
    at = 12
    while at < len(query) and query[at]:
        at += query[at] + 1
    return at + 5
