"""The log spool of one container: the format, and the side that writes it (in the shim).

A directory of segments named `<start offset, 20 digits>.seg`. Offsets count bytes over all segments ever
written. A segment holds frames: FRAME = stream (1 stdout, 2 stderr), flags (PARTIAL: the last line goes
on in the next frame of this stream, or ended without newline), 0, payload length, milliseconds since the
epoch; then the payload, whole lines with their newlines. The reader (node/logs) deletes segments that it
has delivered; the one with the highest offset stays. `end` holds the final offset once the streams have
closed (it goes when the container is started again); `dropped` holds "lines bytes" thrown away in
non-blocking mode.
"""

import os
import struct
import time

FRAME = struct.Struct("<BBHIq")
STDOUT, STDERR = 1, 2
PARTIAL = 1
SEGMENT_BYTES = 256 * 1024
LINE_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
_TELL_SECONDS, _LOOK_SECONDS = 0.1, 0.02
_SUFFIX = ".seg"


def segment_name(offset: int) -> str:
    return f"{offset:020d}{_SUFFIX}"


def segment_offsets(directory: str) -> list[int]:
    """Start offsets of the segments that are kept, in order."""
    return sorted(int(name[:20]) for name in os.listdir(directory) if name.endswith(_SUFFIX))


class SpoolWriter:
    """Appends what a container writes. Never holds more than one incomplete line per stream."""

    def __init__(self, directory: str, limit: int, blocking: bool) -> None:
        """limit -- bytes that may wait for the reader before it drops, or blocks."""
        self.directory = directory
        self._limit = max(limit, 4096)
        self._segment_limit = max(4096, min(SEGMENT_BYTES, self._limit // 4))
        self._blocking = blocking
        self._rests: dict[int, bytes] = {}
        self._dropped_lines = self._dropped_bytes = 0
        self._untold, self._told_at, self._looked_at = False, 0.0, 0.0
        os.makedirs(directory, exist_ok=True)
        kept = segment_offsets(directory)
        self._start = self._oldest = kept[-1] if kept else 0
        self._fd = self._open(self._start)
        self.offset = self._start + os.fstat(self._fd).st_size
        self._refresh()
        self._remove("end")

    def reconfigure(self, limit: int, blocking: bool) -> None:
        self._limit, self._blocking = max(limit, 4096), blocking

    def reopen(self) -> None:
        """The container is started again: the spool goes on where it ended."""
        self._remove("end")

    @property
    def full(self) -> bool:
        """In blocking mode: do not read the pipe now. Gives the reader a segment that it can take away."""
        if not self._blocking or self._room() > 0:
            return False
        self._refresh()
        if self._room() > 0:
            return False
        if self.offset > self._start:
            self._roll()
        return True

    def feed(self, stream: int, data: bytes) -> None:
        """Take what was read from one stream (at most READ_BYTES)."""
        data = self._rests.pop(stream, b"") + data
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if cut:
            self._frame(stream, data[:cut], 0)
        while len(rest) >= LINE_BYTES:
            self._frame(stream, rest[:LINE_BYTES], PARTIAL)
            rest = rest[LINE_BYTES:]
        if rest:
            self._rests[stream] = rest

    def close_stream(self, stream: int) -> None:
        rest = self._rests.pop(stream, b"")
        if rest:
            self._frame(stream, rest, PARTIAL)

    def finish(self) -> None:
        """All streams have closed: say where the end is."""
        if self._untold:
            self._tell_dropped()
        self._write_file("end", str(self.offset))

    def close(self) -> None:
        os.close(self._fd)

    # -- inside ----------------------------------------------------------------------------------------

    def _frame(self, stream: int, payload: bytes, flags: int) -> None:
        size = FRAME.size + len(payload)
        if not self._blocking and self._room() < size:
            if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._refresh()
            if self._room() < size:
                self._drop(payload)
                if self.offset > self._start:
                    self._roll()
                return
        head = FRAME.pack(stream, flags, 0, len(payload), time.time_ns() // 1_000_000)
        try:
            written = os.writev(self._fd, (head, payload))
        except OSError:
            written = 0
        if written != size:  # the disk is full: half a frame must not stay
            os.ftruncate(self._fd, self.offset - self._start)
            self._drop(payload)
            return
        self.offset += size
        if self._untold:
            self._tell_dropped()
        if self.offset - self._start >= self._segment_limit:
            self._roll()

    def _room(self) -> int:
        return self._limit - (self.offset - self._oldest)

    def _refresh(self) -> None:
        self._looked_at = time.monotonic()
        kept = segment_offsets(self.directory)
        self._oldest = kept[0] if kept else self.offset

    def _roll(self) -> None:
        try:
            fd = self._open(self.offset)
        except OSError:
            return  # a full disk: go on in the segment that is there
        os.close(self._fd)
        self._fd, self._start = fd, self.offset

    def _open(self, offset: int) -> int:
        path = f"{self.directory}/{segment_name(offset)}"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _drop(self, payload: bytes) -> None:
        self._dropped_lines += payload.count(b"\n") or 1
        self._dropped_bytes += len(payload)
        self._untold = True
        if time.monotonic() - self._told_at > _TELL_SECONDS:  # in a flood, each would cost more than the read
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        self._untold = False
        self._told_at = time.monotonic()
        self._write_file("dropped", f"{self._dropped_lines} {self._dropped_bytes}")

    def _write_file(self, name: str, text: str) -> None:
        path = f"{self.directory}/{name}"
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
            os.rename(path + ".new", path)
        except OSError:
            return  # a full disk; the count is written with the next drop

    def _remove(self, name: str) -> None:
        try:
            os.unlink(f"{self.directory}/{name}")
        except FileNotFoundError:
            return
