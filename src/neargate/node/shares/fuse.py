"""The messages of FUSE (include/uapi/linux/fuse.h of Linux, version 7.31): their shapes, no more. Pure.

Used by files.py, which answers a guest's requests for the files of its shared volumes.
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
GETLK, SETLK, SETLKW, CREATE, INTERRUPT, DESTROY = 31, 32, 33, 35, 36, 38
BATCH_FORGET, FALLOCATE, RENAME2, LSEEK = 42, 43, 45, 46

ASYNC_READ, POSIX_LOCKS, BIG_WRITES, FLOCK_LOCKS, PARALLEL_DIROPS, MAX_PAGES = (
    1,
    2,
    32,
    1 << 10,
    1 << 18,
    1 << 22,
)
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, SET_FH, ATIME_NOW, MTIME_NOW = (
    1 << n for n in range(9)
)
LOCK_IS_FLOCK = 1
ROOT = 1
"""The node id of a volume's own directory."""
MAX_WRITE = 128 * 1024

HEAD = struct.Struct("<IIQQIIII")
"""length, opcode, number of the request, node, uid, gid, pid, padding."""
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY, _ATTRIBUTES_HEAD = struct.Struct("<QQQQII"), struct.Struct("<QII")
_INIT_IN, _INIT_OUT = struct.Struct("<IIII"), struct.Struct("<IIIIHHIIHHI28x")
SETATTR_IN = struct.Struct("<IIQQQQQQ8I")
MKNOD_IN, MKDIR_IN, RENAME_IN, RENAME2_IN = (struct.Struct(s) for s in ("<IIII", "<II", "<Q", "<QII"))
LINK_IN, OPEN_IN, READ_IN, RELEASE_IN = (struct.Struct(s) for s in ("<Q", "<II", "<QQIIQII", "<QIIQ"))
FLUSH_IN, FSYNC_IN, CREATE_IN = (struct.Struct(s) for s in ("<QIIQ", "<QII", "<IIII"))
LOCK, LOCK_IN = struct.Struct("<QQII"), struct.Struct("<QQQQIIII")
FALLOCATE_IN, LSEEK_IN = struct.Struct("<QQQII"), struct.Struct("<QQII")
FORGET_IN, BATCH_FORGET_IN, FORGET_ONE, NUMBER = (struct.Struct(s) for s in ("<Q", "<II", "<QQ", "<Q"))
_OPEN_OUT, _WRITE_OUT = struct.Struct("<QII"), struct.Struct("<II")
_STATFS_OUT, _ENTRY_OF_DIRECTORY = struct.Struct("<5Q4I24x"), struct.Struct("<QQII")
_NODE_SECONDS = 1
"""For how long a guest may believe what it was told of a file: other tasks change it meanwhile."""


def answer(number: int, payload: bytes = b"") -> bytes:
    return _ANSWER.pack(_ANSWER.size + len(payload), 0, number) + payload


def refusal(number: int, error: int) -> bytes:
    return _ANSWER.pack(_ANSWER.size, -(error or errno.EIO), number)


def init(payload: bytes) -> bytes:
    """The answer to INIT. Raise OSError for a kernel that is too old."""
    major, minor, readahead, offered = _INIT_IN.unpack_from(payload)
    if (major, minor) < (MAJOR, MINOR):
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    wanted = ASYNC_READ | POSIX_LOCKS | BIG_WRITES | FLOCK_LOCKS | PARALLEL_DIROPS | MAX_PAGES
    pages = MAX_WRITE // 4096
    return _INIT_OUT.pack(MAJOR, MINOR, readahead, offered & wanted, 12, 9, MAX_WRITE, 1, pages, 0, 0)


def _attributes(found: os.stat_result) -> bytes:
    nanoseconds = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return _ATTRIBUTES.pack(
        found.st_ino, found.st_size, found.st_blocks,
        *(moment // 10**9 & (1 << 64) - 1 for moment in nanoseconds), *(m % 10**9 for m in nanoseconds),
        found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev & 0xFFFFFFFF,
        min(found.st_blksize, 1 << 20), 0,
    )  # fmt: skip


def attributes(found: os.stat_result) -> bytes:
    return _ATTRIBUTES_HEAD.pack(_NODE_SECONDS, 0, 0) + _attributes(found)


def entry(node: int, found: os.stat_result) -> bytes:
    return _ENTRY.pack(node, 0, _NODE_SECONDS, _NODE_SECONDS, 0, 0) + _attributes(found)


def opened(handle: int) -> bytes:
    return _OPEN_OUT.pack(handle, 0, 0)


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
