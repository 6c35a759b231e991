"""One session's channel to its client, over one WebSocket after another: whole in both directions.

Made by session.py. A message goes out once and again until it is acknowledged (wire/channel/flow); a client
that lost its connection is sent all that it has not acknowledged on the new one.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

from neargate.gateway.websocket import REFUSED, WebSocket
from neargate.wire.channel import frames
from neargate.wire.channel.flow import Receiver, Sender
from neargate.wire.channel.frames import Frame

_AHEAD = 128


class Channel:
    def __init__(self, take: Callable[[Frame], None], room: Callable[[], bool]) -> None:
        """take -- is given each message of the input, in order. room -- whether there is any for the next."""
        self._take, self._room = take, room
        self._sender = Sender()
        self._receiver = Receiver(_AHEAD)
        self._socket: WebSocket | None = None
        self._news = asyncio.Event()
        self.detached_at = time.monotonic()

    # -- sockets ---------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        return self._socket is not None

    def attach(self, socket: WebSocket) -> None:
        if self._socket is not None:
            self._socket.close(REFUSED, "the session goes on in another connection")
        self._socket = socket
        for data in self._sender.all_again(time.monotonic()):
            socket.send(data)
        self._news.set()

    def detach(self, socket: WebSocket) -> None:
        if self._socket is socket:
            self._socket = None
            self.detached_at = time.monotonic()
            self._news.set()

    # -- out -------------------------------------------------------------------------------------------

    async def send(self, payload_type: int, payload: bytes) -> None:
        """Send one message of the output; waits while too many are on their way, or nobody is there."""
        while self._sender.full or self._socket is None:
            await self._wait()
        frame = Frame(
            frames.OUTPUT, self._sender.next, payload, payload_type, id=uuid.uuid4(), created_ms=_now_ms()
        )
        data = frames.encode(frame)
        self._sender.sent(data, time.monotonic())
        self._socket.send(data)
        await self._socket.drain()

    async def flushed(self) -> None:
        """Wait until the client has all."""
        while not self._sender.done:
            await self._wait()

    def close(self, session: str, output: str, **more: Any) -> None:
        """The last message. Clients are not asked to acknowledge it."""
        if self._socket is None:
            return
        payload = {
            "MessageType": frames.CHANNEL_CLOSED,
            "MessageId": str(uuid.uuid4()),
            "DestinationId": session,
            "SessionId": session,
            "SchemaVersion": 1,
            "CreatedDate": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "Output": output,
            **more,
        }
        frame = Frame(frames.CHANNEL_CLOSED, 0, frames.text(payload), id=uuid.uuid4(), created_ms=_now_ms())
        self._socket.send(frames.encode(frame))
        self._socket.close()

    async def resend(self) -> None:
        """Send again what is not acknowledged, for ever. Raise ChannelDead."""
        while True:
            now, wake_at = time.monotonic(), self._sender.wake_at
            if self._socket is None or wake_at is None:
                await self._wait()
            elif wake_at > now:
                await asyncio.sleep(wake_at - now)
            elif (data := self._sender.again(now)) is not None:
                self._socket.send(data)

    # -- in --------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """A message from the client. Raise FrameError."""
        frame = frames.decode(data)
        if frame.type == frames.ACKNOWLEDGE:
            self._sender.acknowledged(frames.acknowledged(frame.payload), time.monotonic())
            self._news.set()
        elif frame.type == frames.INPUT:
            self._input(frame)

    def _input(self, frame: Frame) -> None:
        if frame.sequence >= self._receiver.expected and not self._room():
            return  # not acknowledged, so it will come again
        acknowledge, ready = self._receiver.take(frame)
        for one in ready:
            self._take(one)
        if acknowledge and self._socket is not None:
            self._socket.send(frames.encode(frames.acknowledgement(frame, _now_ms())))

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
