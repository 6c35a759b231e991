"""Names files to this machine's kernel, so that it reads, writes and maps them by itself (FUSE_PASSTHROUGH).

Called by mounted.py. Only who may administer the machine can name one, so the server, which reads what others
send, cannot: a process beside it does, which knows nothing but `this descriptor` and `that number`.
What is written then is written as the volume's user, so that quotas and reserved blocks are minded.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence

from neargate.node.shares import fuse, tree

POWERS = 1 << 21 | 1 << 7 | 1 << 6
"""sys_admin, setuid, setgid."""
_ASK, _ANSWER = struct.Struct("=ii"), struct.Struct("=i")
_OPEN = 0


class Broker:
    """What one volume's server asks of the process beside it."""

    def __init__(self, port: socket.socket, volume: int) -> None:
        self._port = port
        self._volume = volume

    def open(self, fd: int) -> int:
        """The kernel's number of the file. Raise OSError."""
        socket.send_fds(self._port, [_ASK.pack(self._volume, _OPEN)], [fd])
        (found,) = _ANSWER.unpack(self._port.recv(_ANSWER.size))
        if found <= 0:
            raise OSError(-found or errno.EIO, os.strerror(-found or errno.EIO))
        return int(found)

    def close(self, number: int) -> None:
        self._port.send(_ASK.pack(self._volume, number))


def answer(port: socket.socket, volumes: Sequence[tuple[int, tree.User]]) -> bool:
    """One request. False: the server has gone. volumes -- (descriptor of /dev/fuse, as whom all is done)."""
    data, fds, _flags, _address = socket.recv_fds(port, _ASK.size, 1)
    if not data:
        return False
    try:
        volume, number = _ASK.unpack(data)
        end, user = volumes[volume]
        if number != _OPEN:
            fcntl.ioctl(end, fuse.BACKING_CLOSE, _ANSWER.pack(number))
        else:
            port.send(_ANSWER.pack(_named(end, user, fds[0])))
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _named(end: int, user: tree.User, fd: int) -> int:
    """The kernel's number of the file, or less than 0: an error's."""
    tree.become(*user)
    try:
        return int(fcntl.ioctl(end, fuse.BACKING_OPEN, bytearray(fuse.BACKING.pack(fd, 0, 0))))
    except OSError as error:
        return -(error.errno or errno.EIO)
    finally:
        tree.become(0, 0)
