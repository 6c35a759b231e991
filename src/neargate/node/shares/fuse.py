"""The messages of FUSE (include/uapi/linux/fuse.h of Linux, version 7.31; what is newer is used only where a
kernel offers it): their shapes, no more. Pure.

Used by files.py, which answers a kernel's requests for the files of shared volumes.
"""

import errno
import os
import stat
import struct
from collections.abc import Sequence

MAJOR, MINOR = 7, 31
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE = 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 20, 25, 26, 27, 28, 29, 30
GETLK, SETLK, SETLKW, ACCESS, CREATE, INTERRUPT, DESTROY = 31, 32, 33, 34, 35, 36, 38
BATCH_FORGET, FALLOCATE, RENAME2, LSEEK = 42, 43, 45, 46

ASYNC_READ, POSIX_LOCKS, BIG_WRITES, FLOCK_LOCKS, PARALLEL_DIROPS, MAX_PAGES = (
    1,
    2,
    32,
    1 << 10,
    1 << 18,
    1 << 22,
)
AUTO_INVAL_DATA, INIT_EXT, PASSTHROUGH = 1 << 12, 1 << 30, 1 << 37
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, SET_FH, ATIME_NOW, MTIME_NOW = (
    1 << n for n in range(9)
)
LOCK_IS_FLOCK = 1
RESENT = 1 << 63
"""In the number of a request that a kernel sends again, as its first server has died."""
ROOT = 1
"""The node id of a volume's own directory."""
MAX_WRITE = 128 * 1024

HEAD = struct.Struct("<IIQQIIII")
"""length, opcode, number of the request, node, uid, gid, pid, padding."""
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY, _ATTRIBUTES_HEAD = struct.Struct("<QQQQII"), struct.Struct("<QII")
_INIT_IN, _INIT_IN_MORE = struct.Struct("<IIII"), struct.Struct("<16xI")
_INIT_OUT = struct.Struct("<IIIIHHIIHHII24x")
SETATTR_IN = struct.Struct("<IIQQQqqq8I")
MKNOD_IN, MKDIR_IN, RENAME_IN, RENAME2_IN = (struct.Struct(s) for s in ("<IIII", "<II", "<Q", "<QII"))
LINK_IN, OPEN_IN, READ_IN, RELEASE_IN = (struct.Struct(s) for s in ("<Q", "<II", "<QQIIQII", "<QIIQ"))
FLUSH_IN, FSYNC_IN, CREATE_IN = (struct.Struct(s) for s in ("<QIIQ", "<QII", "<IIII"))
LOCK, LOCK_IN = struct.Struct("<QQII"), struct.Struct("<QQQQIIII")
FALLOCATE_IN, LSEEK_IN = struct.Struct("<QQQII"), struct.Struct("<QQII")
FORGET_IN, BATCH_FORGET_IN, FORGET_ONE, NUMBER = (struct.Struct(s) for s in ("<Q", "<II", "<QQ", "<Q"))
ACCESS_IN = struct.Struct("<II")
_OPEN_OUT, _WRITE_OUT = struct.Struct("<QII"), struct.Struct("<II")
_STATFS_OUT, _ENTRY_OF_DIRECTORY = struct.Struct("<5Q4I24x"), struct.Struct("<QQII")
_OPEN_PASSTHROUGH = 1 << 7
_STACKED = 2
"""A volume may itself be in an overlay: then the mount counts as a second file system on top of another."""
_RESEND = 7

BACKING_OPEN, BACKING_CLOSE = 0x4010E501, 0x4004E502
"""ioctls of /dev/fuse."""
BACKING = struct.Struct("<iIQ")


def answer(number: int, payload: bytes = b"") -> bytes:
    return _ANSWER.pack(_ANSWER.size + len(payload), 0, number) + payload


def refusal(number: int, error: int) -> bytes:
    return _ANSWER.pack(_ANSWER.size, -(error or errno.EIO), number)


