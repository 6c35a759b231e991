"""Starts QEMU where it can do least: as a user that owns nothing, alone in namespaces of its own, its root a
read-only file system with nothing but its own program and libraries. Called by qemu.py.

Its memory's descriptor is reached through a /proc that shows only itself. It dies with its supervisor.
"""

import ctypes
import os
import resource
import signal
import stat
from collections.abc import Callable

from neargate.node.shim import kernel

_KVM = (10, 232)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_THP_DISABLE = 1, 38, 41
_ENVIRONMENT = {"LC_ALL": "C", "GLIBC_TUNABLES": "glibc.malloc.top_pad=2097152:glibc.malloc.arena_max=1"}
"""An emulator that translates allocates all the time: growing by pages, it spent a tenth of a start on calls
that have each processor forget what it knows of memory."""
_libc = ctypes.CDLL(None, use_errno=True)


def start(argv: list[str], root: str, uid: int, inherited: dict[int, int], output: int, kvm: bool) -> int:
    """root -- a mount. inherited -- descriptor here -> there. output -- of what QEMU says. kvm -- give it
    that device. Raise OSError."""
    return fork_apart(lambda: _become(argv, root, uid, inherited, output, kvm))


def fork_apart(become: Callable[[], None]) -> int:
    """Have `become` called, never to return, in the first process of a new PID namespace. Raise OSError."""
    pid = kernel.fork_first()
    if pid:
        return pid
    try:
        become()
    except BaseException as error:
        os.write(2, f"cannot start the virtual machine: {error}\n".encode())
    os._exit(126)


def _become(argv: list[str], root: str, uid: int, inherited: dict[int, int], output: int, kvm: bool) -> None:
    descriptors(inherited, output)
    default_signals()
    kinds = kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kinds)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    os.chdir(root)
    kernel.pivot_root("old")
    closed = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", closed, "subset=pid,hidepid=invisible")
    if kvm:
        kernel.mount("dev", "/dev", "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, "mode=755,size=4k")
        os.mknod("/dev/kvm", stat.S_IFCHR | 0o600, os.makedev(*_KVM))
        os.chown("/dev/kvm", uid, uid)
    kernel.umount("/old")
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Pages of two megabytes would triple what an idle machine's translated code holds.
    _libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execve(argv[0], argv, _ENVIRONMENT)


def default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def descriptors(inherited: dict[int, int], output: int) -> None:
    """0 to 2, and what is inherited, at their numbers; nothing else."""
    null = os.open("/dev/null", os.O_RDONLY)
    above = 200
    staged = {}
    for at, (here, there) in enumerate([(null, 0), (output, 1), (output, 2), *inherited.items()]):
        staged[above + at] = there
        os.dup2(here, above + at)
    os.closerange(3, above)
    os.closerange(above + len(staged), 1024)
    for here, there in staged.items():
        os.dup2(here, there)
    os.closerange(above, above + len(staged))
