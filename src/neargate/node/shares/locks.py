"""Locks of files in shared volumes, between tasks of every tier: the host kernel's own, taken for a guest.

Called by files.py. A guest's open file is an open file here, so an `open file description lock` stands for
what its processes lock. Nobody waits in here: whoever must wait is asked for again by file_server.py.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable

from neargate.node.shares import fuse

_OFD_GET, _OFD_SET = 36, 37
_FLOCK = struct.Struct("=hhxxxxqqixxxx")
"""struct flock on 64-bit Linux: type, whence, start, length, pid."""
_END = (1 << 63) - 1
_WAITING = 256


class Locks:
    def __init__(self, handle: Callable[[int], int]) -> None:
        """handle -- descriptor of an open file by the guest's number of it."""
        self._handle = handle
        self._waiting: dict[int, bytes] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def ask(self, opcode: int, number: int, payload: bytes) -> bytes:
        """The answer; empty if the lock is another's and the guest waits for it. Raise OSError."""
        handle, _owner, start, end, kind, _pid, flags, _ = fuse.LOCK_IN.unpack_from(payload)
        fd = self._handle(handle)
        length = 0 if end >= _END else end - start + 1
        wanted = _FLOCK.pack(kind, os.SEEK_SET, min(start, _END), length, 0)
        try:
            if opcode == fuse.GETLK:
                return fuse.answer(number, _told(fcntl.fcntl(fd, _OFD_GET, wanted)))
            if flags & fuse.LOCK_IS_FLOCK:
                fcntl.flock(fd, _FLOCK_KINDS[kind] | fcntl.LOCK_NB)
            else:
                fcntl.fcntl(fd, _OFD_SET, wanted)
        except (BlockingIOError, PermissionError) as error:
            if opcode == fuse.SETLKW and error.errno in (errno.EAGAIN, errno.EACCES):
                if len(self._waiting) >= _WAITING:
                    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from None
                self._waiting[number] = payload
                return b""
            raise
        return fuse.answer(number)

    def retry(self) -> list[bytes]:
        """Answers for those whose wait is over."""
        answers = []
        for number in list(self._waiting):
            payload = self._waiting.pop(number)
            try:
                answer = self.ask(fuse.SETLKW, number, payload)
            except OSError as error:
                answer = fuse.refusal(number, error.errno or errno.EIO)
            if answer:
                answers.append(answer)
        return answers

    def interrupt(self, number: int) -> bytes:
        return fuse.refusal(number, errno.EINTR) if self._waiting.pop(number, None) else b""

    def release(self, handle: int) -> None:
        """A process of the guest has closed the file: its locks are gone."""
        fd = self._handle(handle)
        try:
            fcntl.fcntl(fd, _OFD_SET, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOLCK):
                raise


_FLOCK_KINDS = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX, fcntl.F_UNLCK: fcntl.LOCK_UN}


def _told(found: bytes) -> bytes:
    kind, _whence, start, length, pid = _FLOCK.unpack(found)
    return fuse.LOCK.pack(start, _END if length == 0 else start + length - 1, kind, max(0, pid))
