"""Reads a container's log spool (format: spool.py): frames into lines, lines into events, losing nothing.

Called by logs.py on a thread. Reading keeps no memory: everything is parsed anew from the kept cursor, so a
reader killed at any moment goes on exactly where the store's cursor stands.

Lines are counted in the order in which they are complete. A place (offset, skip) names a frame before which
no line was open, and how many of the lines complete since then are delivered. Which lines there are depends
on the spool's bytes alone, never on timing; only how lines are joined to events does.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from neargate.model.multiline import Starts
from neargate.model.sandbox import LogEvent
from neargate.node.spool import FRAME, PARTIAL, segment_name, segment_offsets

MAX_FRAME = 1024 * 1024
MAX_EVENT = 256 * 1024 - 26
"""Bytes of UTF-8; longer lines become several events, as the awslogs driver makes them."""
MAX_OPEN = 512 * 1024
"""An unfinished line counts as complete once its spool has grown this much past its first frame."""


class Frame(NamedTuple):
    offset: int
    stream: int
    partial: bool
    timestamp: int
    payload: bytes

    @property
    def end(self) -> int:
        return self.offset + FRAME.size + len(self.payload)


class Place(NamedTuple):
    """As model.sandbox.LogCursor has it."""

    offset: int = 0
    skip: int = 0


class Limits(NamedTuple):
    """Of one slice; a single event may go beyond `bytes`."""

    events: int = 10_000
    bytes: int = 1024 * 1024 - 300 * 1024


@dataclass(slots=True)
class Slice:
    events: list[LogEvent]
    place: Place
    """Where the spool stands once these are kept."""
    streams: list[int] = field(default_factory=list)
    """Of each event the stream that it was written to, or its first line was."""
    more: bool = False
    """A limit was reached: there may be more to read at once."""
    pending: bool = False
    """Lines wait for others that may belong to the same event."""
    ended: bool = False
    """The spool is closed and nothing is left."""


def read_spool(
    spool: Path,
    place: Place,
    starts: Starts | None = None,
    flush: bool = False,
    limits: Limits | None = None,
    empty: bool = False,
) -> Slice:
    """The next events after a kept place; segments before it are deleted.

    flush -- do not wait for more lines of the last event. empty -- an empty line is an event, too.
    Without `starts`, a limit of as many events as were read before gives the same ones.
    """
    # Looked at first: with `end` there before the segments are read, nothing can come after them.
    ended = (spool / "end").exists()
    try:
        segments = segment_offsets(str(spool))
    except FileNotFoundError:
        segments = []
    segments = _delete_delivered(spool, segments, place.offset)
    if segments and place.offset < segments[0]:
        place = Place(segments[0])
    reading = _Reading(place, starts, limits or Limits(), empty)
    for frame in _frames(spool, segments, place.offset):
        if not reading.take(frame):
            return reading.slice(more=True)
    if ended and reading.full():
        return reading.slice(more=True)
    if ended:
        reading.close_lines()
    if ended or flush:
        reading.finish_event()
    return reading.slice(ended=ended)


def _delete_delivered(spool: Path, segments: list[int], offset: int) -> list[int]:
    """Delete the segments wholly before a kept offset, but never the newest: it is the writer's."""
    while len(segments) > 1 and segments[1] <= offset:
        (spool / segment_name(segments[0])).unlink(missing_ok=True)
        segments = segments[1:]
    return segments


def _frames(spool: Path, segments: list[int], offset: int) -> Iterator[Frame]:
    """Whole frames from `offset` on. A damaged segment's rest is passed over once there is a next one."""
    for start in segments:
        at = max(offset, start)
        try:
            with (spool / segment_name(start)).open("rb") as file:
                file.seek(at - start)
                data = file.read()
        except FileNotFoundError:
            continue
        done = 0
        while len(data) - done >= FRAME.size:
            stream, flags, _, length, timestamp = FRAME.unpack_from(data, done)
            begin = done + FRAME.size
            if stream not in (1, 2) or length > MAX_FRAME or len(data) - begin < length:
                break
            yield Frame(at + done, stream, bool(flags & PARTIAL), timestamp, data[begin : begin + length])
            done = begin + length


@dataclass(slots=True)
class _Open:
    """A line that goes on in a later frame."""

    offset: int
    timestamp: int
    data: bytearray


@dataclass(slots=True)
class _Joined:
    """Lines of one event, which may not be whole. `upto`: lines complete with the last of them."""

    timestamp: int = 0
    lines: list[str] = field(default_factory=list)
    size: int = 0
    upto: int = 0
    stream: int = 0