def resend() -> bytes:
    """Has a kernel (6.9 or newer) send again what nobody has answered."""
    return _ANSWER.pack(_ANSWER.size, _RESEND, 0)


def offers_passthrough(payload: bytes) -> bool:
    """Can the kernel that says INIT read and write the files behind a volume's by itself?"""
    flags = _INIT_IN.unpack_from(payload)[3]
    more = _INIT_IN_MORE.unpack_from(payload)[0] if flags & INIT_EXT else 0
    return bool(more & PASSTHROUGH >> 32)


def init(payload: bytes, *, fresh: bool, passthrough: bool) -> bytes:
    """The answer to INIT. Raise OSError for a kernel that is too old.

    fresh -- what is kept of a file's contents is thrown away when its time of change is another.
    """
    major, minor, readahead, offered = _INIT_IN.unpack_from(payload)
    if (major, minor) < (MAJOR, MINOR):
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    wanted = ASYNC_READ | POSIX_LOCKS | BIG_WRITES | FLOCK_LOCKS | PARALLEL_DIROPS | MAX_PAGES
    wanted |= (AUTO_INVAL_DATA if fresh else 0) | (INIT_EXT if passthrough else 0)
    more, stacked = (PASSTHROUGH >> 32, _STACKED) if passthrough else (0, 0)
    pages = MAX_WRITE // 4096
    head = (MAJOR, MINOR, readahead, offered & wanted, 12, 9, MAX_WRITE, 1, pages, 0)
    return _INIT_OUT.pack(*head, more, stacked)


Look = tuple[int, int, int]
"""mode, uid, gid: as a file is shown."""


def _attributes(found: os.stat_result, look: Look) -> bytes:
    nanoseconds = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return _ATTRIBUTES.pack(
        found.st_ino, found.st_size, found.st_blocks,
        *(moment // 10**9 & (1 << 64) - 1 for moment in nanoseconds), *(m % 10**9 for m in nanoseconds),
        look[0], found.st_nlink, look[1], look[2], found.st_rdev & 0xFFFFFFFF,
        min(found.st_blksize, 1 << 20), 0,
    )  # fmt: skip


def attributes(found: os.stat_result, look: Look, seconds: int) -> bytes:
    """seconds -- for how long a kernel may believe them: other tasks change files meanwhile."""
    return _ATTRIBUTES_HEAD.pack(seconds, 0, 0) + _attributes(found, look)


def entry(node: int, found: os.stat_result, look: Look, seconds: int) -> bytes:
    return _ENTRY.pack(node, 0, seconds, seconds, 0, 0) + _attributes(found, look)


def opened(handle: int, backing: int = 0) -> bytes:
    """backing -- number of the file that the kernel itself reads and writes; 0: it asks for each."""
    return _OPEN_OUT.pack(handle, _OPEN_PASSTHROUGH if backing else 0, backing)


def written(size: int) -> bytes:
    return _WRITE_OUT.pack(size, 0)


def statfs(found: os.statvfs_result) -> bytes:
    return _STATFS_OUT.pack(
        found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
        found.f_bsize, found.f_namemax, found.f_frsize, 0,
    )  # fmt: skip


def listing(entries: Sequence[tuple[bytes, int, int]], start: int, room: int) -> bytes:
    """As much as there is room for, of (name, inode, mode), from the `start`th on."""
    found = bytearray()
    for at in range(start, len(entries)):
        name, inode, mode = entries[at]
        size = _ENTRY_OF_DIRECTORY.size + len(name)
        padded = -(-size // 8) * 8
        if len(found) + padded > room:
            break
        found += _ENTRY_OF_DIRECTORY.pack(inode, at + 1, len(name), stat.S_IFMT(mode) >> 12)
        found += name + bytes(padded - size)
    return bytes(found)


def names(payload: bytes, count: int) -> list[bytes]:
    """Names of entries of a directory. Raise OSError on anything that is more than a name."""
    found = payload.split(b"\0")[:count]
    if len(found) != count or not all(found) or any(n in (b".", b"..") or b"/" in n for n in found):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return found
