"""The few system calls that Python 3.11 lacks: mounts, namespaces, subreaper, path resolution inside a root.

Called by the zygote and the shims. Each raises OSError with the path in question.
"""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterable, Mapping

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC = 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x02000000, 0x04000000, 0x08000000
_MADV_POPULATE_READ, _MADV_POPULATE_WRITE = 22, 23
_CAPABILITY_VERSION = 0x20080522
RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS = 0x10, 0x02
_PR_SET_CHILD_SUBREAPER, _PR_SET_NAME, _PR_CAPBSET_DROP = 36, 15, 24
# the same numbers on every architecture
_OPENAT2, _OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 437, 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1000, 1, 4
_MOUNT_ATTR_IDMAP = 0x100000
_TRIES = 10_000
"""Of walks up a tree (`..`), which the kernel gives up if anybody renames or mounts anything meanwhile: tasks
that did nothing else would keep their neighbours from starting."""
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_LO_READ_ONLY, _LO_AUTOCLEAR = 1, 4
_LOOP_SECONDS = 20.0
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOUNT_ATTR_NODEV = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
for _name in ("mount", "umount2", "pivot_root", "unshare", "setns", "prctl", "capset", "sethostname"):
    getattr(_libc, _name)  # looked up once, for all that are forked
_OPEN_HOW = struct.Struct("=QQQ")
"""flags, mode, resolve."""


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode() if kind else None, flags, data.encode())
    _check(_libc.mount(*arguments), target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(target.encode(), flags), target)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def fork_first() -> int:
    """As os.fork; the child is the first process of a new PID namespace."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid:
            setns(home, CLONE_NEWPID)  # later children, and threads, are at home again
        return pid
    finally:
        os.close(home)


def own_pages() -> None:
    """Have each page of this process there now, and copied if a fork shares it, not when it is first wanted.

    A process that waits in a template does this, so that no clone has to. Raise OSError.
    """
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for span, rights, *_rest, name in lines:
        advice = _MADV_POPULATE_WRITE if rights == "rw-p" else _MADV_POPULATE_READ
        if rights[0] == "r" and not name.startswith("[v"):  # the kernel's own have no pages
            start, end = (int(number, 16) for number in span.split("-"))
            result = _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)
            _check(result, "madvise")


def pivot_root(old: str) -> None:
    """The directory that this process is in becomes the root; the old one is at `old` in there."""
    _check(_libc.pivot_root(b".", old.encode()), "pivot_root")


def capabilities(effective: int, permitted: int) -> tuple[bytes, bytes]:
    """By bits, as arguments of `keep_capabilities`; none that programs would inherit."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    halves = (half >> shift & 0xFFFFFFFF for shift in (0, 32) for half in (effective, permitted, 0))
    return header, struct.pack("=6I", *halves)


def keep_capabilities(header: bytes, data: bytes) -> None:
    """Of those that this process has. Raise OSError."""
    _check(_libc.capset(header, data), "capset")


def mount_mapped(source: str | int, target: str, user_namespace: int) -> None:
    """Bind `source` (a path or a descriptor) to `target` with its owners shifted by the map of a user
    namespace; -1: as they are.
    """
    tree = mapped_tree(source, user_namespace)
    try:
        attach(tree, target)
    finally:
        os.close(tree)


