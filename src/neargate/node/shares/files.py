"""Answers what another kernel asks of the files in a shared volume: a FUSE server.

Called by serial.py and mounted.py with one request at a time. The kernel may be a guest's, and hostile: each
field is checked here or by this machine's kernel, and what a volume's user may not do is refused by that.
Extended attributes there are none, as EFS has none.
"""

import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from neargate.node.shares import fuse, tree
from neargate.node.shares.locks import Locks

_OPEN_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_TRUNC | os.O_SYNC | os.O_DSYNC | os.O_DIRECTORY
_MADE_ANYWHERE = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)
_MODE = 0o7777
_BOTH_NOW = fuse.SET_ATIME | fuse.SET_MTIME | fuse.ATIME_NOW | fuse.MTIME_NOW
_MAPPED = 1 << 16
"""Numbers of users that a sandbox has of its own: see shim/birth.mapped_namespaces."""
_NEW_ONES = 1 << 12
_LISTED = 1 << 20
"""Entries of directories that are being read, of all together: a guest may begin many and end none."""
_Operation = Callable[["Volume", int, int, int, bytes], bytes]
Request = tuple[int, int, int, int, int, bytes]
"""opcode, number, node, uid, gid, payload."""
_CHANGED = (errno.EOPNOTSUPP, errno.ELOOP, errno.EPERM, errno.ENOTTY)
"""Why no file of a file system can be read and written by the asking kernel itself."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a volume's files are shown to the kernel that asks."""

    seconds: int = 1
    """For how long it may believe what it is told: other tasks change files meanwhile."""
    base: int = 0
    """What it calls user and group 0 of those who look."""
    given: bool = False
    """Whoever asks makes each file first, and then gives it to whom it is for: that gift changes nothing."""
    lenient: bool = False
    """Whoever asks checks modes by users of its own first. So that it asks at all, what the volume's user may
    do with a file is shown as anybody's right."""
    first: int = fuse.ROOT
    """Numbers up to this one were those of a server before."""


class Backing(Protocol):
    """What has the asking kernel read and write files by itself."""

    def open(self, fd: int) -> int:
        """Its number for the file. Raise OSError."""
        ...

    def close(self, number: int) -> None: ...


