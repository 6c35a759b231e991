"""One WebSocket: a connection after its upgrade. Made by http1.py; what it carries is gateway/exec's.

wsproto has the protocol; here are the bounds: the size of a message, how many may wait, how long a peer may
not read.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
)
from wsproto.events import Request as Upgrade
from wsproto.utilities import LocalProtocolError, ProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from neargate.gateway.http1 import Connection, Incoming

log = logging.getLogger(__name__)

NORMAL, GOING_AWAY, REFUSED, TOO_BIG, BUSY = 1000, 1001, 1008, 1009, 1013
MAX_MESSAGE = 128 * 1024
_WAITING = 64
_TEXT_CLOSE = 120


class Closed(Exception):
    """The other side has gone."""


class WebSocket:
    def __init__(self, connection: "Connection", incoming: "Incoming") -> None:
        self.path = incoming.path
        self._connection = connection
        self._incoming = incoming
        self._ws = WSConnection(ConnectionType.SERVER)
        self._messages: deque[bytes | str] = deque()
        self._parts: list[bytes | str] = []
        self._size = 0
        self._news = asyncio.Event()
        self._gone = False
        self._accepted = False
        self._early = b""
        self.parted = False
        """The other side said that it goes; else, once it is gone, its connection broke."""

    # --- from the connection

    def feed(self, data: bytes) -> None:
        if self._gone:
            return
        if not self._accepted:  # it did not wait for the answer
            self._early += data[: MAX_MESSAGE - len(self._early)]
            return
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._happened(event)
        except RemoteProtocolError as error:
            if self._accepted and error.event_hint is not None:
                self._write(error.event_hint)
            self.disconnected()
        if len(self._messages) > _WAITING:
            self._connection.pause_reading()

    def _happened(self, event: object) -> None:
        match event:
            case Message():
                self._message(event)
            case Ping():
                self._write(event.response())
            case CloseConnection():
                self.parted = True
                self._write(event.response())
                self.disconnected()

    def _message(self, event: Message[Any]) -> None:
        self._size += len(event.data)
        if self._size > MAX_MESSAGE:
            return self.close(TOO_BIG, f"a message may have {MAX_MESSAGE} bytes at most")
        self._parts.append(event.data)
        if not event.message_finished:
            return
        parts, self._parts, self._size = self._parts, [], 0
        text = [part for part in parts if isinstance(part, str)]
        self._messages.append("".join(text) if text else b"".join(p for p in parts if isinstance(p, bytes)))
        self._news.set()

    def disconnected(self) -> None:
        self._gone = True
        self._news.set()

    # --- for who serves it

    @property
    def gone(self) -> bool:
        return self._gone

    async def run(self, serve: Callable[["WebSocket"], Awaitable[None]]) -> None:
        """Answer the upgrade, and serve to the end."""
        try:
            if self._accept():
                await serve(self)
        except Closed:
            pass
        except Exception:
            log.exception("a WebSocket failed", extra={"path": self.path})
        finally:
            self.close(GOING_AWAY)
            self._incoming.keep_alive = False
            self._connection.finished(self._incoming)

    def _accept(self) -> bool:
        headers = [(name.encode(), value.encode()) for name, value in self._incoming.headers.items()]
        try:
            self._ws.initiate_upgrade_connection(headers, self.path)
            wanted = [event for event in self._ws.events() if isinstance(event, Upgrade)]
        except ProtocolError:
            wanted = []
        if not wanted:
            self._connection.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self._gone = True
            return False
        self._write(AcceptConnection())
        self._accepted = True
        self.feed(self._early)
        return True

    async def receive(self) -> bytes | str:
        """The next message. Raise Closed."""
        while not self._messages:
            if self._gone:
                raise Closed
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        if len(self._messages) <= _WAITING // 2:
            self._connection.resume_reading()
        return message

    def send(self, data: bytes) -> None:
        """Nothing happens once the other side has gone."""
        if not self._gone:
            self._write(BytesMessage(data=data))

    async def drain(self) -> None:
        """Wait while the other side does not read; it is cut off if it does not for long."""
        await self._connection.drain()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        if not self._gone and self._accepted:
            self._write(CloseConnection(code=code, reason=reason[:_TEXT_CLOSE]))
        self.disconnected()

    def _write(self, event: Event) -> None:
        if self._connection.transport.is_closing():
            return
        try:
            self._connection.transport.write(self._ws.send(event))
        except LocalProtocolError:  # the closing handshake is under way
            self._gone = True