class _Reading:
    """One pass over frames. Of the `_complete` lines since the place's frame, `_done` need no more care."""

    def __init__(self, place: Place, starts: Starts | None, limits: Limits, empty: bool) -> None:
        self._starts = starts
        self._limits = limits
        self._empty = empty
        self._from = place
        self._end = place.offset
        self._complete = 0
        self._done = self._skip = place.skip
        # Frames before which no line was open, and how many lines were complete there.
        self._clean: deque[tuple[int, int]] = deque([(place.offset, 0)])
        self._open: dict[int, _Open] = {}
        self._joined = _Joined()
        self._events: list[LogEvent] = []
        self._streams: list[int] = []
        self._bytes = 0
        self._seen = 0

    def take(self, frame: Frame) -> bool:
        """False if a limit is reached; what is not taken is read again next time."""
        if self.full() or (self._seen >= self._limits.bytes and self._place() != self._from):
            return False
        for stream in [s for s, o in self._open.items() if frame.offset >= o.offset + MAX_OPEN]:
            self._close(stream)
        if not self._open:
            self._clean.append((frame.offset, self._complete))
        self._seen += len(frame.payload)
        self._end = frame.end
        for timestamp, line in self._lines(frame):
            if self.full():
                return False
            self._line(timestamp, line, frame.stream)
        return True

    def close_lines(self) -> None:
        """No frame follows: what is open is complete."""
        for stream in sorted(self._open, key=lambda s: self._open[s].offset):
            self._close(stream)

    def finish_event(self) -> None:
        """No line follows: what is joined is an event."""
        joined = self._joined
        if joined.lines:
            # The awslogs driver keeps the newlines of joined lines, the last one included.
            self._emit(joined.timestamp, ("\n".join(joined.lines) + "\n").encode(), joined.stream)
            self._done = joined.upto
            self._joined = _Joined()

    def slice(self, more: bool = False, ended: bool = False) -> Slice:
        if not more and not self._open:
            self._clean.append((self._end, self._complete))
        joining = bool(self._joined.lines)
        return Slice(self._events, self._place(), self._streams, more, joining, ended)

    def _place(self) -> Place:
        while len(self._clean) > 1 and self._clean[1][1] <= self._done:
            self._clean.popleft()
        offset, complete = self._clean[0]
        return Place(offset, self._done - complete)

    def full(self) -> bool:
        return len(self._events) >= self._limits.events or self._bytes >= self._limits.bytes

    def _lines(self, frame: Frame) -> list[tuple[int, bytes]]:
        """Lines that this frame completes; its last one may stay open."""
        *whole, last = frame.payload.split(b"\n")
        lines: list[tuple[int, bytes]] = []
        opened = self._open.get(frame.stream)
        if opened is not None:
            opened.data += whole.pop(0) if (ends := bool(whole)) else last
            if not ends:
                last = b""
            if ends or not frame.partial or len(opened.data) > MAX_EVENT:
                lines.append((opened.timestamp, bytes(opened.data)))
                del self._open[frame.stream]
        lines += [(frame.timestamp, line) for line in whole]
        if last and frame.partial:
            self._open[frame.stream] = _Open(frame.offset, frame.timestamp, bytearray(last))
        elif last:
            lines.append((frame.timestamp, last))
        return lines

    def _close(self, stream: int) -> None:
        opened = self._open.pop(stream)
        self._line(opened.timestamp, bytes(opened.data), stream)

    def _line(self, timestamp: int, line: bytes, stream: int) -> None:
        self._complete += 1
        if self._complete <= self._skip:
            return
        if self._starts is None:
            if line or self._empty:  # the awslogs driver sends no empty events
                self._emit(timestamp, line, stream)
            self._done = self._complete
            return
        text = line.decode("utf-8", "replace")
        joined = self._joined
        if joined.lines and (joined.size + len(line) > MAX_EVENT or self._starts(text)):
            self.finish_event()
            joined = self._joined
        if not joined.lines:
            joined.timestamp, joined.stream = timestamp, stream
        joined.lines.append(text)
        joined.size += len(line) + 1
        joined.upto = self._complete

    def _emit(self, timestamp: int, message: bytes, stream: int) -> None:
        self._bytes += len(message) + 26
        texts = _texts(message)
        self._events.extend(LogEvent(timestamp, text) for text in texts)
        self._streams.extend(stream for _ in texts)


def _texts(message: bytes) -> list[str]:
    """A message as text, in pieces of at most MAX_EVENT bytes."""
    text = message.decode("utf-8", "replace")
    if len(message) * 3 <= MAX_EVENT:
        return [text]
    data, texts = text.encode(), []
    while len(data) > MAX_EVENT:
        cut = MAX_EVENT
        while data[cut] & 0xC0 == 0x80:
            cut -= 1
        texts.append(data[:cut].decode())
        data = data[cut:]
    return [*texts, data.decode()]
