"""The way of one container's lines to a router in its sandbox: Fluentd's forward protocol, version 1.

Made by runner.py for containers that log to a router; logs.py calls `ship` over and over. A message is a
batch of records and the id of its chunk, which the router sends back once it has them. What is sent is
written down beside the spool before, so that a later daemon, or the same one after a failure, sends the very
same chunk again: nothing is lost, and what came twice has the same id twice.
"""

import asyncio
import base64
import hashlib
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from neargate.model.sandbox import ContainerSpec, LogSink
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.node.spool import STDERR
from neargate.node.spool_reader import Limits, Place, Slice

log = logging.getLogger(__name__)

LIMITS = Limits(events=1000, bytes=64 * 1024)
_ANY_BYTES = 1 << 40
_ANSWER_SECONDS = 10.0
_LONGEST_ANSWER = 4096
_STANDING = struct.Struct("<QQI")
_EVENT_TIME = struct.Struct(">II")

Read = Callable[[Place, Limits], Awaitable[Slice]]
"""The next lines of the spool, empty ones too."""


class RouteError(Exception):
    """The router does not take lines now; the message says why."""


class _Standing(NamedTuple):
    """What is written down: delivered up to here, and how many records of a chunk may be delivered too."""

    offset: int = 0
    skip: int = 0
    sent: int = 0


class Route:
    def __init__(self, sandbox: Sandbox, container: ContainerSpec, sink: LogSink, spool: Path) -> None:
        self._sandbox = sandbox
        self._container = container
        self._sink = sink
        self._path = spool.with_name(f"{spool.name}.sent")
        self._standing: _Standing | None = None
        self._fresh = True
        """The next message begins a connection: an answer still to come would be taken for its own."""
        self._acknowledged = sink.acknowledged
        self._ever_acknowledged = False

    @property
    def who(self) -> dict[str, str]:
        return {"sandbox": self._sandbox.id, "container": self._container.name, "router": self._sink.router}

    async def ship(self, read: Read) -> Slice | None:
        """Send one batch. The slice if there was nothing, None if there was. Raise RouteError."""
        standing = self._standing or self._read_standing()
        place = Place(standing.offset, standing.skip)
        limits = Limits(standing.sent, _ANY_BYTES) if standing.sent else LIMITS
        part = await read(place, limits)
        if part.place == place:
            return part
        if part.events:
            self._write_standing(standing._replace(sent=len(part.events)))
            await self._deliver(part, self._chunk(place, len(part.events)))
        self._write_standing(_Standing(*part.place))
        return None

    def _chunk(self, place: Place, count: int) -> str:
        """The id of so many records from a place: 16 bytes, Base64 as the protocol has it."""
        what = f"{self._container.runtime_id} {place.offset} {place.skip} {count}".encode()
        return base64.b64encode(hashlib.blake2b(what, digest_size=16).digest()).decode()

    async def _deliver(self, part: Slice, chunk: str) -> None:
        data = self._message(part, chunk)
        answered = self._acknowledged
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._send(data, chunk, answered)
        except DriverError as error:
            self._fresh = True
            raise RouteError(str(error)) from None
        except TimeoutError:
            self._fresh = True
            if not answered or self._ever_acknowledged:
                raise RouteError(f"the router takes nothing for {_ANSWER_SECONDS:g} s") from None
            # Nor would it be better off with the same records every ten seconds.
            log.warning("the router acknowledges nothing: lines count as taken once sent", extra=self.who)
            self._acknowledged = False
        except BaseException:
            self._fresh = True
            raise

    async def _send(self, data: bytes, chunk: str, answered: bool) -> None:
        fresh, self._fresh = self._fresh, False
        said = await self._post(data, fresh, answered)
        if not answered:
            return
        while (acknowledged := _acknowledged(said)) is None:
            if len(said) > _LONGEST_ANSWER:
                raise DriverError("the router's answer is no acknowledgement")
            said += await self._post(b"", False, True)
        if acknowledged != chunk:
            raise DriverError("the router acknowledges another chunk than it was sent")
        self._ever_acknowledged = True

    async def _post(self, data: bytes, fresh: bool, answered: bool) -> bytes:
        return await self._sandbox.post(
            self._container.name, self._sink.socket, data, fresh=fresh, answered=answered
        )

    def _message(self, part: Slice, chunk: str) -> bytes:
        """[tag, [[time, record], ...], options], "Forward mode"."""
        container = {"container_id": self._container.runtime_id, "container_name": self._container.name}
        entries = [
            (
                _time(event.timestamp),
                {**container, "source": "stderr" if stream == STDERR else "stdout", "log": event.message},
            )
            for event, stream in zip(part.events, part.streams, strict=True)
        ]
        options: dict[str, str | int] = {"size": len(entries)}
        if self._acknowledged:
            options["chunk"] = chunk
        return msgspec.msgpack.encode((self._sink.stream, entries, options))

    # -- what is written down --------------------------------------------------------------------------

    def _read_standing(self) -> _Standing:
        try:
            self._standing = _Standing(*_STANDING.unpack(self._path.read_bytes()))
        except FileNotFoundError:
            self._standing = _Standing()
        return self._standing

    def _write_standing(self, standing: _Standing) -> None:
        """In place, in one write: a killed daemon leaves this one or the last."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, _STANDING.pack(*standing), 0)
        finally:
            os.close(fd)
        self._standing = standing


def _time(milliseconds: int) -> msgspec.msgpack.Ext:
    """EventTime: seconds and nanoseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return msgspec.msgpack.Ext(0, _EVENT_TIME.pack(seconds, rest * 1_000_000))


def _acknowledged(said: bytes) -> str | None:
    """The chunk of an answer {"ack": chunk}; None if more has to come. Raise DriverError."""
    try:
        return msgspec.msgpack.decode(said, type=dict[str, str])["ack"]
    except KeyError:
        raise DriverError("the router's answer is no acknowledgement") from None
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            return None
        raise DriverError("the router's answer is no acknowledgement") from None
