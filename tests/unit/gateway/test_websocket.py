"""WebSockets of the door on real loopback sockets: the upgrade, messages, bounds, clients that break off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from neargate.gateway import server
from neargate.gateway.websocket import MAX_MESSAGE, WebSocket
from neargate.kit.settings import Settings
from tests.unit.gateway.test_http1 import EchoApp

_UPGRADE = (
    "GET /socket/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\n{}\r\n"
)
_KEY = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


class Echo:
    """Sends each message back as bytes. `slow` waits for `go` before; `fails` fails."""

    def __init__(self) -> None:
        self.open = 0
        self.go = asyncio.Event()

    def takes(self, path: str) -> bool:
        return path.startswith("/socket/")

    async def serve(self, socket: WebSocket) -> None:
        self.open += 1
        try:
            if socket.path == "/socket/slow":
                await self.go.wait()
            if socket.path == "/socket/fails":
                raise RuntimeError("no")
            while True:
                message = await socket.receive()
                data = message.encode() if isinstance(message, str) else message
                if data == b"flood":
                    while not socket.gone:
                        socket.send(bytes(60_000))
                        await socket.drain()
                if data == b"bye":
                    return
                socket.send(data)
                await socket.drain()
        finally:
            self.open -= 1


@asynccontextmanager
async def door(sockets: Echo) -> AsyncIterator[int]:
    settings = Settings.load({}, port=0, request_timeout_seconds=0.4)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = EchoApp()
    serving = asyncio.ensure_future(
        server.serve(app, settings, ready=ready.set_result, sockets=sockets)  # type: ignore[arg-type]
    )
    try:
        yield await ready
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=10)
        assert serving.done()


async def raw(port: int, data: str) -> bytes:
    """What the door answers to these bytes until it closes, or says no more for a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data.encode("latin-1"))
    answer = b""
    try:
        async with asyncio.timeout(1):
            while more := await reader.read(65536):
                answer += more
    except TimeoutError:
        pass
    writer.close()
    return answer


async def gone(sockets: Echo) -> None:
    async with asyncio.timeout(10):
        while sockets.open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_messages_come_back() -> None:
    sockets = Echo()
    async with door(sockets) as port, connect(f"ws://127.0.0.1:{port}/socket/a?x=1") as client:
        for data in (b"", b"a", bytes(range(256)) * 100, b"x" * MAX_MESSAGE):
            await client.send(data)
            assert await client.recv() == data
        await client.send([b"in ", b"several ", b"parts"])
        assert await client.recv() == b"in several parts"
        await client.send("text: grüße")
        assert await client.recv() == "text: grüße".encode()
        await (await client.ping())
        await client.send(b"bye")
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    await gone(sockets)


async def test_the_answer_to_an_upgrade_is_that_of_the_standard() -> None:
    async with door(Echo()) as port:
        answer = await raw(port, _UPGRADE.format(_KEY))
    head = answer.lower()
    assert head.startswith(b"http/1.1 101")
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head


@pytest.mark.parametrize(
    ("request_text", "begins"),
    [
        (_UPGRADE.format(""), b"HTTP/1.1 400"),
        (_UPGRADE.format(_KEY).replace("version: 13", "version: 8"), b"HTTP/1.1 400"),
        (_UPGRADE.format(_KEY).replace("/socket/a", "/other"), b"HTTP/1.1 200"),
        (_UPGRADE.format(_KEY).replace("upgrade: websocket", "upgrade: h2c"), b"HTTP/1.1 400"),
    ],
)
async def test_other_upgrades(request_text: str, begins: bytes) -> None:
    sockets = Echo()
    async with door(sockets) as port:
        assert (await raw(port, request_text)).startswith(begins)
    assert sockets.open == 0


async def test_what_comes_before_the_answer_is_not_lost() -> None:
    sockets = Echo()
    frame = b"\x82\x83\0\0\0\0abc"  # a masked binary message
    async with door(sockets) as port:
        answer = await raw(port, _UPGRADE.format(_KEY) + frame.decode("latin-1"))
    assert answer.endswith(b"\x82\x03abc")
    await gone(sockets)


async def test_a_message_that_is_too_large_is_not_kept() -> None:
    sockets = Echo()
    async with door(sockets) as port, connect(f"ws://127.0.0.1:{port}/socket/a") as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.send(b"x" * (MAX_MESSAGE + 1))
            await client.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    await gone(sockets)


async def test_messages_wait_for_who_serves_them_but_not_without_bound() -> None:
    sockets = Echo()
    async with door(sockets) as port:
        client = await connect(f"ws://127.0.0.1:{port}/socket/slow", max_size=None)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 5_000:
                async with asyncio.timeout(0.5):
                    await client.send(bytes(60_000))
                sent += 1
        sockets.go.set()
        for _ in range(sent):
            assert len(await client.recv()) == 60_000
        client.transport.abort()
        await gone(sockets)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    sockets = Echo()
    async with door(sockets) as port:
        client = await connect(f"ws://127.0.0.1:{port}/socket/a", max_queue=1)
        await client.send(b"flood")
        await gone_after_open(sockets)


async def gone_after_open(sockets: Echo) -> None:
    async with asyncio.timeout(10):
        while not sockets.open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await gone(sockets)


async def test_a_client_that_breaks_off() -> None:
    sockets = Echo()
    async with door(sockets) as port:
        client = await connect(f"ws://127.0.0.1:{port}/socket/a")
        client.transport.abort()
        await gone(sockets)


async def test_one_that_fails_ends_its_own_connection() -> None:
    async with door(Echo()) as port:
        async with connect(f"ws://127.0.0.1:{port}/socket/fails") as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
        async with connect(f"ws://127.0.0.1:{port}/socket/a") as client:
            await client.send(b"x")
            assert await client.recv() == b"x"


async def test_bytes_that_are_no_websocket() -> None:
    sockets = Echo()
    async with door(sockets) as port:
        answer = await raw(port, _UPGRADE.format(_KEY) + "GET / HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101") and answer[-30:].count(b"HTTP") == 0
        await gone(sockets)