def mapped_tree(source: str | int, user_namespace: int) -> int:
    """A mount of `source` that is nowhere yet, for `attach`."""
    clone, at, name = _OPEN_TREE_CLONE | os.O_CLOEXEC, _AT_FDCWD, b""
    if isinstance(source, int):
        at, clone = source, clone | _AT_EMPTY_PATH
    else:
        name = source.encode()
    tree = _check(_libc.syscall(_OPEN_TREE, at, ctypes.c_char_p(name), clone), str(source))
    if user_namespace < 0:
        return tree
    try:
        attr = _MountAttr(_MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
        size = ctypes.c_size_t(ctypes.sizeof(attr))
        empty = ctypes.c_char_p(b"")
        result = _libc.syscall(_MOUNT_SETATTR, tree, empty, _AT_EMPTY_PATH, ctypes.byref(attr), size)
        _check(result, f"{source}: owners cannot be mapped")
    except OSError:
        os.close(tree)
        raise
    return tree


def become_subreaper() -> None:
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")


def set_name(name: str) -> None:
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Open `path` as a process chrooted into root_fd would: no symlink leads out of it. Raise OSError."""
    return _check(_open_in_root(root_fd, path, flags), path)


def find_in_root(root_fd: int, path: str, flags: int) -> int:
    """As `open_in_root`; -1 if it is not there."""
    found = _open_in_root(root_fd, path, flags)
    return found if found < 0 and ctypes.get_errno() == errno.ENOENT else _check(found, path)


def _open_in_root(root_fd: int, path: str, flags: int) -> int:
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    name = path.encode(errors="surrogateescape")
    for _ in range(_TRIES):
        found: int = _libc.syscall(_OPENAT2, root_fd, name, how, _OPEN_HOW.size)
        if found >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return found


def set_host_name(name: str) -> None:
    _check(_libc.sethostname(name.encode(), len(name.encode())), "sethostname")


def drop_bounds(capabilities: Iterable[int]) -> None:
    """By number; one that this kernel lacks is no loss."""
    for number in capabilities:
        _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def make_directories(root: str, path: str, owner: int = 0) -> None:
    """Make `path` inside `root` if it is missing; never follows a link out of it. Raise OSError."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        here = ""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            parent, here = here, f"{here}/{part}"
            found = find_in_root(root_fd, here, os.O_PATH | os.O_DIRECTORY)
            if found >= 0:
                os.close(found)
            else:
                above = open_in_root(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
                try:
                    os.mkdir(part, 0o755, dir_fd=above)
                    os.chown(part, owner, owner, dir_fd=above, follow_symlinks=False)
                finally:
                    os.close(above)
    finally:
        os.close(root_fd)


def mount_erofs(image: str, target: str) -> None:
    """Mount an EROFS file read-only: straight from the file, or by a loop device on kernels before 6.12."""
    flags = MS_RDONLY | MS_NODEV
    try:
        mount(image, target, "erofs", flags)
    except OSError as error:
        if error.errno != 15:  # ENOTBLK: this kernel wants a block device
            raise
        backing = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            device, fd = loop_device(backing, readonly=True)
        finally:
            os.close(backing)
        try:
            mount(device, target, "erofs", flags)
        finally:
            os.close(fd)


def loop_device(backing: int, *, readonly: bool = False) -> tuple[str, int]:
    """A block device of what is in an open file: its path and a descriptor. It goes with its last user: with
    the descriptor, or the mount of it.
    """
    import fcntl  # the image's zygote needs it on old kernels only

    class Config(ctypes.Structure):
        _fields_ = [
            ("fd", ctypes.c_uint32),
            ("block_size", ctypes.c_uint32),
            ("info", ctypes.c_uint8 * 232),
            ("reserved", ctypes.c_uint64 * 8),
        ]

    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOOP_SECONDS
        while time.monotonic() < deadline:
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            fd = os.open(device, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
            config = Config(backing, 0)
            config.info[52] = _LO_AUTOCLEAR | (_LO_READ_ONLY if readonly else 0)  # lo_flags of loop_info64
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
                return device, fd
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
            # Another process takes it; until that is done, the kernel names it to all who ask for a free one.
            time.sleep(os.urandom(1)[0] / 25_600)
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device", "/dev/loop-control")


def mount_detached(source: str, kind: str, options: Mapping[str, str | None]) -> int:
    """Mount a device nowhere yet: a descriptor for `attach`. May be done on any thread."""
    context = _check(_libc.syscall(_FSOPEN, ctypes.c_char_p(kind.encode()), _FSOPEN_CLOEXEC), kind)
    try:
        for key, value in {"source": source, **options}.items():
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            text = ctypes.c_char_p(None if value is None else value.encode())
            name = ctypes.c_char_p(key.encode())
            _check(_libc.syscall(_FSCONFIG, context, command, name, text, 0), f"{kind} {key}")
        _check(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), source)
        return _check(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, _MOUNT_ATTR_NODEV), source)
    finally:
        os.close(context)


def attach(tree: int, target: str) -> None:
    """Put a detached mount where it is to be seen."""
    place, empty = ctypes.c_char_p(target.encode()), ctypes.c_char_p(b"")
    flags = _MOVE_MOUNT_F_EMPTY_PATH
    _check(_libc.syscall(_MOVE_MOUNT, tree, empty, _AT_FDCWD, place, flags), target)
