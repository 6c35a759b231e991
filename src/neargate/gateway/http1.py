"""One HTTP/1.1 connection: bytes in, requests to the app one after another, answers out.

Made by server.py for each client. Ours rather than uvicorn's because it must bound what a client may hold:
header bytes, body bytes, and the time for each, for which uvicorn has no settings.

    idle -> head -> body -> answering -> idle      all but answering have a deadline, kept by server.py
      a fault of the client's: answer it, then drain (the client must be able to read the answer) and close
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from neargate.gateway.asgi import Stream
from neargate.gateway.budget import Held
from neargate.gateway.websocket import GOING_AWAY, WebSocket
from neargate.kit.errors import ApiError
from neargate.wire.http import Request, Response
from neargate.wire.http import Stream as ResponseStream

if TYPE_CHECKING:
    from neargate.gateway.server import Server

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
HEAD_SECONDS = 10.0
IDLE_SECONDS = 120.0
_DRAIN_SECONDS = 2.0
_NEVER = float("inf")
_REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content",
    301: b"Moved Permanently", 302: b"Found", 304: b"Not Modified", 307: b"Temporary Redirect",
    400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 413: b"Payload Too Large",
    416: b"Range Not Satisfiable", 431: b"Request Header Fields Too Large",
    500: b"Internal Server Error", 501: b"Not Implemented", 503: b"Service Unavailable",
}  # fmt: skip
_names: dict[bytes, str] = {}


class Incoming:
    """A request while it is read, and its place in the order of answers."""

    __slots__ = ("expects_continue", "headers", "held", "keep_alive", "method", "parts", "path", "query",
                 "refusal", "socket", "stream")  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.held = Held()
        self.keep_alive = True
        self.expects_continue = False
        self.refusal: ApiError | None = None
        self.stream: Stream | None = None
        self.socket: WebSocket | None = None

    def request(self) -> Request:
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        return Request(self.method, self.path, self.query, self.headers, body)


class Connection(asyncio.Protocol):
    def __init__(self, server: "Server") -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Incoming] = deque()
        self._reading: Incoming | None = None
        self._in_head = False
        self._header_count = 0
        self._url = b""
        self._wire_bytes = 0
        self._paused = False
        self._deaf = False
        """Set once nothing more is taken from the client: a fault, an upgrade, or the end."""
        self._socket: WebSocket | None = None
        """What has the connection after an upgrade."""
        self._drained: asyncio.Future[None] | None = None
        self.deadline = _NEVER
        self.peer = ""

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.deadline = self._server.time() + IDLE_SECONDS
        self._server.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = True
        self.deadline = _NEVER
        self._release(self._reading)
        for place, incoming in enumerate(self._queue):
            if incoming.socket is not None:
                incoming.socket.disconnected()
            elif incoming.stream is not None:
                incoming.stream.disconnected()
            elif place > 0:  # the first is being answered, and gives back its own
                self._release(incoming)
        self.resume_writing()
        self._server.closed(self)

    def eof_received(self) -> bool:
        # A client may close its side and still read the answer to what it has asked; half a request is void.
        secure = self.transport.get_extra_info("sslcontext") is not None
        if self._queue and self._reading is None and not secure and self._socket is None:
            self._deaf = True
            self._queue[-1].keep_alive = False
            return True
        return False

    def data_received(self, data: bytes) -> None:
        if self._socket is not None:
            return self._socket.feed(data)
        if self._deaf:
            return None
        if self._reading is None and not self._queue:
            self._until(self._server.time() + self._server.head_seconds)
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._deaf = True  # unless it becomes a WebSocket, what follows the request is not read
            if self._queue:
                self._queue[-1].keep_alive = False
                self._socket = self._queue[-1].socket
            if self._socket is not None:
                self._socket.feed(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(ApiError("BadRequest", "The request is not valid HTTP/1.1.", status=400))
        self._check_overhead()

    def pause_writing(self) -> None:
        # The client does not read its answers: take no more requests of it, and not for ever.
        self.pause_reading()
        self._drained = asyncio.get_running_loop().create_future()
        self.deadline = self._server.time() + self._server.body_seconds

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is None or drained.done():
            return
        drained.set_result(None)
        self._until(_NEVER if self._queue else self._server.time() + IDLE_SECONDS)
        if len(self._queue) < 2:
            self.resume_reading()

    def _until(self, deadline: float) -> None:
        if self._drained is None:  # a client that does not read has the deadline of pause_writing
            self.deadline = deadline

    # --- the parser's calls

    def on_message_begin(self) -> None:
        if self._deaf:
            return
        self._reading = Incoming()
        self._in_head = True
        self._header_count = 0
        self._url = b""
        self._wire_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        incoming = self._reading
        if incoming is None or not self._in_head:
            return None  # a trailer
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            return self._refuse(ApiError("RequestHeaderSectionTooLarge", "Too many headers.", status=431))
        key = _names.get(name) or _header_name(name)
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        headers = incoming.headers
        if key in headers:
            if key in ("host", "authorization"):
                return self._refuse(ApiError("BadRequest", f"The header '{key}' is given twice.", status=400))
            text = f"{headers[key]},{text}"
        headers[key] = text
        return None

    def on_headers_complete(self) -> None:
        incoming = self._reading
        self._in_head = False
        if incoming is None:
            return
        incoming.method = self._parser.get_method().decode("ascii", "replace")
        incoming.keep_alive = self._parser.should_keep_alive()
        incoming.path, incoming.query = _split_target(self._url)
        headers = incoming.headers
        if not incoming.path:
            return self._refuse(ApiError("BadRequest", "The request target is not valid.", status=400))
        incoming.expects_continue = headers.get("expect", "").lower() == "100-continue"
        if self._server.app.is_registry(incoming.path):
            incoming.stream = Stream(self, incoming)
            self._until(self._server.time() + self._server.body_seconds)
            return self._enqueue(incoming)
        if self._parser.should_upgrade() and self._server.serves_socket(incoming.path):
            incoming.socket = WebSocket(self, incoming)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:18]) > self._server.max_body_bytes:
            return self._refuse(self._too_large())
        if incoming.expects_continue and not self._queue:
            self.send_continue(incoming)
        self._until(self._server.time() + self._server.body_seconds)
        return None

    def on_body(self, body: bytes) -> None:
        incoming = self._reading
        if incoming is None:
            return
        if incoming.stream is not None:
            self._until(self._server.time() + self._server.body_seconds)
            incoming.stream.feed(body)
            return
        if incoming.held.size + len(body) > self._server.max_body_bytes:
            self._refuse(self._too_large())
        elif not self._server.budget.take(self, incoming.held, len(body)):
            self.give_way()
        else:
            incoming.parts.append(body)

    def on_message_complete(self) -> None:
        incoming, self._reading = self._reading, None
        if incoming is None:
            return
        self._until(_NEVER)
        if incoming.stream is not None:
            incoming.stream.complete()
        else:
            self._server.budget.arrived(self)
            self._enqueue(incoming)

    # --- limits

    def give_way(self) -> None:
        message = "Too many large requests at once; please reduce your request rate."
        self._refuse(ApiError("SlowDown", message, status=503))

    def expire(self) -> None:
        """The deadline has passed: the client is slow, silent or does not read."""
        self.deadline = _NEVER
        if self._drained is not None or self._deaf or self._reading is None:
            self.transport.abort()
        else:
            message = "The request was not received within the time allowed."
            self._refuse(ApiError("RequestTimeout", message, status=408))

    def going_away(self) -> None:
        """The daemon stops: end what would otherwise go on."""
        if self._socket is not None:
            self._socket.close(GOING_AWAY)

    def idle(self) -> bool:
        return self._reading is None and not self._queue

    def _check_overhead(self) -> None:
        """Bound what is held besides bodies: endless header lines, chunk extensions, trailers."""
        if self._deaf:
            return
        incoming = self._reading
        if incoming is None:
            if not self._queue and self._wire_bytes > MAX_HEAD_BYTES:
                self._refuse(ApiError("BadRequest", "The request line is too long.", status=431))
        elif self._in_head:
            if self._wire_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    ApiError("RequestHeaderSectionTooLarge", "The headers are too large.", status=431)
                )
        elif incoming.stream is None and self._wire_bytes > MAX_HEAD_BYTES * 4 + 8 * incoming.held.size:
            self._refuse(ApiError("BadRequest", "The body's chunks are not valid.", status=400))

    def _too_large(self) -> ApiError:
        limit = self._server.max_body_bytes
        return ApiError(
            "RequestEntityTooLarge", f"A request's body may have {limit} bytes at most.", status=413
        )

    def _refuse(self, error: ApiError) -> None:
        """Answer the request being read with an error of the client's own making, and read no further."""
        if self._deaf:
            return
        self._deaf = True
        incoming, self._reading = self._reading or Incoming(), None
        if incoming.stream is not None:
            incoming.stream.disconnected()
            self.transport.abort()
            return
        self._release(incoming)
        incoming.keep_alive = False
        incoming.refusal = error
        self._enqueue(incoming)

    def _release(self, incoming: Incoming | None) -> None:
        if incoming is not None and incoming.stream is None and incoming.parts:
            self._server.budget.give_back(self, incoming.held)
            incoming.parts = []

    # --- answers, in the order of the requests

    def _enqueue(self, incoming: Incoming) -> None:
        self._queue.append(incoming)
        if len(self._queue) == 1:
            self._start(incoming)
        else:
            self.pause_reading()

    def _start(self, incoming: Incoming) -> None:
        if incoming.refusal is not None:
            self.respond(incoming, self._server.app.refuse(incoming.request(), incoming.refusal))
        elif incoming.stream is not None:
            self._server.spawn(incoming.stream.run(self._server.app.registry))
        elif incoming.socket is not None:
            self._release(incoming)
            self.resume_reading()
            self._server.spawn(incoming.socket.run(self._server.serve_socket))
        else:
            self._server.spawn(self._answer(incoming))

    async def _answer(self, incoming: Incoming) -> None:
        request = incoming.request()
        response = await self._server.app.answer(request, self.peer)
        self._release(incoming)
        if response.stream is None:
            self.respond(incoming, response)
        else:
            await self._send_stream(incoming, response, response.stream)

    async def _send_stream(self, incoming: Incoming, response: Response, stream: ResponseStream) -> None:
        """An answer as fast as the client reads it. One that ends early must not pass for whole."""
        headers = {"content-length": str(stream.size), **response.headers}
        head = self.head(response.status, list(headers.items()), incoming.keep_alive)
        try:
            self._write(head + b"\r\n")
            while incoming.method != "HEAD" and (data := await stream.read()):
                if self.transport.is_closing():
                    return
                self._write(data)
                await self.drain()
        except BaseException:
            self.transport.abort()
            raise
        finally:
            stream.close()
        self.finished(incoming)

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def respond(self, incoming: Incoming, response: Response) -> None:
        body = response.body
        bodiless = response.status in (204, 304)
        head = self.head(response.status, list(response.headers.items()), incoming.keep_alive)
        length = (
            b"" if bodiless or "content-length" in response.headers else b"content-length: %d\r\n" % len(body)
        )
        if incoming.method == "HEAD" or bodiless:
            body = b""
        if not self.transport.is_closing():
            self.transport.write(b"%b%b\r\n%b" % (head, length, body))
        self.finished(incoming)

    def head(self, status: int, headers: list[tuple[str, str]], keep_alive: bool) -> bytes:
        """Status line and headers, without the empty line that ends them."""
        lines = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in headers])
        reason = _REASONS.get(status, b"-")
        ending = b"" if keep_alive else b"connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b" % (
            status, reason, self._server.date_line(), lines.encode("utf-8"), ending,
        )  # fmt: skip

    def finished(self, incoming: Incoming) -> None:
        """The answer is written: on with the next request, or the end of the connection."""
        if self._queue and self._queue[0] is incoming:
            self._queue.popleft()
        if self.transport.is_closing():
            return
        if not incoming.keep_alive or self._server.stopping:
            talking = incoming.socket is not None and not incoming.socket.parted
            self._end(unread=incoming.refusal is not None or self._reading is not None or talking)
        elif self._queue:
            self._start(self._queue[0])
        else:
            self._await_next()
            if self._drained is None:
                self.resume_reading()

    def _await_next(self) -> None:
        """All is answered; half of the next request may be here already."""
        if self._reading is None:
            self._until(self._server.time() + IDLE_SECONDS)
            self._wire_bytes = 0
        elif self._in_head:
            self._until(self._server.time() + self._server.head_seconds)
        elif self._reading.expects_continue:
            self.send_continue(self._reading)

    def _end(self, *, unread: bool) -> None:
        self._deaf = True
        if not unread:
            self.transport.close()
            return
        # Closing on unread bytes makes the kernel reset the connection, and the client lose the answer: say
        # that this is the end, and throw away what still comes for a moment.
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._server.time() + _DRAIN_SECONDS

    # --- for Stream

    def still_reading(self, incoming: Incoming) -> bool:
        return self._reading is incoming

    def send_continue(self, incoming: Incoming) -> None:
        incoming.expects_continue = False
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
            self._until(_NEVER)

    def resume_reading(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
            if self._reading is not None:
                self._until(self._server.time() + self._server.body_seconds)

    async def drain(self) -> None:
        if self._drained is not None:
            await self._drained


def _header_name(name: bytes) -> str:
    """Lower-case, interned for the names that clients really use."""
    text = name.decode("latin-1").lower()
    if len(_names) < 256 and len(name) < 64:
        _names[name] = text
    return text


def _one_line(value: str) -> str:
    # An answer's header can hold what a client sent: never let it start a header of its own.
    return value.replace("\r", " ").replace("\n", " ") if "\n" in value or "\r" in value else value


def _split_target(url: bytes) -> tuple[str, str]:
    """Path and query as sent; ("", "") where the target is none we serve."""
    text = url.decode("utf-8", "replace")
    if not text.startswith("/"):
        scheme, found, rest = text.partition("://")
        if not found or scheme.lower() not in ("http", "https"):
            return "", ""
        text = "/" + rest.partition("/")[2]
    path, _, query = text.partition("#")[0].partition("?")
    return path, query
