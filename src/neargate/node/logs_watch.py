"""Says when something was written to a directory: inotify, so that hundreds of idle spools cost nothing.

Used by logs.py. Where the kernel gives no (more) watches, a directory is looked at every POLL seconds.
"""

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

POLL = 0.1
_GATHER = 0.02
"""Seconds that notices are gathered: a flood of writes wakes the loop fifty times a second, not more."""
_EVENT = struct.Struct("iIII")
_MODIFY, _MOVED_TO, _CREATE, _OVERFLOW = 0x2, 0x80, 0x100, 0x4000
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC

Notice = Callable[[], None]


class Watch:
    """Use as an async context manager; `add` and `remove` from its loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._watched: dict[int, tuple[Path, Notice]] = {}
        self._polled: dict[Path, tuple[Notice, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._poller: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Watch":
        self._loop = asyncio.get_running_loop()
        self._fd = self._libc.inotify_init1(_FLAGS)
        if self._fd < 0:
            log.warning("inotify is not to be had (%s): logs are polled", os.strerror(ctypes.get_errno()))
        else:
            self._loop.add_reader(self._fd, self._readable)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for timer in (self._timer, self._poller):
            if timer is not None:
                timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def add(self, directory: Path, notice: Notice) -> None:
        """Call `notice` soon after each write in the directory, which exists."""
        mask = _MODIFY | _MOVED_TO | _CREATE
        number = -1
        if self._fd >= 0:
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), mask)
        if number >= 0:
            self._watched[number] = (directory, notice)
            return
        self._polled[directory] = (notice, _written(directory))
        if self._poller is None:
            self._poller = self._loop.call_later(POLL, self._poll)

    def remove(self, directory: Path) -> None:
        self._polled.pop(directory, None)
        for number in [n for n, (path, _) in self._watched.items() if path == directory]:
            del self._watched[number]
            self._libc.inotify_rm_watch(self._fd, number)

    def _readable(self) -> None:
        # Notices that come while these are gathered are merged by the kernel or read with them.
        self._loop.remove_reader(self._fd)
        self._timer = self._loop.call_later(_GATHER, self._gathered)

    def _gathered(self) -> None:
        self._timer = None
        try:
            data = os.read(self._fd, 1 << 18)
        except BlockingIOError:
            data = b""
        at = 0
        touched: set[int] = set()
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            touched.update(self._watched if mask & _OVERFLOW else (number,))
        self._loop.add_reader(self._fd, self._readable)
        for number in touched:
            if number in self._watched:
                self._watched[number][1]()

    def _poll(self) -> None:
        for directory, (notice, before) in list(self._polled.items()):
            written = _written(directory)
            if written != before:
                self._polled[directory] = (notice, written)
                notice()
        self._poller = self._loop.call_later(POLL, self._poll) if self._polled else None


def _written(directory: Path) -> int:
    """A number that changes with each write."""
    try:
        with os.scandir(directory) as entries:
            return hash(tuple(sorted((entry.name, entry.stat().st_size) for entry in entries)))
    except FileNotFoundError:
        return 0
