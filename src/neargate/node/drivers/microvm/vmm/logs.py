"""The log of one container of a machine: what its guest sends, into its spool. Called by supervisor.py.

In blocking mode what the spool has no room for waits here, and the guest, which may have a window of bytes on
their way, waits too. What a guest sends all the same, which only a hostile one does, is thrown away: neither
this memory nor the machine's disk is its own.
"""

from collections import deque

from neargate.node import spool
from neargate.node.guest import frames

_MOST_WAITING = 4 * frames.WINDOW + 1024 * 1024
"""At its end a container's pipes are emptied at once, whatever the window."""
_MOST_FRAMES = frames.WINDOW + 4096
"""Nobody fills the window with frames of less than a byte."""


class Log:
    def __init__(self, directory: str, limit: int, blocking: bool) -> None:
        self._writer = spool.SpoolWriter(directory, limit, blocking)
        self._waiting: deque[tuple[int, int, bytes]] = deque()
        """(kind, stream, bytes), in the order in which they came."""
        self._bytes = 0

    def begin(self, limit: int, blocking: bool) -> None:
        """The container has been started again."""
        self.flush()
        self._writer.reconfigure(limit, blocking)
        self._writer.reopen()

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def take(self, kind: int, stream: int, data: bytes) -> int:
        """A frame of the guest's. How many bytes the spool has taken now."""
        if self._bytes > _MOST_WAITING or len(self._waiting) > _MOST_FRAMES:
            return self.advance()
        self._waiting.append((kind, stream, data))
        self._bytes += len(data)
        return self.advance()

    def advance(self, regardless: bool = False) -> int:
        taken = 0
        while self._waiting and (regardless or not self._writer.full):
            kind, stream, data = self._waiting.popleft()
            self._bytes -= len(data)
            if kind == frames.LOG:
                self._writer.feed(stream, data)
                taken += len(data)
            elif kind == frames.CLOSED:
                self._writer.close_stream(stream)
            else:
                self._writer.finish()
        return taken

    def flush(self) -> None:
        """Nothing more comes: write down all that waits, room or not."""
        self.advance(regardless=True)

    def end(self) -> None:
        """The machine is gone."""
        self.flush()
        for stream in (spool.STDOUT, spool.STDERR):
            self._writer.close_stream(stream)
        self._writer.finish()
