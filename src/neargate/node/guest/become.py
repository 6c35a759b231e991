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
from typing import Any

from neargate.node.shim import kernel

TOPS = ("/proc", "/dev", "/sys")
"""What `stage` mounts is below these."""
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
_FLAGS = {
    "ro": kernel.MS_RDONLY, "nosuid": kernel.MS_NOSUID, "nodev": kernel.MS_NODEV, "noexec": kernel.MS_NOEXEC,
    "sync": 16, "mand": 64, "dirsync": 128, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21,
    "strictatime": 1 << 24, "bind": kernel.MS_BIND, "rbind": kernel.MS_BIND | kernel.MS_REC,
}  # fmt: skip
_NO_FLAGS = frozenset(
    ("rw", "suid", "dev", "exec", "async", "nomand", "atime", "diratime", "norelatime", "nostrictatime")
) | {"rprivate", "private"}
_MS_REMOUNT, _MS_MOVE = 32, 8192
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Of capabilities, by number."""
_CAPABILITIES = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}
_KEYCTL, _SECCOMP, _CLOSE_RANGE = 250, 317, 436  # x86_64, as the machine is
_KEYCTL_JOIN_SESSION, _SECCOMP_FILTER, _CLOSE_RANGE_CLOEXEC = 1, 1, 4
_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 8, 24
_UNLIMITED = (1 << 64) - 1
_MOST_LINKS = 40  # as the kernel

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class CannotBecome(Exception):
    """The message is one that crun would log."""


def _call(number: int, what: str, *arguments: Any) -> None:
    if _libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


# -- in the template -----------------------------------------------------------------------------------


def staged(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Which mounts of a configuration `stage` makes: those at its beginning that are every container's."""
    mounts = config["mounts"]
    own = (n for n, mount in enumerate(mounts) if not mount["destination"].startswith(TOPS))
    return list(mounts[: next(own, len(mounts))])


def alike(config: dict[str, Any], rehearsed: dict[str, Any]) -> bool:
    """Can what was staged for one configuration become the container of another?"""
    process, linux = config["process"], config["linux"]
    try:
        options = [_options(mount["options"]) for mount in config["mounts"]]
    except CannotBecome:
        return False
    return (
        bool(options)
        and staged(config) == staged(rehearsed)
        and all(linux[name] == rehearsed["linux"][name] for name in ("maskedPaths", "readonlyPaths"))
        and not linux["sysctl"]
        and not process["terminal"]
        and not process["noNewPrivileges"]
        and not process["oomScoreAdj"]
        and _bounding(config) <= _bounding(rehearsed)
        and all(hasattr(resource, limit["type"]) for limit in process["rlimits"])
    )


def stage(config: dict[str, Any], top: str) -> None:
    """Mount under `top`, as if that were the root, what is the same in every container. In the process that
    will be one: it is in its namespaces and groups, but for that of mounts. Raise OSError."""
    for mount in staged(config):
        target = f"{top}{mount['destination']}"
        os.makedirs(target, exist_ok=True)
        flags, data = _options(mount["options"])
        kind = "cgroup2" if mount["type"] == "cgroup" else mount["type"]
        kernel.mount(mount["source"], target, kind, flags, data)
        if mount["destination"] == "/dev":
            _make_devices(target)
    for path in config["linux"]["maskedPaths"]:
        _mask(f"{top}{path}")
    for path in config["linux"]["readonlyPaths"]:
        _make_readonly(f"{top}{path}")
    os.setsid()
    _call(_KEYCTL, "keyctl", _KEYCTL_JOIN_SESSION, ctypes.c_char_p(b"container"))
    _drop_bounds(set(_CAPABILITIES), _bounding(config))


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


def _bounding(config: dict[str, Any]) -> set[str]:
    return set(config["process"]["capabilities"]["bounding"])


def _drop_bounds(before: set[str], after: set[str]) -> None:
    for name in before - after:
        _libc.prctl(_PR_CAPBSET_DROP, _CAPABILITIES[name], 0, 0, 0)  # one that this kernel lacks is no loss


# -- in the clone --------------------------------------------------------------------------------------


def become(config: dict[str, Any], rehearsed: dict[str, Any], top: str) -> None:
    """Go on as the container's program; its streams are 0 to 2. rehearsed -- what was staged. Raise
    CannotBecome or OSError."""
    process = config["process"]
    _take_root(config, top)
    _libc.sethostname(config["hostname"].encode(), len(config["hostname"].encode()))
    for limit in process["rlimits"]:
        soft, hard = (-1 if limit[name] == _UNLIMITED else limit[name] for name in ("soft", "hard"))
        resource.setrlimit(getattr(resource, limit["type"]), (soft, hard))
    program = _find(process["args"][0], process["env"], process["cwd"])
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) not in (None, signal.SIG_DFL):
            signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    _call(_CLOSE_RANGE, "close_range", 3, ctypes.c_uint(0xFFFFFFFF), _CLOSE_RANGE_CLOEXEC)
    _drop_bounds(*(_bounding(one) for one in (rehearsed, config)))
    _take_user(process, config["annotations"]["run.oci.seccomp_bpf_data"])
    _libc.personality(0)  # addresses are random again
    environment = dict(entry.split("=", 1) for entry in process["env"] if "=" in entry)
    try:
        os.execve(program, process["args"], environment)
    except OSError as error:
        hint = " (missing dynamic library?)" if isinstance(error, FileNotFoundError) else ""
        raise CannotBecome(f"exec container process{hint} `{program}`: {error.strerror}") from None


