"""How a process of ours becomes a container, as an OCI runtime would make it: in two halves.

Called by first.py in the process that waits in a template: `stage` makes what no container's image matters
to; `become` does the rest in the clone and ends in the container's program. Source: the OCI runtime
specification; where that is silent, crun's ways, which makes all other containers.
"""

import base64
import ctypes
import os
import resource
import signal
import stat
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from neargate.node.guest import plan
from neargate.node.shim import kernel

_DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
)  # fmt: skip
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)
_MS_REMOUNT, _MS_MOVE = 32, 8192
_KEYCTL, _SECCOMP, _CLOSE_RANGE = 250, 317, 436  # x86_64, as the machine is
_KEYCTL_JOIN_SESSION, _SECCOMP_FILTER, _CLOSE_RANGE_CLOEXEC = 1, 1, 4
_PR_SET_KEEPCAPS = 8
_MOST_LINKS = 40  # as the kernel

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
for _name in ("syscall", "prctl", "personality"):
    getattr(_libc, _name)  # looked up once, before anything is forked


class CannotBecome(Exception):
    """The message is one that crun would log."""


def _call(number: int, what: str, *arguments: Any) -> None:
    if _libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


# -- in the template -----------------------------------------------------------------------------------


def stage(config: dict[str, Any], top: str) -> None:
    """Mount under `top`, as if that were the root, what is the same in every container. In the process that
    will be one: it is in its namespaces and groups, but for that of mounts. Raise OSError."""
    for mount in plan.staged(config):
        target = f"{top}{mount['destination']}"
        os.makedirs(target, exist_ok=True)
        flags, data = plan.flags_of(mount["options"])
        kind = "cgroup2" if mount["type"] == "cgroup" else mount["type"]
        kernel.mount(mount["source"], target, kind, flags, data)
        if mount["destination"] == "/dev":
            _make_devices(target)
    for path in config["linux"]["maskedPaths"]:
        _mask(f"{top}{path}")
    for path in config["linux"]["readonlyPaths"]:
        _make_readonly(f"{top}{path}")
    os.setsid()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    _call(_KEYCTL, "keyctl", _KEYCTL_JOIN_SESSION, b"container")
    for limited, soft, hard in plan.rlimits_of(config):
        resource.setrlimit(limited, (soft, hard))
    kernel.drop_bounds(plan.dropped(config))


class Filter:
    """What a container's program may call: struct sock_fprog, and what it points to."""

    def __init__(self, text: str) -> None:
        """text -- BPF, as base64."""
        code = base64.b64decode(text)
        self._kept = ctypes.c_char_p(code)  # a buffer would be a type of its own, made here and now
        self.program = struct.pack("=H6x8s", len(code) // 8, bytes(memoryview(self._kept)))


def _make_devices(directory: str) -> None:
    before = os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"{directory}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(before)
    for name, target in _LINKS:
        os.symlink(target, f"{directory}/{name}")


def _mask(path: str) -> None:
    try:
        directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if directory:
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_RDONLY, "size=0k")
    else:
        kernel.mount("/dev/null", path, None, kernel.MS_BIND)
        kernel.mount("none", path, None, _MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY)


def _make_readonly(path: str) -> None:
    if os.path.exists(path):
        kernel.mount(path, path, None, kernel.MS_BIND | kernel.MS_REC)
        closed = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("none", path, None, _MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | closed)


# -- in the clone --------------------------------------------------------------------------------------


def become(
    wanted: dict[str, Any], planned: dict[str, Any], top: str, allowed: Filter, ready: Callable[[], None]
) -> NoReturn:
    """Go on as the container's program; its streams are 0 to 2. wanted -- of its configuration, with the
    mounts that are not staged. planned -- by plan.py. allowed -- what it may
    call. ready -- called when only the program itself is missing: from here on the container runs, as with
    runc and crun, and a program that is none is the container's own end. Raise CannotBecome or OSError until
    then."""
    process = wanted["process"]
    _take_root(wanted, planned, top)
    kernel.set_host_name(wanted["hostname"])
    for number, soft, hard in planned["limits"]:
        resource.setrlimit(number, (soft, hard))
    program = _find(process["args"][0], process["env"], process["cwd"])
    _call(_CLOSE_RANGE, "close_range", 3, -1, _CLOSE_RANGE_CLOEXEC)
    kernel.drop_bounds(planned["drops"])
    _take_user(process, planned, allowed)
    _libc.personality(0)  # addresses are random again
    ready()
    try:
        environment = dict(entry.split("=", 1) for entry in process["env"] if "=" in entry)
        os.execve(program, process["args"], environment)
    except OSError as error:
        os.write(2, f"exec {program}: {str(error.strerror).lower()}\n".encode(errors="replace"))  # as runc
    finally:
        os._exit(1)  # whatever it was: nobody above knows what to do with a container


