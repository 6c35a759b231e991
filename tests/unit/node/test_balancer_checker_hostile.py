"""Health checks of targets that are out to do harm: bounded in time and memory, and nobody else's trouble."""

import asyncio
import contextlib
import os
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from neargate.kit.clock import ManualClock
from neargate.model.balancer import HealthCheck
from neargate.model.balancing import View
from neargate.node.balancer.checker import Checker
from neargate.node.balancer.probes import probe
from neargate.node.network.reach import may_be_checked
from tests.support.certificates import made
from tests.support.envoy_rig import group, target
from tests.unit.node.test_balancer_checker import Told, checking, until, web

CHECK = HealthCheck(interval=10, timeout=2, healthy_threshold=2, unhealthy_threshold=2)
GROUP = group("checked", health_check=CHECK)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def hostile(serve: Serve, secure: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(served, "127.0.0.1", 0, ssl=secure) as server:
        yield server.sockets[0].getsockname()[1]


def without_end(begin: bytes, more: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(more)
            await writer.drain()

    return serve


async def quiet(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Takes all, says nothing."""
    while await reader.read(65536):
        continue


@pytest.mark.parametrize(
    ("begin", "more", "cause"),
    [
        (b"HTTP/1.1 200 ", b"x" * 65536, "Target.FailedHealthChecks"),
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 65536, ""),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 8192, ""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", ""),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4096, "Target.ResponseCodeMismatch"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n",
            b"x" * 65536,
            "Target.ResponseCodeMismatch",
        ),
        (b"", b"\0" * 65536, "Target.FailedHealthChecks"),
    ],
)
async def test_an_answer_without_end(begin: bytes, more: bytes, cause: str) -> None:
    async with hostile(without_end(begin, more)) as port:
        tracemalloc.start()
        try:
            async with asyncio.timeout(20):
                assert (await probe(target(GROUP, port), GROUP)).cause == cause
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\x08\6\0\0\0\0\0" + bytes(8),  # PING
        b"\0\0\0\4\0\0\0\0\0",  # SETTINGS
        b"\0\0\4\x08\0\0\0\0\0\0\0\0\1",  # WINDOW_UPDATE
        b"\0\x40\0\xff\0\0\0\0\0" + bytes(16384),  # of no kind
        b"\0\0\1\x09\0\0\0\0\1\0",  # CONTINUATION
        b"\xff",
    ],
)
async def test_frames_without_end_are_not_read_to_the_checks_end(frame: bytes) -> None:
    """Each is work of the daemon's, which has others to serve."""
    of = group("h2", protocol_version="HTTP2", health_check=HealthCheck(interval=130, timeout=120))
    begin = b"\0\0\0\4\0\0\0\0\0"
    async with hostile(without_end(begin, frame * (1 + 65536 // len(frame)))) as port:
        async with asyncio.timeout(60):
            assert (await probe(target(of, port), of)).cause == "Target.FailedHealthChecks"


async def test_a_target_that_does_not_end_tls_is_left(tmp_path: Path) -> None:
    """Its connection is not kept for the half minute that TLS would wait."""
    pair = made("it")
    (tmp_path / "pem").write_bytes(pair.key_pem + pair.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pem")

    def serve(server: socket.socket) -> None:
        with context.wrap_socket(server.accept()[0], server_side=True) as client:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.socket(fileno=os.dup(client.fileno())) as below, contextlib.suppress(ConnectionError):
                below.settimeout(15)
                while below.recv(65536):  # whatever it says of the end, nothing is answered
                    continue

    of = group("tls", health_check=HealthCheck(interval=10, timeout=2, protocol="HTTPS"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        served = asyncio.create_task(asyncio.to_thread(serve, server))
        assert (await probe(target(of, server.getsockname()[1]), of)).cause == ""
        await served


async def test_targets_that_never_answer_hold_up_no_other_group() -> None:
    slow = group("slow", health_check=HealthCheck(interval=130, timeout=120))
    told = Told()
    async with hostile(quiet) as bad, web() as good, checking(told, ManualClock()) as checker:
        assert isinstance(checker, Checker)
        tarpit = {f"127.0.1.{n}": target(slow, bad, "initial", "127.0.0.1") for n in range(300)}
        checker.take(View({}, {}, {}, {slow.arn: slow}, dict(tarpit), {}))
        await asyncio.sleep(0.2)
        both = {slow.arn: slow, GROUP.arn: GROUP}
        checker.take(View({}, {}, {}, both, {**tarpit, "good": target(GROUP, good, "initial")}, {}))
        await until(lambda: told.judged)
    assert [judged.verdict.state for judged in told.judged] == ["healthy"]


async def test_what_is_not_to_be_checked_is_not_connected_to() -> None:
    told, clock, seen = Told(), ManualClock(), list[str]()

    async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        seen.append("somebody")

    checker, ready = Checker(told, clock, lambda address: may_be_checked("abc123", address)), asyncio.Event()
    async with hostile(serve) as port, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(checker.run(ready))
        await ready.wait()
        checker.take(View({}, {}, {}, {GROUP.arn: GROUP}, {"it": target(GROUP, port, "initial")}, {}))
        while not told.judged:
            await asyncio.sleep(0.005)
            clock.advance(0.5)
        running.cancel()
    assert told.judged[0].verdict.state == "unhealthy"
    assert seen == []
