"""A request whose body is streamed to an ASGI application: the registry, whose uploads have no bound.

Made by http1.py for paths of the registry. Reading from the client stops while the application is behind.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from neargate.gateway.http1 import Connection, Incoming

log = logging.getLogger(__name__)

ASGIApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]],
    Awaitable[None],
]
_HIGH_WATER = 1024 * 1024


class Stream:
    def __init__(self, connection: "Connection", incoming: "Incoming") -> None:
        self._connection = connection
        self._incoming = incoming
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._complete = False
        self._handed_over = False
        self._gone = False
        self._news: asyncio.Future[None] | None = None
        self._started = False
        self._ended = False
        self._chunked = False

    # --- from the connection

    def feed(self, chunk: bytes) -> None:
        if self._ended:
            return
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held > _HIGH_WATER:
            self._connection.pause_reading()
        self._wake()

    def complete(self) -> None:
        self._complete = True
        self._wake()

    def disconnected(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- the application's side

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope(), self._receive, self._send)
            if not self._ended and not self._gone:
                raise RuntimeError("the application did not finish its answer")
        except Exception:
            if not self._gone:
                log.exception("the registry failed", extra={"path": self._incoming.path})
                await self._fail()
        finally:
            self._finish()

    def _scope(self) -> dict[str, Any]:
        incoming = self._incoming
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": incoming.method,
            "scheme": "https" if self._connection.transport.get_extra_info("sslcontext") else "http",
            "path": unquote(incoming.path),
            "raw_path": incoming.path.encode(),
            "root_path": "",
            "query_string": incoming.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in incoming.headers.items()],
            "client": (self._connection.peer, 0),
            "server": self._connection.transport.get_extra_info("sockname")[:2],
        }

    async def _receive(self) -> dict[str, Any]:
        if self._incoming.expects_continue and not self._complete:
            self._connection.send_continue(self._incoming)
        # Once the whole body has been handed over, a further call waits for the client to go.
        while not self._chunks and not self._gone and (self._handed_over or not self._complete):
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        if self._gone:
            return {"type": "http.disconnect"}
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        if not self._complete:
            self._connection.resume_reading()
        self._handed_over = self._complete
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._gone:
            raise ConnectionResetError("the client has gone")  # what is left of a long answer is not read
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            self._body(message.get("body", b""), more=message.get("more_body", False))
            await self._connection.drain()

    def _start(self, message: MutableMapping[str, Any]) -> None:
        self._started = True
        if self._connection.still_reading(self._incoming):
            self._incoming.keep_alive = False  # see _finish; the client is told not to send another request
        status: int = message["status"]
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
        bodiless = self._incoming.method == "HEAD" or status in (204, 304)
        if not bodiless and not any(name.lower() == "content-length" for name, _ in headers):
            self._chunked = True
            headers.append(("transfer-encoding", "chunked"))
        head = self._connection.head(status, headers, self._incoming.keep_alive)
        self._write(head + b"\r\n")

    def _body(self, body: bytes, *, more: bool) -> None:
        if self._incoming.method == "HEAD":
            body = b""
        if self._chunked:
            if body:
                self._write(b"%x\r\n" % len(body) + body + b"\r\n")
            if not more:
                self._write(b"0\r\n\r\n")
        elif body:
            self._write(body)
        self._ended = not more

    def _write(self, data: bytes) -> None:
        if not self._connection.transport.is_closing():
            self._connection.transport.write(data)

    async def _fail(self) -> None:
        if self._started:
            self._connection.transport.abort()  # half an answer: the client must not take it for whole
            return
        self._incoming.keep_alive = False
        body = b'{"errors":[{"code":"UNKNOWN","message":"the registry failed"}]}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": 500, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _finish(self) -> None:
        self._ended = True
        self._chunks.clear()
        if self._connection.still_reading(self._incoming):
            # Answered before the body was read: what is left of it would be taken for the next request.
            self._incoming.keep_alive = False
        self._connection.finished(self._incoming)
