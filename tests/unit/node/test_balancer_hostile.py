"""Envoy between hostile clients and hostile targets: what it is told, what it holds, who else is served."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from envoy.service.auth.v3 import external_auth_pb2

from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.balancing import View
from neargate.model.envoy_routes import WOKEN
from neargate.node.balancer import envoy, waking
from tests.support.envoy_rig import Rig, forward, group, listener, target

pytestmark = pytest.mark.root
GOOD, BAD = group("good"), group("bad")
_MUCH = 100 << 20


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


class Bad:
    """A target whose every connection is answered by a function; none: it takes nothing and says nothing."""

    def __init__(self, answer: Callable[[socket.socket], None] | None = None) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.server.getsockname()[1]
        self._answer = answer
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                self._kept.append(client)
                if self._answer:
                    threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        assert self._answer
        with suppress(OSError):
            client.recv(65536)
            self._answer(client)

    def close(self) -> None:
        self.server.close()
        for client in self._kept:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()


def memory(rig: Rig) -> int:
    status = Path(f"/proc/{rig.envoy.companion.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def published(rig: Rig, bad: Bad) -> None:
    """The good one at port 80, the bad one at 81."""
    view = rig.view(
        [listener(forward((GOOD, 1)), 80), listener(forward((BAD, 1)), 81)],
        [GOOD, BAD],
        [target(GOOD, rig.web("good")[1]), target(BAD, bad.port)],
    )
    rig.publish(view)


def test_uploads_that_nobody_takes_are_not_held_in_memory(rig: Rig) -> None:
    bad, clients = Bad(), list[socket.socket]()
    published(rig, bad)
    before = memory(rig)

    def upload(_number: int) -> None:
        client = socket.create_connection((rig.address, 81), 10)
        clients.append(client)
        client.settimeout(0.5)
        client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n")
        with suppress(TimeoutError):
            client.sendall(bytes(8 << 20))

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(upload, range(200)))
    assert memory(rig) - before < _MUCH  # a MiB for each end of a connection would be 400
    assert rig.get().status == 200
    for client in clients:
        client.close()
    bad.close()


def test_answers_that_nobody_takes_are_not_held_in_memory(rig: Rig) -> None:
    def endless(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"ffff\r\n" + bytes(0xFFFF) + b"\r\n")

    bad, clients = Bad(endless), list[socket.socket]()
    published(rig, bad)
    before = memory(rig)
    for _ in range(150):
        client = socket.create_connection((rig.address, 81), 10)
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        clients.append(client)
    assert memory(rig) - before < _MUCH
    assert rig.get().status == 200
    for client in clients:
        client.close()
    bad.close()


@pytest.mark.parametrize("line", [b"X-A: " + b"b" * 1000 + b"\r\n", b"a" * 1000])
def test_an_answers_head_without_end_is_cut_off(rig: Rig, line: bytes) -> None:
    def answer(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            client.sendall(line)

    bad = Bad(answer)
    published(rig, bad)
    assert rig.get(port=81).status == 502
    bad.close()


def ask(rig: Rig, request: bytes, port: int = 80) -> bytes:
    """All that is answered until the connection ends."""
    with socket.create_connection((rig.address, port), 10) as client:
        client.sendall(request)
        answer = b""
        with suppress(ConnectionError):
            while data := client.recv(65536):
                answer += data
        return answer


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 4\r\ncontent-length: 5\r\n",
        b"content-length: +4\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"x: a\x00b\r\n",
    ],
)
def test_a_request_that_two_may_read_differently_reaches_no_target(rig: Rig, head: bytes) -> None:
    seen: list[bytes] = []
    bad = Bad(lambda client: seen.append(client.recv(65536)))
    published(rig, bad)
    body = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"
    answer = ask(rig, b"POST / HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n" + body, 81)
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert b"hidden" not in answer and seen == []
    bad.close()


@pytest.mark.parametrize(
    "header",
    [
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-upstream-rq-per-try-timeout-ms: 1",
        "x-envoy-expected-rq-timeout-ms: 1",
        "x-envoy-retry-on: 5xx",
        "x-envoy-max-retries: 50",
        "x-envoy-hedge-on-per-try-timeout: true",
        "x-envoy-internal: true",
        "x-envoy-external-address: 10.0.0.1",
        "x-envoy-force-trace: true",
        "x-envoy-ip-tags: a",
        "x-envoy-decorator-operation: a",
        "x-envoy-upstream-alt-stat-name: a",
        "x-neargate-source: 10.0.0.1",
        "x-neargate-trace: 00000000",
    ],
)
def test_nobody_steers_envoy_by_headers(rig: Rig, header: str) -> None:
    bad = Bad()
    published(rig, bad)
    for forged in ("", "127.255.255.255", "127.0.0.1, 10.0.0.1"):
        more = ("-H", f"X-Forwarded-For: {forged}") if forged else ()
        answer = rig.get("/echo", "-H", header, *more)
        assert answer.status == 200
        assert header.partition(":")[0] not in answer.body.lower()
    bad.close()


def test_a_failing_request_is_sent_once_whatever_its_client_asks_for(rig: Rig) -> None:
    seen: list[int] = []

    def failing(client: socket.socket) -> None:
        seen.append(1)
        client.sendall(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

    bad = Bad(failing)
    published(rig, bad)
    assert rig.get("/", "-H", "x-envoy-retry-on: 5xx", "-H", "x-envoy-max-retries: 9", port=81).status == 500
    assert len(seen) == 1
    bad.close()


def test_many_that_wait_for_one_group_do_not_keep_others_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "MOST_WAITING", 3)
    asleep = {SCALE_TO_ZERO: "true"}
    one, other = group("one", attributes=asleep), group("other", attributes=asleep)
    fronts = [listener(forward((one, 1)), 82), listener(forward((other, 1)), 83)]
    rig.publish(rig.view(fronts, [one, other]))

    async def check(of: str) -> int:
        request = external_auth_pb2.CheckRequest()
        request.attributes.context_extensions[WOKEN] = of
        answer = await rig.waking._check(request, None)
        return int(answer.denied_response.status.code)

    async def checked() -> None:
        waiting = [asyncio.create_task(check(one.arn)) for _ in range(3)]
        await asyncio.sleep(0)
        assert await check(one.arn) == 503  # at once
        also = asyncio.create_task(check(other.arn))
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in (*waiting, also))
        rig.waking.take(_awake(rig, one, other), rig.publication.number)
        assert await asyncio.gather(*waiting, also) == [0, 0, 0, 0]

    rig.do(checked())


def _awake(rig: Rig, *groups: object) -> View:
    return rig.view([], targets=[target(of, 80) for of in groups])  # type: ignore[arg-type]


def test_more_connections_than_there_are_files_for_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are taken are served on: the way to targets costs files, too."""
    monkeypatch.setattr(envoy, "most_connections", lambda: 10)
    with Rig(tmp_path / "rig") as small, ExitStack() as held:
        small.publish(small.view([listener(forward((GOOD, 1)))], [GOOD], [target(GOOD, small.web("it")[1])]))
        clients = [held.enter_context(socket.create_connection((small.address, 80), 10)) for _ in range(40)]
        served = 0
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                served += client.recv(12) == b"HTTP/1.1 200"
        assert 1 <= served <= 10