def _take_root(config: dict[str, Any], top: str) -> None:
    root = config["root"]["path"]
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in TOPS:
        kernel.mount(f"{top}{name}", _place(root, root_fd, name, directory=True), None, _MS_MOVE)
    for mount in config["mounts"][len(staged(config)) :]:
        _mount(root, root_fd, mount)
    # What devices it may have is the affair of its group (devices.py).
    readonly = kernel.MS_RDONLY if config["root"]["readonly"] else 0
    kernel.mount("none", root, None, _MS_REMOUNT | kernel.MS_BIND | readonly)
    os.fchdir(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    kernel.pivot_root(".")
    kernel.umount(".")
    os.chdir("/")


def _mount(root: str, root_fd: int, mount: dict[str, Any]) -> None:
    flags, data = _options(mount["options"])
    if not flags & kernel.MS_BIND:
        place = _place(root, root_fd, mount["destination"], directory=True)
        return kernel.mount(mount["source"], place, mount["type"], flags, data)
    source = mount["source"]
    place = _place(root, root_fd, mount["destination"], directory=os.path.isdir(source))
    kernel.mount(source, place, None, flags & (kernel.MS_BIND | kernel.MS_REC))
    if more := flags & ~(kernel.MS_BIND | kernel.MS_REC):
        place = _place(root, root_fd, mount["destination"], directory=True)  # what is there now
        kernel.mount("none", place, None, _MS_REMOUNT | kernel.MS_BIND | more)


def _place(root: str, root_fd: int, path: str, *, directory: bool, links: int = 0) -> str:
    """A name for a place inside the root, made if it is missing; no link of the image's leads out of it.
    links -- how many that lead nowhere were followed."""
    try:
        fd = kernel.open_in_root(root_fd, path, os.O_PATH)
    except FileNotFoundError:
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
        parent = kernel.open_in_root(root_fd, above, os.O_PATH | os.O_DIRECTORY)
        try:
            link = os.readlink(name, dir_fd=parent)
        except FileNotFoundError:
            return None  # nothing is there: it can be made
        except OSError:
            link = ""  # no link
        finally:
            os.close(parent)
        here = f"{above}/{name}"
        try:
            os.close(kernel.open_in_root(root_fd, here, os.O_PATH))
        except FileNotFoundError:
            return os.path.join(above, link, *parts[number + 1 :]) if link else None
        above = here
    return None


def _options(options: list[str]) -> tuple[int, str]:
    """(flags, data) of mount(2). Raise CannotBecome for what is neither's."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif "=" in option or option in ("newinstance",):
            data.append(option)
        elif option not in _NO_FLAGS:
            raise CannotBecome(f"mount option {option}")
    return flags, ",".join(data)


def _find(name: str, environment: list[str], cwd: str) -> str:
    """The program's path, by the container's own PATH. Raise CannotBecome."""
    if "/" in name:
        name = os.path.join(cwd, name)
        return name if os.path.isfile(name) and os.access(name, os.X_OK) else _not_opened(name)
    given = next((entry[5:] for entry in environment if entry.startswith("PATH=")), "")
    closed = ""
    for directory in given.split(":"):
        path = os.path.join(cwd, directory, name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            closed = path
    if closed:
        return _not_opened(closed)
    raise CannotBecome(f"executable file `{name}` not found in $PATH: {os.strerror(2)}")


def _not_opened(path: str) -> str:
    if not os.path.lexists(path):
        raise CannotBecome(f"executable file `{path}` not found in $PATH: {os.strerror(2)}")
    raise CannotBecome(f"open executable: {os.strerror(13)}")


def _take_user(process: dict[str, Any], seccomp: str) -> None:
    """Filter, user, capabilities. (The filter first: without no-new-privileges it takes a capability.)"""
    user, capabilities = process["user"], process["capabilities"]
    for fd in range(3):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, user["uid"], -1)  # else nobody but root could open /dev/stdout
    code = base64.b64decode(seccomp)
    pointer = ctypes.c_char_p(code)  # a buffer would be a type of its own, made here and now
    program = struct.pack("=H6x8s", len(code) // 8, bytes(memoryview(pointer)))
    try:
        os.chdir(process["cwd"])
    except OSError:
        pass  # perhaps the user may
    _call(_SECCOMP, "seccomp", _SECCOMP_FILTER, 0, ctypes.c_char_p(program))
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(user["additionalGids"])
    os.setresgid(user["gid"], user["gid"], user["gid"])
    os.setresuid(user["uid"], user["uid"], user["uid"])
    kernel.keep_capabilities(*(_mask_of(capabilities[name]) for name in ("effective", "permitted")))
    os.chdir(process["cwd"])


def _mask_of(names: list[str]) -> int:
    return sum(1 << _CAPABILITIES[name] for name in names)
