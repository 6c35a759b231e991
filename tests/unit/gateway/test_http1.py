"""The HTTP server on real loopback sockets: good clients, slow ones, broken ones and hostile ones."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from neargate.gateway import server
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings, SettingsError
from neargate.wire.http import Request, Response

LIMIT = 100_000
LONG = 2_000
"""Pieces of an answer that no socket's buffers hold."""


class EchoApp:
    """Answers what it was asked; /v2/ streams. Stands in for gateway.app.App."""

    def __init__(self) -> None:
        self.seen = 0
        self.sent = 0
        self.hold: asyncio.Event | None = None

    def is_registry(self, path: str) -> bool:
        return path.startswith("/v2/")

    async def answer(self, request: Request, source_ip: str) -> Response:
        self.seen += 1
        if request.path == "/hold" and self.hold is not None:
            await self.hold.wait()
        if request.path == "/break":
            return Response(200, {"x-evil": "a\r\nset-cookie: b"}, b"")
        text = {"method": request.method, "path": request.path, "query": request.query, "from": source_ip}
        body = {**text, "size": len(request.body), "headers": dict(request.headers)}
        return Response(200, {"content-type": "application/json"}, json.dumps(body).encode())

    def refuse(self, request: Request, error: ApiError) -> Response:
        return Response(error.status or 400, {}, error.code.encode())

    async def registry(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        size = 0
        if not scope["path"].endswith("/refused"):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                size += len(message["body"])
                if not message["more_body"]:
                    break
        if scope["path"].endswith("/raises"):
            raise RuntimeError("no")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"].endswith("/long") and self.sent < LONG:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            self.sent += 1
        await send({"type": "http.response.body", "body": b"%d" % size, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})


@asynccontextmanager
async def door(app: EchoApp, **settings: Any) -> AsyncIterator[int]:
    values: dict[str, Any] = {"port": 0, "max_body_bytes": LIMIT, "request_timeout_seconds": 0.4, **settings}
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(
        server.serve(app, Settings(**values), ready=ready.set_result)  # type: ignore[arg-type]
    )
    await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        yield ready.result()
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def exchange(port: int, data: bytes, *, timeout: float = 5.0) -> bytes:
    """All that the server says to `data` until it closes (the request had better ask for that)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(timeout):
            return await reader.read()
    finally:
        writer.close()


def post(body: bytes, *headers: str, path: str = "/", close: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: door", f"content-length: {len(body)}", *headers]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_request_is_handed_over_as_sent() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, post(b"abc", "X-A: 1", "x-a: 2", "X-Utf: é", path="/a%20b//c?x=%2F&y"))
    head, body = answer.split(b"\r\n\r\n", 1)
    said = json.loads(body)
    assert (said["path"], said["query"], said["size"]) == ("/a%20b//c", "x=%2F&y", 3)
    assert said["headers"]["x-a"] == "1,2"
    assert said["headers"]["x-utf"] == "é"
    assert said["from"] == "127.0.0.1"
    assert b"connection: close" in head


async def test_pipelined_requests_are_answered_in_order() -> None:
    app = EchoApp()
    app.hold = asyncio.Event()
    requests = (
        post(b"", path="/hold", close=False) + post(b"x", path="/2", close=False) + post(b"", path="/3")
    )
    async with door(app) as port:
        pending = asyncio.ensure_future(exchange(port, requests))
        await asyncio.sleep(0.1)
        assert app.seen == 1  # one at a time
        app.hold.set()
        answer = await pending
    places = [answer.index(path) for path in (b'"/hold"', b'"/2"', b'"/3"')]
    assert places == sorted(places)


async def test_chunked_body() -> None:
    chunked = b"POST / HTTP/1.1\r\nhost: d\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    async with door(EchoApp()) as port:
        answer = await exchange(port, chunked + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["size"] == 7


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x00" * 4096,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n",
    ],
)
async def test_garbage_is_refused_and_the_connection_ended(garbage: bytes) -> None:
    app = EchoApp()
    async with door(app) as port:
        answer = await exchange(port, garbage)
        assert status(answer) in (400, 431)
        assert status(await exchange(port, post(b""))) == 200
    assert app.seen == 1


async def test_endless_headers_are_cut_off() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000)
    assert status(answer) == 431


async def test_too_large_body_by_its_length_is_refused_unread() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, f"POST / HTTP/1.1\r\ncontent-length: {LIMIT + 1}\r\n\r\n".encode())
    assert (status(answer), answer.split(b"\r\n\r\n")[1]) == (413, b"RequestEntityTooLarge")


async def test_too_large_chunked_body_is_refused() -> None:
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    async with door(EchoApp()) as port:
        answer = await exchange(port, head + b"%x\r\n" % (LIMIT + 1) + bytes(LIMIT + 1))
    assert status(answer) == 413


async def test_body_of_the_largest_size_is_taken() -> None:
    async with door(EchoApp()) as port:
        assert status(await exchange(port, post(bytes(LIMIT)))) == 200


@pytest.mark.parametrize(
    "start", [b"POST / HT", b"POST / HTTP/1.1\r\nhost: d\r\ncontent-length: 9\r\n\r\nabc"]
)
async def test_half_requests_time_out(start: bytes) -> None:
    async with door(EchoApp()) as port:
        began = time.monotonic()
        answer = await exchange(port, start)
    assert status(answer) == 408
    assert time.monotonic() - began < 3


async def test_half_a_request_behind_an_answered_one_times_out() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, post(b"", close=False) + b"POST / HT")
    assert status(answer) == 200
    assert b"HTTP/1.1 408 " in answer


async def test_slowloris_is_ended_though_it_keeps_sending() -> None:
    async with door(EchoApp()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 4:
            writer.write(b"x: y\r\n")
            try:
                async with asyncio.timeout(0.05):
                    if await reader.read(100):
                        break
            except TimeoutError:
                continue
        assert time.monotonic() - began < 3
        writer.close()


async def test_early_close_leaves_the_others_alone() -> None:
    async with door(EchoApp()) as port:
        for data in (b"", b"GET", post(b"abc")[:-2], post(b"abc")):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.transport.abort()
        assert status(await exchange(port, post(b""))) == 200


async def test_a_client_that_does_not_read_is_ended() -> None:
    async with door(EchoApp()) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = post(b"", f"x: {'y' * 30_000}", close=False)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(5):
                while True:
                    writer.write(request)
                    await writer.drain()
                    await asyncio.sleep(0)
        assert status(await exchange(port, post(b""))) == 200
        writer.transport.abort()


async def test_a_thousand_idle_connections() -> None:
    async with door(EchoApp(), request_timeout_seconds=5.0) as port:
        idle = await asyncio.gather(*[asyncio.open_connection("127.0.0.1", port) for _ in range(1000)])
        began = time.monotonic()
        assert status(await exchange(port, post(b""))) == 200
        assert time.monotonic() - began < 0.5
        for _, writer in idle:
            writer.transport.abort()


async def test_expect_continue() -> None:
    async with door(EchoApp()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"", "expect: 100-continue").replace(b"length: 0", b"length: 3"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert status(await reader.read()) == 200
        writer.close()


async def test_expect_continue_waits_for_the_answers_before_it() -> None:
    app = EchoApp()
    app.hold = asyncio.Event()
    expecting = post(b"", "expect: 100-continue").replace(b"length: 0", b"length: 3")
    async with door(app, request_timeout_seconds=5.0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"", path="/hold", close=False) + expecting)
        await asyncio.sleep(0.1)
        app.hold.set()
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        assert (await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")).startswith(b"{")
        writer.write(b"abc")
        assert status(await reader.read()) == 200
        writer.close()


async def test_an_answer_cannot_smuggle_headers() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, post(b"", path="/break"))
    assert b"\r\nset-cookie" not in answer


async def test_upgrade_is_answered_plainly() -> None:
    request = b"GET / HTTP/1.1\r\nhost: d\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n\x81\x00"
    async with door(EchoApp()) as port:
        assert status(await exchange(port, request)) == 200


async def test_registry_bodies_are_streamed_beyond_the_limit() -> None:
    async with door(EchoApp(), request_timeout_seconds=5.0) as port:
        answer = await exchange(port, post(bytes(40 * LIMIT), path="/v2/x"))
    assert answer.endswith(b"7\r\n%d\r\n1\r\n!\r\n0\r\n\r\n" % (40 * LIMIT))


async def test_registry_answering_before_the_body_ends_the_connection() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, post(bytes(2000), path="/v2/refused", close=False)[:-1000])
    assert status(answer) == 200


async def test_registry_stops_sending_to_a_client_that_has_gone() -> None:
    app = EchoApp()
    async with door(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"", path="/v2/long"))
        await reader.readexactly(1000)
        writer.transport.abort()
        assert status(await exchange(port, post(b""))) == 200
    assert app.sent < LONG


async def test_registry_that_fails_is_a_500_without_details() -> None:
    async with door(EchoApp()) as port:
        answer = await exchange(port, post(b"", path="/v2/raises"))
    assert status(answer) == 500
    assert b"RuntimeError" not in answer


async def test_stop_lets_a_request_finish() -> None:
    app = EchoApp()
    app.hold = asyncio.Event()
    async with door(app) as port:
        pending = asyncio.ensure_future(exchange(port, post(b"", path="/hold", close=False)))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.1, app.hold.set)
    assert status(await pending) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_clear_text_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="tls-cert"):
        server.check_exposure(Settings(host=host))
    server.check_exposure(Settings(host=host, insecure=True))
    server.check_exposure(Settings(host=host, tls_cert="generate"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    server.check_exposure(Settings(host=host))


def test_taken_port_is_a_clear_error() -> None:
    async def run() -> None:
        async with door(EchoApp()) as port, door(EchoApp(), port=port):
            pass

    with pytest.raises(SettingsError, match="cannot listen"):
        asyncio.run(run())


# --- answers that are streamed


class Pieces:
    """wire.http.Stream of `count` pieces; raises after them if it should have had more."""

    def __init__(self, count: int, size: int = 100_000, short: bool = False) -> None:
        self.size = (count + (1 if short else 0)) * size
        self.read_pieces = 0
        self.closed = asyncio.Event()
        self._count, self._piece, self._short = count, bytes(size), short

    async def read(self) -> bytes:
        if self.read_pieces == self._count:
            if self._short:
                raise OSError("the file is shorter")
            return b""
        self.read_pieces += 1
        return self._piece

    def close(self) -> None:
        self.closed.set()


class StreamApp(EchoApp):
    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self.pieces = pieces

    async def answer(self, request: Request, source_ip: str) -> Response:
        return Response(200, {"x-kind": "streamed"}, b"", self.pieces)


ASK = b"%b / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def test_a_streamed_answer_is_whole() -> None:
    for method, pieces in ((b"GET", Pieces(7)), (b"GET", Pieces(0)), (b"HEAD", Pieces(7))):
        async with door(StreamApp(pieces)) as port:
            head, _, body = (await exchange(port, ASK % method)).partition(b"\r\n\r\n")
        assert b"content-length: %d" % pieces.size in head and b"x-kind: streamed" in head
        assert len(body) == (0 if method == b"HEAD" else pieces.size)
        assert pieces.closed.is_set()


async def test_a_streamed_answer_that_fails_does_not_pass_for_whole() -> None:
    pieces = Pieces(2, short=True)
    async with door(StreamApp(pieces)) as port:
        try:
            answer = await exchange(port, ASK % b"GET")
        except ConnectionResetError:
            answer = b""
        assert len(answer.partition(b"\r\n\r\n")[2]) < pieces.size
    assert pieces.closed.is_set()


async def test_a_client_that_reads_nothing_of_a_stream_holds_little_and_not_for_ever() -> None:
    pieces = Pieces(LONG)
    async with door(StreamApp(pieces)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(ASK % b"GET")
        await asyncio.wait_for(pieces.closed.wait(), 30)
        assert pieces.read_pieces < LONG
        writer.transport.abort()
