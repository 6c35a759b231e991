"""One session of ECS Exec, from its client's first message to its record's last change.

Made by sessions.py. Order: handshake -> log stream -> command -> its output -> channel closed -> record.
Whatever happens first ends it: the command's end, the client's wish or absence, idleness, somebody's
TerminateSession, the daemon's end. The command never outlives it.
"""

import asyncio
import contextlib
import logging
import time

from neargate.gateway.exec.channel import Channel
from neargate.gateway.exec.transcript import Transcript
from neargate.gateway.websocket import WebSocket
from neargate.kit.errors import ApiError
from neargate.model.exec_session import ExecSession
from neargate.model.terminal import Terminal, TerminalError, TerminalRequest
from neargate.services.call import House
from neargate.services.cell import execs
from neargate.state.store import StoreError
from neargate.wire.channel import frames
from neargate.wire.channel.flow import ChannelDead
from neargate.wire.channel.frames import Frame, FrameError

log = logging.getLogger(__name__)

AGENT_VERSION = "3.3.0.0"
"""What clients decide by what they may ask for: newer than 2.3.722.0, TerminateSession by flag."""
RESUME_SECONDS = 10.0
"""How long a command runs on without its client, whose connection broke."""
_HANDSHAKE_SECONDS = 15.0
_SIZE_SECONDS = 0.1
"""Clients tell the size of their terminal at once: commands that look at it only once find it right."""
_FLUSH_SECONDS = 30.0
_TYPED_AHEAD = 256 * 1024
_COLUMNS, _ROWS = 80, 24


class Ended(Exception):
    """Why a session ends: for the record, and what its client is to show."""

    def __init__(self, ending: str = "", output: str = "") -> None:
        super().__init__(ending)
        self.ending = ending
        self.output = output


