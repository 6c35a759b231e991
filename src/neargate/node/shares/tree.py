"""The files of one shared volume, by number, as another kernel or user knows them.

Called by files.py. Each number stands for what was once found under a name inside of the volume, never for
a path: whatever names mean by now, and whoever moves directories meanwhile, nothing outside is reached.
"""

import ctypes
import errno
import os
from collections import OrderedDict
from dataclasses import dataclass

from neargate.node.shares import fuse

_KEPT_OPEN = 2048
"""Descriptors of files that can be found again by their handles."""
_MOST = 1 << 20
"""Files that a guest may know at a time; its kernel forgets those that it has no memory for."""
_AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW, _AT_FDCWD = 0x1000, 0x100, -100
_HANDLE_ROOM = 128
_libc = ctypes.CDLL(None, use_errno=True)
_groups: tuple[int, ...] = ()


class _Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * _HANDLE_ROOM)]


@dataclass(slots=True)
class _Node:
    key: tuple[int, int]
    lookups: int
    handle: bytes | None
    """None where its file system has none: then its descriptor stays open."""


User = tuple[int, ...]
"""uid, gid, and the groups that it is in besides."""


class Tree:
    def __init__(self, root: int, user: User | None, first: int = fuse.ROOT) -> None:
        """root -- descriptor of its directory. user -- as whom all is done there; None: as the guest's kernel
        says, which has checked. first -- numbers up to this one are not given to files."""
        self.user = user
        self._root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        found = os.fstat(self._root)
        self._nodes = {fuse.ROOT: _Node((found.st_dev, found.st_ino), 1, None)}
        self._numbers = {self._nodes[fuse.ROOT].key: fuse.ROOT}
        self._next = first
        self._pinned = {fuse.ROOT: self._root}
        self._open: OrderedDict[int, int] = OrderedDict()

    def fd(self, number: int) -> int:
        """A descriptor (O_PATH) of what has the number, good until the next call. Raise OSError."""
        if number in self._pinned:
            return self._pinned[number]
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        node = self._nodes.get(number)
        if node is None or node.handle is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        if self.user:
            become(0, 0)
        try:
            return self._keep(number, _open_handle(self._root, node.handle))
        finally:
            if self.user:
                become(*self.user)

    def path(self, number: int) -> str:
        return f"/proc/self/fd/{self.fd(number)}"

    def find(self, parent: int, name: bytes) -> tuple[int, os.stat_result]:
        """(number, attributes) of an entry; counts as one look-up. Raise OSError."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd(parent))
        found = os.fstat(fd)
        key = (found.st_dev, found.st_ino)
        number = self._numbers.get(key)
        if number is not None:
            self._found_again(number, fd)
            return number, found
        if len(self._nodes) >= _MOST:
            os.close(fd)
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        self._next += 1
        number = self._numbers[key] = self._next
        self._nodes[number] = node = _Node(key, 1, _handle_of(fd))
        if node.handle is None:
            self._pinned[number] = fd
        else:
            self._keep(number, fd)
        return number, found

    def _found_again(self, number: int, fd: int) -> None:
        node = self._nodes[number]
        node.lookups += 1
        if number in self._open or number in self._pinned:
            os.close(fd)
        else:  # another file may have got the inode of one that is gone
            node.handle = _handle_of(fd) or node.handle
            self._keep(number, fd)

    def forget(self, number: int, lookups: int) -> None:
        node = self._nodes.get(number)
        if node is None or number == fuse.ROOT:
            return
        node.lookups -= lookups
        if node.lookups > 0:
            return
        del self._nodes[number], self._numbers[node.key]
        for kept in (self._pinned, self._open):
            if number in kept:
                os.close(kept.pop(number))

    def _keep(self, number: int, fd: int) -> int:
        self._open[number] = fd
        if len(self._open) > _KEPT_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd


def _handle_of(fd: int) -> bytes | None:
    """struct file_handle, no longer than it is."""
    handle, mount = _Handle(size=_HANDLE_ROOM), ctypes.c_int()
    arguments = (fd, b"", ctypes.byref(handle), ctypes.byref(mount), _AT_EMPTY_PATH)
    return None if _libc.name_to_handle_at(*arguments) else bytes(handle)[: 8 + handle.size]


def _open_handle(root: int, handle: bytes) -> int:
    return _checked(_libc.open_by_handle_at(root, handle, os.O_PATH | os.O_CLOEXEC))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def give(fd: int, uid: int, gid: int) -> None:
    """What a descriptor (O_PATH) stands for, a link itself as well, to an owner; -1: as it is."""
    _checked(_libc.fchownat(fd, b"", uid, gid, _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW))


def rename(old: tuple[int, bytes], new: tuple[int, bytes], flags: int) -> None:
    """(directory, name) each; flags as renameat2 takes them. Raise OSError."""
    _checked(_libc.renameat2(*old, *new, flags))


def become(uid: int, gid: int, *groups: int) -> None:
    """For what this process, which has one thread, does with files from here on."""
    global _groups
    _libc.setfsuid(0)
    _libc.setfsgid(gid)
    if groups != _groups:
        os.setgroups(groups)
        _groups = groups
    _libc.setfsuid(uid)


def allocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), whatever its mode. Raise OSError."""
    _checked(_libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))
