"""The process that answers a guest's requests for files of its shared volumes (files.py says how).

Forked by the supervisor of a virtual machine that has such volumes. It sees nothing but them: no path of the
host, no network, no other process; of root's powers it keeps those over files. It dies with the supervisor.
"""

import ctypes
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

from neargate.node.shares import confine, fuse, locks
from neargate.node.shares.files import Request, Volume
from neargate.node.shares.tree import User

_READ = 1 << 18
_LONGEST = fuse.MAX_WRITE + 8192
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start(port: socket.socket, volumes: Sequence[tuple[int, User | None]]) -> int:
    """volumes -- (descriptor of the directory, as whom all is done there). The process. Raise OSError."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        confine.forget_signals()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == supervisor:
            confine.confine([port.fileno(), *(root for root, _user in volumes)], confine.FILE_POWERS)
            serve(port, [Volume(root, user) for root, user in volumes])
    except BaseException as error:
        sys.stderr.write(f"shared volumes: {error!r}\n")
        sys.stderr.flush()
    os._exit(1)


def serve(port: socket.socket, volumes: Sequence[Volume]) -> None:
    """Until the other end is closed, or does not keep to the protocol. Raise OSError, ValueError."""
    buffer = b""
    while True:
        patience = locks.patience(volume.locks for volume in volumes)
        asked = select.select([port], [], [], patience)[0]
        for number, volume in enumerate(volumes):
            for answer in volume.locks.retry():
                port.sendall(bytes([number]) + answer)
        if not asked:
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