class Session:
    def __init__(self, house: House, nodes: execs.Nodes, record: ExecSession) -> None:
        self._house, self._nodes, self._record = house, nodes, record
        self._channel = Channel(self._take, self._room)
        self._terminal: Terminal | None = None
        self._transcript: Transcript | None = None
        self._size = (_COLUMNS, _ROWS)
        self._sized, self._greeted = asyncio.Event(), asyncio.Event()
        self._typed = b""
        self._news = asyncio.Event()
        self._wish: Ended | None = None
        self._active_at = time.monotonic()

    # -- from outside ----------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket) -> None:
        """Take what comes from the client on this connection, until it ends. Raise Closed or FrameError."""
        self._channel.attach(socket)
        try:
            while True:
                message = await socket.receive()
                if isinstance(message, bytes):
                    self._channel.received(message)
        finally:
            self._channel.detach(socket)
            if socket.parted:
                self.end(Ended("The client closed the connection."))
            self._news.set()

    def end(self, why: Ended) -> None:
        self._wish = self._wish or why
        self._news.set()

    # -- the whole -------------------------------------------------------------------------------------

    async def run(self) -> None:
        ended = Ended("The daemon stopped.", "The session ended as the daemon stopped.")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._channel.resend())
                group.create_task(self._watch())
                group.create_task(self._type())
                await self._show(group)
        except* Ended as found:
            ended = _first(found)
        except* ChannelDead:
            ended = Ended("The client acknowledged nothing any more.")
        except* TerminalError as found:
            ended = Ended(str(found.exceptions[0]), str(found.exceptions[0]))
        except* ApiError as found:
            error = found.exceptions[0]
            message = error.message if isinstance(error, ApiError) else str(error)
            ended = Ended(message, f"The session's log cannot be written: {message}")
        finally:
            await self._finish(ended)

    async def _finish(self, ended: Ended) -> None:
        code = self._terminal.exit_code if self._terminal is not None else None
        if self._terminal is not None:
            self._terminal.close()
        if self._transcript is not None:
            with contextlib.suppress(ApiError, StoreError):
                await self._transcript.close()
        more = {} if code is None else {"ExitCode": code}
        self._channel.close(self._record.id, ended.output, **more)
        log.info(
            "a session of ECS Exec has ended", extra={"session": self._record.id, "ending": ended.ending}
        )
        try:
            await execs.ended(self._house, self._record, code, ended.ending)
        except StoreError:
            log.exception("the end of a session is not kept", extra={"session": self._record.id})

    async def _show(self, group: asyncio.TaskGroup) -> None:
        await self._handshake()
        if wanted := await execs.log_place(self._house, self._record):
            self._transcript = Transcript(self._house, self._record, wanted)
            await self._transcript.open()
            group.create_task(self._transcript.run())
        terminal = await self._start()
        while data := await terminal.read():
            self._active_at = time.monotonic()
            if self._transcript is not None:
                self._transcript.feed(data)
            for at in range(0, len(data), frames.CHUNK):
                await self._channel.send(frames.DATA, data[at : at + frames.CHUNK])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._channel.flushed()
        raise Ended("" if terminal.exit_code is not None else "The sandbox of the task has ended.")

    async def _handshake(self) -> None:
        began = time.monotonic_ns()
        action = {
            "ActionType": "SessionType",
            "ActionParameters": {"SessionType": self._record.kind, "Properties": {}},
        }
        asked = {"AgentVersion": AGENT_VERSION, "RequestedClientActions": [action]}
        await self._channel.send(frames.HANDSHAKE_REQUEST, frames.text(asked))
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await self._greeted.wait()
        except TimeoutError:
            raise Ended("The client did not answer the handshake.", "Handshake timed out.") from None
        complete = {"HandshakeTimeToComplete": time.monotonic_ns() - began, "CustomerMessage": ""}
        await self._channel.send(frames.HANDSHAKE_COMPLETE, frames.text(complete))

    async def _start(self) -> Terminal:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SIZE_SECONDS):
                await self._sized.wait()
        record, (columns, rows) = self._record, self._size
        request = TerminalRequest(
            sandbox=record.sandbox, container=record.container, argv=record.argv, columns=columns, rows=rows
        )
        self._terminal = await self._nodes.terminal(record.node, request)
        if self._size != (columns, rows):
            self._terminal.resize(*self._size)
        self._news.set()
        await execs.begun(self._house, record)
        return self._terminal

    # -- from the client -------------------------------------------------------------------------------

    def _room(self) -> bool:
        return len(self._typed) < _TYPED_AHEAD

    def _take(self, frame: Frame) -> None:
        """One message of the input. Raise FrameError."""
        self._active_at = time.monotonic()
        match frame.payload_type:
            case frames.DATA:
                self._typed += frame.payload
                self._news.set()
            case frames.SIZE:
                self._size = frames.size(frame.payload)
                self._sized.set()
                if self._terminal is not None:
                    self._terminal.resize(*self._size)
            case frames.HANDSHAKE_RESPONSE:
                self._greeted.set()
            case frames.FLAG:
                if frames.flag(frame.payload) == frames.TERMINATE_SESSION:
                    self.end(Ended("The client ended it."))

    async def _type(self) -> None:
        while True:
            if self._terminal is None or not self._typed:
                await self._wait()
                continue
            data, self._typed = self._typed, b""
            await self._terminal.write(data)

    # -- what ends it ----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        idle = self._house.settings.exec_idle_seconds
        while True:
            if self._wish is not None:
                raise self._wish
            now = time.monotonic()
            due = self._active_at + idle
            if due <= now:
                raise Ended("It timed out.", "Your session timed out due to inactivity.")
            if not self._channel.attached:
                gone = self._channel.detached_at + RESUME_SECONDS
                if gone <= now:
                    raise Ended("The client went away.")
                due = min(due, gone)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due - now):
                    await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


def _first(found: BaseExceptionGroup[Ended]) -> Ended:
    error = found.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


__all__ = ["Ended", "FrameError", "Session"]
