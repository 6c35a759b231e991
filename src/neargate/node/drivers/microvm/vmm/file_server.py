"""The process that answers a guest's requests for files of its shared volumes (files.py says how).

Forked by supervisor.py for a sandbox that has such volumes. It sees nothing but them: no path of the host, no
network, no other process; of root's powers it keeps those over files. It dies with the supervisor.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Sequence

from neargate.node.drivers.microvm.vmm import fuse
from neargate.node.drivers.microvm.vmm.files import Request, Volume
from neargate.node.shim import kernel

_READ = 1 << 18
_LONGEST = fuse.MAX_WRITE + 8192
_FILES = 1 << 17
"""That a guest may have open: this machine's table of open files is everybody's."""
_LOCK_SECONDS = 0.02
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWIPC, _CLONE_NEWUTS = 0x08000000, 0x04000000
_PIVOT_ROOT, _CAPSET, _CAPABILITY_VERSION = 155, 126, 0x20080522  # x86_64, as QEMU's machine is
_CAPABILITIES = 0b11011111
"""chown, dac_override, dac_read_search, fowner, fsetid, setgid, setuid."""
_libc = ctypes.CDLL(None, use_errno=True)


def start(port: socket.socket, volumes: Sequence[tuple[int, tuple[int, int] | None]]) -> int:
    """volumes -- (descriptor of the directory, as whom all is done there). The process. Raise OSError."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == supervisor:
            _confine([port.fileno(), *(root for root, _user in volumes)])
            serve(port, [Volume(root, user) for root, user in volumes])
    except BaseException as error:
        sys.stderr.write(f"shared volumes: {error!r}\n")
        sys.stderr.flush()
    os._exit(1)


def _confine(kept: list[int]) -> None:
    """Leave everything behind but these descriptors, standard error, and a /proc that shows only itself."""
    at = 2
    for fd in sorted(kept):
        os.closerange(at + 1, fd)
        at = fd
    os.closerange(at + 1, 1 << 16)
    kernel.set_name("neargate-files")
    os.umask(0)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    closed = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("files", "/tmp", "tmpfs", closed, "mode=755,size=4k")
    for name in ("proc", "old"):
        os.mkdir(f"/tmp/{name}")
    kernel.mount("proc", "/tmp/proc", "proc", closed, "subset=pid,hidepid=invisible")
    os.chdir("/tmp")
    if _libc.syscall(_PIVOT_ROOT, b".", b"old"):
        raise OSError(ctypes.get_errno(), "pivot_root")
    kernel.umount("/old")
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([])
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    sets = struct.pack("=6I", _CAPABILITIES, _CAPABILITIES, 0, 0, 0, 0)
    if _libc.syscall(_CAPSET, header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def serve(port: socket.socket, volumes: Sequence[Volume]) -> None:
    """Until the other end is closed, or does not keep to the protocol. Raise OSError, ValueError."""
    buffer = b""
    while True:
        patience = _LOCK_SECONDS if any(volume.locks.waiting for volume in volumes) else None
        if not select.select([port], [], [], patience)[0]:
            for number, volume in enumerate(volumes):
                for answer in volume.locks.retry():
                    port.sendall(bytes([number]) + answer)
            continue
        data = port.recv(_READ)
        if not data:
            return
        buffer += data
        used = 0
        for end, number, request in _requests(buffer):
            used = end
            answer = volumes[number].serve(request)
            if answer:
                port.sendall(bytes([number]) + answer)
        buffer = buffer[used:]


def _requests(buffer: bytes) -> Iterator[tuple[int, int, Request]]:
    """(where it ends, volume, request) of each that is whole. Raise ValueError."""
    at = 0
    while len(buffer) - at > fuse.HEAD.size:
        length, opcode, number, node, uid, gid, _pid, _ = fuse.HEAD.unpack_from(buffer, at + 1)
        if not fuse.HEAD.size <= length <= _LONGEST:
            raise ValueError(f"a request of {length} bytes")
        end = at + 1 + length
        if len(buffer) < end:
            return
        payload = buffer[at + 1 + fuse.HEAD.size : end]
        yield end, buffer[at], (opcode, number, node, uid, gid, payload)
        at = end
