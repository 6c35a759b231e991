"""A Session Manager client for tests, with `websockets` rather than the library that the door uses.

It says what plugins say: token, acknowledgements, handshake, sizes. Tests may make it forget to.
"""

import asyncio
import contextlib
import json
import struct
import uuid
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from neargate.wire.channel import frames
from neargate.wire.channel.frames import Frame


class SessionClient:
    """`async with SessionClient(answer["session"]) as client: ...`."""

    def __init__(self, session: dict[str, Any], *, acknowledges: bool = True, forgets: int = 0) -> None:
        """forgets -- every how many messages the first copy of one is not acknowledged."""
        self._forgets = forgets
        self._session = session
        self._acknowledges = acknowledges
        self.socket: ClientConnection
        self.number = 0
        self.output = b""
        self.handshake: dict[str, Any] = {}
        self.closed: dict[str, Any] | None = None
        self.frames: list[Frame] = []
        """All that came, in the order in which it came."""
        self._seen: set[int] = set()
        self.acknowledged: list[int] = []

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        self.socket = await connect(self._session["streamUrl"])
        hello = {"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4())}
        hello |= {
            "TokenValue": self._session["tokenValue"],
            "ClientId": str(uuid.uuid4()),
            "ClientVersion": "1.2",
        }
        await self.socket.send(json.dumps(hello))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.socket.close()

    def resume(self, session: dict[str, Any]) -> None:
        self._session = session

    async def send(self, payload_type: int, payload: bytes) -> None:
        await self.send_frame(Frame(frames.INPUT, self.number, payload, payload_type, id=uuid.uuid4()))
        self.number += 1

    async def send_frame(self, frame: Frame) -> None:
        await self.socket.send(frames.encode(frame))

    async def type(self, text: bytes) -> None:
        await self.send(frames.DATA, text)

    async def resize(self, columns: int, rows: int) -> None:
        await self.send(frames.SIZE, json.dumps({"cols": columns, "rows": rows}).encode())

    async def terminate(self) -> None:
        await self.send(frames.FLAG, struct.pack(">I", frames.TERMINATE_SESSION))

    async def take(self) -> Frame:
        """The next message, answered as a plugin would."""
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        frame = frames.decode(data)
        self.frames.append(frame)
        if frame.type == frames.ACKNOWLEDGE:
            self.acknowledged.append(frames.acknowledged(frame.payload))
        elif frame.type == frames.CHANNEL_CLOSED:
            self.closed = json.loads(frame.payload)
        elif self._acknowledges:
            # The door may have closed meanwhile: what it said before that is still to be read.
            with contextlib.suppress(ConnectionClosed):
                await self._answer(frame)
        return frame

    async def _answer(self, frame: Frame) -> None:
        forgotten = self._forgets and frame.sequence % self._forgets == self._forgets - 1
        if not forgotten or frame.sequence in self._seen:
            await self.send_frame(frames.acknowledgement(frame, 0))
        if frame.sequence not in self._seen:
            self._seen.add(frame.sequence)
            await self._output(frame)

    async def _output(self, frame: Frame) -> None:
        if frame.payload_type == frames.HANDSHAKE_REQUEST:
            self.handshake = json.loads(frame.payload)
            done = [{"ActionType": "SessionType", "ActionStatus": 1}]
            answer = {"ClientVersion": "1.2.0.0", "ProcessedClientActions": done, "Errors": []}
            await self.send(frames.HANDSHAKE_RESPONSE, json.dumps(answer).encode())
        elif frame.payload_type == frames.DATA:
            self.output += frame.payload

    async def until(self, what: bytes, seconds: float = 60) -> bytes:
        async with asyncio.timeout(seconds):
            while what not in self.output:
                await self.take()
        return self.output

    async def to_end(self, seconds: float = 60) -> dict[str, Any]:
        """Take all that comes; the last message."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    await self.take()
            except ConnectionClosed:
                pass
        assert self.closed is not None, "the connection ended without channel_closed"
        return self.closed
