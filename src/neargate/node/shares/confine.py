"""Leaves a process nothing but a few descriptors and powers: what serial.py and mounted.py do in their forks
before they look at a single request.
"""

import ctypes
import os
import resource
import signal

from neargate.node.shim import kernel

FILE_POWERS = 0b11011111
"""chown, dac_override, dac_read_search, fowner, fsetid, setgid, setuid."""
_FILES = 1 << 17
"""That a guest may have open: this machine's table of open files is everybody's."""
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None)


def forget_signals() -> None:
    """Those of the process that this one is a fork of."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)


def confine(kept: list[int], powers: int) -> None:
    """Leave everything behind but these descriptors, standard error, and a /proc that shows only itself.

    powers -- capabilities, as bits: of root's it keeps no others.
    """
    at = 2
    for fd in sorted(kept):
        os.closerange(at + 1, fd)
        at = fd
    os.closerange(at + 1, 1 << 16)
    kernel.set_name("neargate-files")
    os.umask(0)
    kinds = kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kinds)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    closed = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("files", "/tmp", "tmpfs", closed, "mode=755,size=4k")
    for name in ("proc", "old"):
        os.mkdir(f"/tmp/{name}")
    kernel.mount("proc", "/tmp/proc", "proc", closed, "subset=pid,hidepid=invisible")
    os.chdir("/tmp")
    kernel.pivot_root("old")
    kernel.umount("/old")
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([])
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kernel.keep_capabilities(*kernel.capabilities(powers, powers))
