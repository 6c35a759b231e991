"""Locks of files in shared volumes, between tasks of every tier: the host kernel's own, taken for others.

Called by files.py. What another kernel's processes lock with fcntl is theirs, not their open files': each
owner has an open file of its own here, and an `open file description lock` on that. What they lock with
flock is the open file's, which is one here, too. Nobody waits in here: whoever must wait is asked for again
by the server's loop.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterable

from neargate.node.shares import fuse

_OFD_GET, _OFD_SET = 36, 37
_FLOCK = struct.Struct("=hhxxxxqqixxxx")
"""struct flock on 64-bit Linux: type, whence, start, length, pid."""
_END = (1 << 63) - 1
_WAITING = 256
_PAUSE = 0.02
"""Seconds between two looks at what is waited for."""


class Locks:
    def __init__(self, handle: Callable[[int], int]) -> None:
        """handle -- descriptor of an open file by the asking kernel's number of it."""
        self._handle = handle
        self._owned: dict[tuple[int, int], int] = {}
        """(file, owner) -> what has the owner's locks."""
        self._through: dict[int, dict[tuple[int, int], None]] = {}
        """Open file -> those of `_owned` that were made of it."""
        self._made_of: dict[tuple[int, int], int] = {}
        self._waiting: dict[int, tuple[int, bytes]] = {}
        self._again = 0.0

    def patience(self) -> float | None:
        """Seconds until `retry` looks again; None: nobody waits."""
        return max(0.0, self._again - time.monotonic()) if self._waiting else None

    def ask(self, opcode: int, number: int, node: int, payload: bytes) -> bytes:
        """The answer; empty if the lock is another's and the asker waits for it. Raise OSError."""
        handle, owner, start, end, kind, _pid, flags, _ = fuse.LOCK_IN.unpack_from(payload)
        fd, key = self._handle(handle), (node, owner)
        length = 0 if end >= _END else end - start + 1
        wanted = _FLOCK.pack(kind, os.SEEK_SET, min(start, _END), length, 0)
        try:
            if opcode == fuse.GETLK:
                return fuse.answer(number, _told(fcntl.fcntl(self._owned.get(key, fd), _OFD_GET, wanted)))
            if flags & fuse.LOCK_IS_FLOCK:
                fcntl.flock(fd, _FLOCK_KINDS[kind] | fcntl.LOCK_NB)
            elif kind != fcntl.F_UNLCK:
                fcntl.fcntl(self._of(key, handle, fd, kind), _OFD_SET, wanted)
            elif key in self._owned:
                fcntl.fcntl(self._owned[key], _OFD_SET, wanted)
        except (BlockingIOError, PermissionError) as error:
            if opcode == fuse.SETLKW and error.errno in (errno.EAGAIN, errno.EACCES):
                if len(self._waiting) >= _WAITING:
                    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from None
                if not self._waiting:
                    self._again = time.monotonic() + _PAUSE
                self._waiting[number] = node, payload
                return b""
            raise
        return fuse.answer(number)

    def _of(self, key: tuple[int, int], handle: int, fd: int, kind: int) -> int:
        """The owner's, made of a file that it has open in a way that allows such a lock. Raise OSError."""
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == _FORBIDS.get(kind):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if key not in self._owned:
            path, flags = f"/proc/self/fd/{fd}", os.O_CLOEXEC | os.O_NONBLOCK
            try:
                self._owned[key] = os.open(path, os.O_RDWR | flags)
            except OSError:  # it is a running program, say
                self._owned[key] = os.open(path, os.O_RDONLY | flags)
            self._made_of[key] = handle
            self._through.setdefault(handle, {})[key] = None
        return self._owned[key]

    def retry(self) -> list[bytes]:
        """Answers for those whose wait is over. For after each request, too: others may never pause."""
        answers: list[bytes] = []
        if self.patience() != 0:
            return answers
        self._again = time.monotonic() + _PAUSE
        for number in list(self._waiting):
            node, payload = self._waiting.pop(number)
            try:
                answer = self.ask(fuse.SETLKW, number, node, payload)
            except OSError as error:
                answer = fuse.refusal(number, error.errno or errno.EIO)
            if answer:
                answers.append(answer)
        return answers

    def interrupt(self, number: int) -> bytes:
        return fuse.refusal(number, errno.EINTR) if self._waiting.pop(number, None) else b""

    def release(self, node: int, owner: int) -> None:
        """A process has closed the file, however often it has it open: its locks are gone."""
        self._drop((node, owner))

    def closed(self, handle: int) -> None:
        """Nobody has the open file any more. What was locked as the open file's own (F_OFD_SETLK) goes with
        it: no kernel unlocks that, and `release` is not told of such owners."""
        for key in list(self._through.get(handle, ())):
            self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        fd = self._owned.pop(key, -1)
        if fd < 0:
            return
        os.close(fd)
        handle = self._made_of.pop(key)
        made = self._through[handle]
        del made[key]
        if not made:
            del self._through[handle]


def patience(all_locks: Iterable[Locks]) -> float | None:
    """Of a server of several volumes."""
    return min((p for locks in all_locks if (p := locks.patience()) is not None), default=None)


_FLOCK_KINDS = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX, fcntl.F_UNLCK: fcntl.LOCK_UN}
_FORBIDS = {fcntl.F_RDLCK: os.O_WRONLY, fcntl.F_WRLCK: os.O_RDONLY}
"""How a file is opened that can have no such lock."""


def _told(found: bytes) -> bytes:
    kind, _whence, start, length, pid = _FLOCK.unpack(found)
    return fuse.LOCK.pack(start, _END if length == 0 else start + length - 1, kind, max(0, pid))
