"""The client's end of a session's data channel, between this terminal and a command in a container.

Called by exec.py. One loop over the WebSocket, standard input and changes of the window's size; wire/channel
has the messages and their order, wsproto the protocol under them.
"""

import json
import os
import selectors
import signal
import socket
import ssl
import sys
import termios
import time
import tty
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from neargate import __version__
from neargate.cli.client import CliError
from neargate.wire.channel import frames
from neargate.wire.channel.flow import Receiver, Sender
from neargate.wire.channel.frames import Frame

_READ = 1024
_TRANSPORT = 64 * 1024
_CONNECT_SECONDS = 10.0
_END_OF_FILE = b"\x04"


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key as it is pressed, while the block runs; nothing is done to what is no terminal."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _resizes() -> Iterator[int]:
    """A descriptor that becomes readable when the window changes its size."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGWINCH, before)
        os.close(read)
        os.close(write)


class Session:
    def __init__(self, session: dict[str, str], context: ssl.SSLContext | None) -> None:
        """session -- as ExecuteCommand answers it. context -- for a door with TLS."""
        self._session, self._context = session, context
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._socket: socket.socket
        self._sender, self._receiver = Sender(), Receiver()
        self._selector = selectors.DefaultSelector()
        self._buffer: list[bytes] = []
        self._talking = False
        """The handshake is over: what is typed may be sent."""
        self._stdin_open = True
        self.closed: dict[str, Any] | None = None
        """The last message: what to show, and the command's exit code."""

    def run(self) -> None:
        """Until the command has ended. Raise CliError if the connection breaks before."""
        self._connect()
        with self._socket, _resizes() as resizes, _raw(0):
            self._selector.register(self._socket, selectors.EVENT_READ)
            self._selector.register(resizes, selectors.EVENT_READ)
            try:
                while self.closed is None:
                    self._round(resizes)
            except BaseException:
                self._terminate()
                raise

    def _connect(self) -> None:
        url = urlsplit(self._session["streamUrl"])
        host, secure = url.hostname or "", url.scheme == "wss"
        try:
            self._socket = socket.create_connection(
                (host, url.port or (443 if secure else 80)), _CONNECT_SECONDS
            )
            if secure:
                context = self._context or ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except OSError as error:
            raise CliError(f"the door at {host}:{url.port} does not answer: {error}") from None
        self._socket.settimeout(_CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._write(Request(host=url.netloc, target=f"{url.path}?{url.query}"))

    # -- one round -------------------------------------------------------------------------------------

    def _round(self, resizes: int) -> None:
        self._listen_to_stdin()
        wake_at = self._sender.wake_at
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
        for key, _ in self._selector.select(0 if pending else timeout):
            if key.fd == resizes:
                os.read(resizes, _READ)
                self._tell_size()
            elif key.fd == 0:
                self._type()
            else:
                pending = True
        if pending:
            self._receive()
        if (again := self._sender.again(time.monotonic())) is not None:
            self._write(BytesMessage(data=again))

    def _listen_to_stdin(self) -> None:
        """Not before the handshake, not while too much is on its way, not after its end."""
        wanted = self._talking and self._stdin_open and not self._sender.full
        if wanted and 0 not in self._selector.get_map():
            try:
                self._selector.register(0, selectors.EVENT_READ)
            except PermissionError:  # a file: always ready
                self._type()
        elif not wanted and 0 in self._selector.get_map():
            self._selector.unregister(0)

    def _type(self) -> None:
        data = os.read(0, _READ)
        if not data:
            self._stdin_open = False
            data = _END_OF_FILE
        self._send(frames.DATA, data)

    def _tell_size(self) -> None:
        if self._talking and os.isatty(1):
            size = os.get_terminal_size(1)
            self._send(frames.SIZE, frames.text({"cols": size.columns, "rows": size.lines}))

    # -- messages --------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_TRANSPORT)
        except OSError as error:
            raise CliError(f"the connection to the session broke: {error}") from None
        if not data:
            raise CliError("the daemon closed the session's connection")
        self._ws.receive_data(data)
        for event in self._ws.events():
            self._happened(event)

    def _happened(self, event: Event) -> None:
        match event:
            case AcceptConnection():
                hello = {
                    "MessageSchemaVersion": "1.0",
                    "RequestId": str(uuid.uuid4()),
                    "TokenValue": self._session["tokenValue"],
                    "ClientId": str(uuid.uuid4()),
                    "ClientVersion": __version__,
                }
                self._write(TextMessage(data=json.dumps(hello)))
            case BytesMessage():
                self._buffer.append(bytes(event.data))
                if event.message_finished:
                    data, self._buffer = b"".join(self._buffer), []
                    self._take(frames.decode(data))
            case Ping():
                self._write(event.response())
            case RejectConnection():
                raise CliError(f"the door refuses the session's channel: HTTP {event.status_code}")
            case CloseConnection() if self.closed is None:
                raise CliError(f"the door ended the session's channel: {event.reason or event.code}")

    def _take(self, frame: Frame) -> None:
        if frame.type == frames.ACKNOWLEDGE:
            self._sender.acknowledged(frames.acknowledged(frame.payload), time.monotonic())
        elif frame.type == frames.CHANNEL_CLOSED:
            self.closed = frames.read(frame.payload)
        elif frame.type == frames.OUTPUT:
            acknowledge, ready = self._receiver.take(frame)
            if acknowledge:
                answer = frames.acknowledgement(frame, time.time_ns() // 1_000_000)
                self._write(BytesMessage(data=frames.encode(answer)))
            for one in ready:
                self._show(one)

    def _show(self, frame: Frame) -> None:
        if frame.payload_type in (frames.DATA, frames.STDERR):
            stream = sys.stdout if frame.payload_type == frames.DATA else sys.stderr
            stream.buffer.write(frame.payload)
            stream.buffer.flush()
        elif frame.payload_type == frames.HANDSHAKE_REQUEST:
            asked = frames.read(frame.payload).get("RequestedClientActions", [])
            done = [{"ActionType": action["ActionType"], "ActionStatus": 1} for action in asked]
            answer = {"ClientVersion": __version__, "ProcessedClientActions": done, "Errors": []}
            self._send(frames.HANDSHAKE_RESPONSE, frames.text(answer))
        elif frame.payload_type == frames.HANDSHAKE_COMPLETE:
            self._talking = True
            self._tell_size()

    def _send(self, payload_type: int, payload: bytes) -> None:
        number, now = self._sender.next, time.time_ns() // 1_000_000
        frame = Frame(frames.INPUT, number, payload, payload_type, id=uuid.uuid4(), created_ms=now)
        data = frames.encode(frame)
        self._sender.sent(data, time.monotonic())
        self._write(BytesMessage(data=data))

    def _write(self, event: Event) -> None:
        try:
            self._socket.sendall(self._ws.send(event))
        except OSError as error:
            raise CliError(f"the connection to the session broke: {error}") from None

    def _terminate(self) -> None:
        """Best effort: without it the command runs on until the door has waited for a client in vain."""
        try:
            self._send(frames.FLAG, frames.TERMINATE_SESSION.to_bytes(4, "big"))
            self._write(CloseConnection(code=1000))
        except (CliError, RuntimeError):
            return