class Volume:
    def __init__(
        self,
        root: int,
        user: tree.User | None,
        terms: Terms = Terms(),
        backing: Backing | None = None,
    ) -> None:
        self.tree = tree.Tree(root, user, terms.first)
        self._user = user
        self._terms = terms
        self._backing = backing
        self._backed: dict[int, tuple[int, set[int]]] = {}
        """File -> its number with `backing`, and the handles by which it is open so."""
        self._passthrough = backing is not None and terms.first > fuse.ROOT  # the kernel will refuse, else
        self._handles: dict[int, int] = {}
        self._listings: dict[int, list[tuple[bytes, int, int]]] = {}
        self._next = terms.first
        self._new_ones: set[int] = set()
        self.locks = Locks(self.handle)

    def serve(self, request: Request) -> bytes:
        """The answer; empty where there is none (yet)."""
        opcode, number, node, uid, gid, payload = request
        try:
            if opcode in (fuse.FORGET, fuse.BATCH_FORGET):
                self._forget(opcode, node, payload)
                return b""
            if opcode in (fuse.GETLK, fuse.SETLK, fuse.SETLKW):
                return self.locks.ask(opcode, number, node, payload)
            if opcode == fuse.INTERRUPT:
                return self.locks.interrupt(fuse.NUMBER.unpack_from(payload)[0])
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                return fuse.refusal(number, errno.ENOSYS)
            if self._user:
                tree.become(*self._user)
            return fuse.answer(number, operation(self, node, uid, gid, payload))
        except OSError as error:
            return fuse.refusal(number, error.errno or errno.EIO)
        except (ValueError, LookupError, OverflowError, struct.error):
            return fuse.refusal(number, errno.EINVAL)
        finally:
            if self._user:
                tree.become(0, 0)

    def handle(self, number: int) -> int:
        """Descriptor of an open file. Raise OSError."""
        fd = self._handles.get(number)
        if fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return fd

    def _opened(self, fd: int) -> int:
        self._next += 1
        self._handles[self._next] = fd
        return self._next

    def _forget(self, opcode: int, node: int, payload: bytes) -> None:
        if opcode == fuse.FORGET:
            self._new_ones.discard(node)
            return self.tree.forget(node, fuse.FORGET_IN.unpack_from(payload)[0])
        count = fuse.BATCH_FORGET_IN.unpack_from(payload)[0]
        ones = payload[fuse.BATCH_FORGET_IN.size :][: count * fuse.FORGET_ONE.size]
        for one, lookups in fuse.FORGET_ONE.iter_unpack(ones):
            self.tree.forget(one, lookups)
            self._new_ones.discard(one)

    def _new(self, parent: int, name: bytes, uid: int, gid: int) -> bytes:
        """The entry just made, given to whom it is for."""
        number, found = self.tree.find(parent, name)
        if self._terms.given and len(self._new_ones) < _NEW_ONES:
            self._new_ones.add(number)
        return self._entry(number, self._given(parent, number, found, uid, gid))

    def _entry(self, number: int, found: os.stat_result) -> bytes:
        return fuse.entry(number, found, self._look(found), self._terms.seconds)

    def _attributes(self, found: os.stat_result) -> bytes:
        return fuse.attributes(found, self._look(found), self._terms.seconds)

    def _look(self, found: os.stat_result) -> fuse.Look:
        mode, owners, base = found.st_mode, (found.st_uid, found.st_gid), self._terms.base
        if self._terms.lenient and self._user and not stat.S_ISLNK(mode):
            mode |= _rights(found, self._user) * 0o111
        if base:
            owners = owners[0] + base * (owners[0] < _MAPPED), owners[1] + base * (owners[1] < _MAPPED)
        return mode, *owners

    def _meant(self, id: int) -> int:
        """The user or group whose number the asking kernel has."""
        base = self._terms.base
        return id - base if base and base <= id < base + _MAPPED else id

    def _given(self, parent: int, node: int, found: os.stat_result, uid: int, gid: int) -> os.stat_result:
        if self._user or (found.st_uid, found.st_gid) == (uid, gid):
            return found
        inherits = os.fstat(self.tree.fd(parent)).st_mode & stat.S_ISGID
        fd = self.tree.fd(node)
        tree.give(fd, uid, -1 if inherits else gid)
        if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            os.chmod(f"/proc/self/fd/{fd}", found.st_mode & _MODE)  # a new owner takes these away
        return os.fstat(fd)

    # -- what there is ---------------------------------------------------------------------------------

    def init(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        self._passthrough = self._backing is not None and fuse.offers_passthrough(payload)
        return fuse.init(payload, fresh=not self._terms.seconds, passthrough=self._passthrough)

    def lookup(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        (name,) = fuse.names(payload, 1)
        return self._entry(*self.tree.find(node, name))

    def getattr(self, node: int, _uid: int, _gid: int, _payload: bytes) -> bytes:
        return self._attributes(os.fstat(self.tree.fd(node)))

    def access(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        mode = fuse.ACCESS_IN.unpack_from(payload)[0] & 7
        if not os.access(self.tree.path(node), mode, effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return b""

    def setattr(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        fields = fuse.SETATTR_IN.unpack_from(payload)
        valid, handle, size, seconds, nanoseconds = fields[0], fields[2], fields[3], fields[5:7], fields[8:10]
        mode, uid, gid = fields[11], fields[13], fields[14]
        if valid & (fuse.SET_UID | fuse.SET_GID):
            self._give(node, uid if valid & fuse.SET_UID else -1, gid if valid & fuse.SET_GID else -1)
        if valid & fuse.SET_MODE:
            os.chmod(self.tree.path(node), mode & _MODE)
        if valid & fuse.SET_SIZE:
            self._truncate(node, handle if valid & fuse.SET_FH else 0, size)
        if valid & (fuse.SET_ATIME | fuse.SET_MTIME):
            self._set_times(node, valid, [s * 10**9 + n for s, n in zip(seconds, nanoseconds, strict=True)])
        return self._attributes(os.fstat(self.tree.fd(node)))

    def _give(self, node: int, uid: int, gid: int) -> None:
        if node in self._new_ones:
            self._new_ones.discard(node)
        else:
            tree.give(self.tree.fd(node), *(id if id < 0 else self._meant(id) for id in (uid, gid)))

    def _truncate(self, node: int, handle: int, size: int) -> None:
        if handle:
            return os.ftruncate(self.handle(handle), size)
        fd = self._open_regular(node, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _set_times(self, node: int, valid: int, given: list[int]) -> None:
        if not ~valid & _BOTH_NOW:
            return os.utime(self.tree.path(node))  # whoever may write it may do that, its owner or not
        now, found = time.time_ns(), os.fstat(self.tree.fd(node))
        access, change = found.st_atime_ns, found.st_mtime_ns
        if valid & fuse.SET_ATIME:
            access = now if valid & fuse.ATIME_NOW else given[0]
        if valid & fuse.SET_MTIME:
            change = now if valid & fuse.MTIME_NOW else given[1]
        os.utime(self.tree.path(node), ns=(access, change))

    def readlink(self, node: int, _uid: int, _gid: int, _payload: bytes) -> bytes:
        return os.readlink(b"", dir_fd=self.tree.fd(node))

    def statfs(self, node: int, _uid: int, _gid: int, _payload: bytes) -> bytes:
        return fuse.statfs(os.fstatvfs(self.tree.fd(node)))

    # -- entries of directories ------------------------------------------------------------------------

    def symlink(self, node: int, uid: int, gid: int, payload: bytes) -> bytes:
        (name,) = fuse.names(payload, 1)
        target = payload.split(b"\0")[1]
        os.symlink(target, name, dir_fd=self.tree.fd(node))
        return self._new(node, name, uid, gid)

    def mknod(self, node: int, uid: int, gid: int, payload: bytes) -> bytes:
        mode = fuse.MKNOD_IN.unpack_from(payload)[0]
        (name,) = fuse.names(payload[fuse.MKNOD_IN.size :], 1)
        if stat.S_IFMT(mode) not in _MADE_ANYWHERE:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        os.mknod(name, mode, dir_fd=self.tree.fd(node))
        return self._new(node, name, uid, gid)

    def mkdir(self, node: int, uid: int, gid: int, payload: bytes) -> bytes:
        mode = fuse.MKDIR_IN.unpack_from(payload)[0]
        (name,) = fuse.names(payload[fuse.MKDIR_IN.size :], 1)
        os.mkdir(name, mode & _MODE, dir_fd=self.tree.fd(node))
        return self._new(node, name, uid, gid)

    def unlink(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        os.unlink(fuse.names(payload, 1)[0], dir_fd=self.tree.fd(node))
        return b""

    def rmdir(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        os.rmdir(fuse.names(payload, 1)[0], dir_fd=self.tree.fd(node))
        return b""

    def rename(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        (to,) = fuse.RENAME_IN.unpack_from(payload)
        return self._renamed(node, to, payload[fuse.RENAME_IN.size :], 0)

    def rename2(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        to, flags, _ = fuse.RENAME2_IN.unpack_from(payload)
        return self._renamed(node, to, payload[fuse.RENAME2_IN.size :], flags)

    def _renamed(self, node: int, to: int, payload: bytes, flags: int) -> bytes:
        old, new = fuse.names(payload, 2)
        here, there = os.dup(self.tree.fd(node)), -1
        try:
            there = os.dup(self.tree.fd(to))
            tree.rename((here, old), (there, new), flags)
        finally:
            for fd in (here, there):
                if fd >= 0:
                    os.close(fd)
        return b""

    def link(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        (old,) = fuse.LINK_IN.unpack_from(payload)
        (name,) = fuse.names(payload[fuse.LINK_IN.size :], 1)
        directory = os.dup(self.tree.fd(node))
        try:
            source = self.tree.path(old)
            os.link(source, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(directory)
        return self._entry(*self.tree.find(node, name))

    # -- open files ------------------------------------------------------------------------------------

    def _open_regular(self, node: int, flags: int) -> int:
        """No device, and no pipe that would wait for its other end. Of one that another task has removed
        meanwhile, the guest's kernel looks again what has the name now."""
        found = os.fstat(self.tree.fd(node))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not found.st_nlink:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os.open(self.tree.path(node), flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NONBLOCK)

    def open(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        flags = fuse.OPEN_IN.unpack_from(payload)[0]
        return self._told_open(node, self._open_regular(node, flags))

    def _told_open(self, node: int, fd: int) -> bytes:
        handle = self._opened(fd)
        if not self._passthrough and node not in self._backed:
            return fuse.opened(handle)
        try:
            return fuse.opened(handle, self._backing_of(node, handle, fd))
        except OSError:
            self._close(node, handle)
            raise

    def _backing_of(self, node: int, handle: int, fd: int) -> int:
        """0: this file system has none. A file is never open in both ways."""
        assert self._backing
        if node not in self._backed:
            try:
                self._backed[node] = self._backing.open(fd), set()
            except OSError as error:
                if error.errno not in _CHANGED:
                    raise
                self._passthrough = False
                return 0
        number, handles = self._backed[node]
        handles.add(handle)
        return number

    def create(self, node: int, uid: int, gid: int, payload: bytes) -> bytes:
        flags, mode, _umask, _ = fuse.CREATE_IN.unpack_from(payload)
        (name,) = fuse.names(payload[fuse.CREATE_IN.size :], 1)
        made = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        directory = self.tree.fd(node)
        try:
            fd = os.open(name, flags & _OPEN_FLAGS | made, mode & _MODE, dir_fd=directory)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            number, found = self.tree.find(node, name)  # somebody else's, made a moment ago
            return self._entry(number, found) + self._told_open(number, self._open_regular(number, flags))
        try:
            entry = self._new(node, name, uid, gid)
        except BaseException:
            os.close(fd)
            raise
        return entry + self._told_open(fuse.NUMBER.unpack_from(entry)[0], fd)

    def read(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(payload)
        return os.pread(self.handle(handle), min(size, fuse.MAX_WRITE), offset)

    def write(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(payload)
        data = memoryview(payload)[fuse.READ_IN.size : fuse.READ_IN.size + size]
        return fuse.written(os.pwrite(self.handle(handle), data, offset))

    def flush(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        self.locks.release(node, fuse.FLUSH_IN.unpack_from(payload)[3])
        return b""

    def release(self, node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        self._close(node, fuse.RELEASE_IN.unpack_from(payload)[0])
        return b""

    def _close(self, node: int, handle: int) -> None:
        fd = self._handles.pop(handle, -1)
        self._listings.pop(handle, None)
        self.locks.closed(handle)
        if fd >= 0:
            os.close(fd)
        number, handles = self._backed.get(node, (0, set()))
        handles.discard(handle)
        if number and not handles and self._backing:
            del self._backed[node]
            self._backing.close(number)

    def fsync(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, flags, _ = fuse.FSYNC_IN.unpack_from(payload)
        (os.fdatasync if flags & 1 else os.fsync)(self.handle(handle))
        return b""

    def fallocate(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(payload)
        tree.allocate(self.handle(handle), mode, offset, length)
        return b""

    def lseek(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, offset, whence, _ = fuse.LSEEK_IN.unpack_from(payload)
        return fuse.NUMBER.pack(os.lseek(self.handle(handle), offset, whence))

    def opendir(self, node: int, _uid: int, _gid: int, _payload: bytes) -> bytes:
        fd = os.open(self.tree.path(node), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return fuse.opened(self._opened(fd))

    def readdir(self, _node: int, _uid: int, _gid: int, payload: bytes) -> bytes:
        handle, offset, size, *_ = fuse.READ_IN.unpack_from(payload)
        if offset == 0 or handle not in self._listings:
            self._listings.pop(handle, None)
            found = _list(self.handle(handle))
            while self._listings and len(found) + sum(map(len, self._listings.values())) > _LISTED:
                del self._listings[next(iter(self._listings))]  # is read anew, should anybody go on with it
            self._listings[handle] = found
        return fuse.listing(self._listings[handle], offset, min(size, fuse.MAX_WRITE))


def _list(fd: int) -> list[tuple[bytes, int, int]]:
    with os.scandir(fd) as found:
        entries = [(os.fsencode(e.name), e.inode(), _mode(e)) for e in islice(found, _LISTED + 1)]
    if len(entries) > _LISTED:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    here = os.fstat(fd).st_ino
    return [(b".", here, stat.S_IFDIR), (b"..", here, stat.S_IFDIR), *entries]


def _rights(found: os.stat_result, user: tree.User) -> int:
    """What of 7 a user may do with a file."""
    if not user[0]:
        return 7 if stat.S_ISDIR(found.st_mode) or found.st_mode & 0o111 else 6
    if found.st_uid == user[0]:
        return found.st_mode >> 6 & 7
    return found.st_mode >> (3 if found.st_gid in user[1:] else 0) & 7


def _mode(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else 0


_OPERATIONS: dict[int, _Operation] = {
    fuse.INIT: Volume.init,
    fuse.LOOKUP: Volume.lookup,
    fuse.GETATTR: Volume.getattr,
    fuse.SETATTR: Volume.setattr,
    fuse.READLINK: Volume.readlink,
    fuse.STATFS: Volume.statfs,
    fuse.ACCESS: Volume.access,
    fuse.SYMLINK: Volume.symlink,
    fuse.MKNOD: Volume.mknod,
    fuse.MKDIR: Volume.mkdir,
    fuse.UNLINK: Volume.unlink,
    fuse.RMDIR: Volume.rmdir,
    fuse.RENAME: Volume.rename,
    fuse.RENAME2: Volume.rename2,
    fuse.LINK: Volume.link,
    fuse.OPEN: Volume.open,
    fuse.CREATE: Volume.create,
    fuse.READ: Volume.read,
    fuse.WRITE: Volume.write,
    fuse.FLUSH: Volume.flush,
    fuse.RELEASE: Volume.release,
    fuse.FSYNC: Volume.fsync,
    fuse.FALLOCATE: Volume.fallocate,
    fuse.LSEEK: Volume.lseek,
    fuse.OPENDIR: Volume.opendir,
    fuse.READDIR: Volume.readdir,
    fuse.RELEASEDIR: Volume.release,
    fuse.FSYNCDIR: Volume.fsync,
}