def _take_root(wanted: dict[str, Any], planned: dict[str, Any], top: str) -> None:
    root = wanted["root"]["path"]
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in plan.TOPS:
        kernel.mount(f"{top}{name}", _place(root, root_fd, name, directory=True), None, _MS_MOVE)
    for mount in wanted["mounts"]:
        _mount(root, root_fd, mount, *planned["mounts"][mount["destination"]])
    # What devices it may have is the affair of its group (devices.py).
    readonly = kernel.MS_RDONLY if wanted["root"]["readonly"] else 0
    kernel.mount("none", root, None, _MS_REMOUNT | kernel.MS_BIND | readonly)
    os.fchdir(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    kernel.pivot_root(".")
    kernel.umount(".")
    os.chdir("/")


def _mount(root: str, root_fd: int, mount: dict[str, Any], flags: int, data: str, directory: bool) -> None:
    if not flags & kernel.MS_BIND:
        place = _place(root, root_fd, mount["destination"], directory=True)
        return kernel.mount(mount["source"], place, mount["type"], flags, data)
    source = mount["source"]
    place = _place(root, root_fd, mount["destination"], directory=directory)
    kernel.mount(source, place, None, flags & (kernel.MS_BIND | kernel.MS_REC))
    if more := flags & ~(kernel.MS_BIND | kernel.MS_REC):
        place = _place(root, root_fd, mount["destination"], directory=True)  # what is there now
        kernel.mount("none", place, None, _MS_REMOUNT | kernel.MS_BIND | more)


def _place(root: str, root_fd: int, path: str, *, directory: bool, links: int = 0) -> str:
    """A name for a place inside the root, made if it is missing; no link of the image's leads out of it.
    links -- how many that lead nowhere were followed."""
    fd = kernel.find_in_root(root_fd, path, os.O_PATH)
    if fd < 0:
        if (led := _led(root_fd, path)) and links < _MOST_LINKS:
            return _place(root, root_fd, led, directory=directory, links=links + 1)
        above, _, name = path.rstrip("/").rpartition("/")
        kernel.make_directories(root, path if directory else above)
        if not directory:
            parent = kernel.open_in_root(root_fd, above or "/", os.O_PATH | os.O_DIRECTORY)
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755, dir_fd=parent))
            os.close(parent)
        fd = kernel.open_in_root(root_fd, path, os.O_PATH)
    return f"/proc/self/fd/{fd}"  # closed when the program starts


def _led(root_fd: int, path: str) -> str | None:
    """Where the first link on the path that leads nowhere says that it leads; None without one."""
    parts, above = [part for part in path.split("/") if part], "/"
    for number, name in enumerate(parts):
        here = f"{above}/{name}"
        found = kernel.find_in_root(root_fd, here, os.O_PATH)
        if found < 0:
            link = kernel.find_in_root(root_fd, here, os.O_PATH | os.O_NOFOLLOW)
            if link < 0:
                return None  # nothing is there: it can be made
            target = os.readlink("", dir_fd=link)
            os.close(link)
            return os.path.join(above, target, *parts[number + 1 :])
        os.close(found)
        above = here
    return None


def _find(name: str, environment: list[str], cwd: str) -> str:
    """The program's path, by the container's own PATH. Raise CannotBecome."""
    if "/" in name:
        name = os.path.join(cwd, name)
        return name if _is_program(name) else _not_opened(name)
    given, closed = "", ""
    for entry in environment:
        if entry.startswith("PATH="):
            given = entry[5:]
            break
    for directory in given.split(":"):
        path = f"{directory}/{name}" if directory.startswith("/") else os.path.join(cwd, directory, name)
        if _is_program(path):
            return path
        if os.access(path, os.F_OK) and os.path.isfile(path):
            closed = path
    if closed:
        return _not_opened(closed)
    raise CannotBecome(f"executable file `{name}` not found in $PATH: {os.strerror(2)}")


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.access(f"{path}/", os.F_OK)


def _not_opened(path: str) -> str:
    if not os.path.lexists(path):
        raise CannotBecome(f"executable file `{path}` not found in $PATH: {os.strerror(2)}")
    raise CannotBecome(f"open executable: {os.strerror(13)}")


def _take_user(process: dict[str, Any], planned: dict[str, Any], allowed: Filter) -> None:
    """Filter, user, capabilities. (The filter first: without no-new-privileges it takes a capability.)"""
    user = process["user"]
    root = not user["uid"] and not user["gid"]  # as this is: nothing to change
    for fd in () if root else (1, 2):
        os.fchown(fd, user["uid"], -1)  # else nobody but root could open /dev/stdout
    try:
        os.chdir(process["cwd"])
    except OSError:
        pass  # perhaps the user may
    _call(_SECCOMP, "seccomp", _SECCOMP_FILTER, 0, allowed.program)
    os.setgroups(user["additionalGids"])
    if not root:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresgid(user["gid"], user["gid"], user["gid"])
        os.setresuid(user["uid"], user["uid"], user["uid"])
    kernel.keep_capabilities(*map(bytes.fromhex, planned["capabilities"]))
    os.chdir(process["cwd"])
