"""Volumes with a user of their own, mounted on this machine, and the processes that serve them.

Made by node/shim at a sandbox's birth. The kernel's own maps of owners (idmapped mounts) are one to one, so
all others than one user of a container would be nobody there; an overlay makes files as whoever asks; NFS's
server could squash, but would be the whole machine's, and remember what other tasks have changed since. So
this is FUSE: names and attributes are asked of our server (files.py) each time, and what is in files goes
from the kernel straight to the file system (backing.py).

Two processes, as one reads what others send and the other may name files to the kernel. Both end with the
shim. One that dies is made anew: the mounts stay, what is open goes on being read and written, and only who
waited for an answer gets EIO.
"""

import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neargate.node import cgroup
from neargate.node.shares import backing, confine, fuse, locks
from neargate.node.shares.files import Terms, Volume
from neargate.node.shares.tree import User
from neargate.node.shim import kernel

_BUFFER = fuse.MAX_WRITE + 8192
_END_SECONDS = 2.0
_MOST = 100
"""Servers of one sandbox: what kills each of them would go on to."""
_NUMBERS = 40
"""Each server has numbers of its own, 2 to the power of this: an old one never means another file."""
_TAKEN_BACK = (errno.ENOENT, errno.EINTR, errno.EAGAIN)


@dataclass(frozen=True, slots=True)
class Share:
    root: int
    """Descriptor of its directory."""
    user: User
    terms: Terms
    place: str
    """Where it is mounted."""


class Server:
    """The mounts of a sandbox's shares, all in one directory."""

    def __init__(self, instance: str, shares: Sequence[Share]) -> None:
        """Raise OSError."""
        self.pid = 0
        """Of the process to be waited for."""
        self._instance = instance
        self._shares = shares
        self._ends: list[int] = []
        self._made = 0
        self._life = -1
        for share in shares:
            end = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            os.makedirs(share.place, exist_ok=True)
            # no `default_permissions`: what may be done is said by the server, for the volume's user
            options = f"fd={end},rootmode=40000,user_id=0,group_id=0,allow_other"
            kernel.mount("neargate", share.place, "fuse", kernel.MS_NOSUID | kernel.MS_NODEV, options)
            self._ends.append(end)
        self._start()

    def died(self) -> None:
        """Its process has been waited for; make another. Where that cannot be, the mounts say ENOTCONN."""
        os.close(self._life)
        self.pid = 0
        try:
            if self._made >= _MOST:
                raise OSError(errno.EAGAIN, f"it has ended {_MOST} times")
            for end in self._ends:
                os.write(end, fuse.resend())
            self._start()
            sys.stderr.write("the server of the shared volumes has ended: there is another\n")
        except OSError as error:  # a kernel before 6.9, say
            sys.stderr.write(f"the server of the shared volumes has ended: {error}\n")
            self.close()
        sys.stderr.flush()

    def close(self) -> None:
        """End it. Whoever still has files open there gets errors."""
        if self.pid:
            os.close(self._life)
            deadline = time.monotonic() + _END_SECONDS
            while not os.waitpid(self.pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:  # it waits for a disk that does not answer
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.001)
            self.pid = 0
        for end in self._ends:
            os.close(end)
        self._ends = []
        for share in self._shares:
            try:
                kernel.umount(share.place)
            except OSError:  # it was not mounted yet
                pass
            remove_places(os.path.dirname(share.place))

    def _start(self) -> None:
        alive, life = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid:
            os.close(alive)
            self.pid, self._life = pid, life
            self._made += 1
            return
        try:
            confine.forget_signals()
            os.close(life)
            self._become(alive)
        except BaseException as error:
            sys.stderr.write(f"shared volumes: {error!r}\n")
            sys.stderr.flush()
        os._exit(1)

    def _become(self, alive: int) -> None:
        """The process that names files to the kernel, and first the parent of the server."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.unshare(kernel.CLONE_NEWPID)
        server = os.fork()
        if not server:
            here.close()
            confine.confine(
                [*self._ends, there.fileno(), *(s.root for s in self._shares)], confine.FILE_POWERS
            )
            serve(self._ends, self._volumes(there), there)
            os._exit(0)
        there.close()
        try:
            for pid in (os.getpid(), server):
                cgroup.join_shims(self._instance, pid)
        except OSError as error:
            sys.stderr.write(f"shared volumes: stays in the daemon's cgroup: {error}\n")
        confine.confine([*self._ends, here.fileno(), alive], backing.POWERS)
        volumes = list(zip(self._ends, (share.user for share in self._shares), strict=True))
        poll = select.poll()
        poll.register(here, select.POLLIN)
        poll.register(alive, 0)  # its other end is the shim's
        while all(fd == here.fileno() for fd, _events in poll.poll()):
            if not backing.answer(here, volumes):
                break
        here.close()  # which ends the server
        os.waitpid(server, 0)
        os._exit(0)

    def _volumes(self, port: socket.socket) -> list[Volume]:
        first = self._made << _NUMBERS | fuse.ROOT
        return [
            Volume(share.root, share.user, replace(share.terms, first=first), backing.Broker(port, number))
            for number, share in enumerate(self._shares)
        ]


def remove_places(directory: str) -> None:
    """Of shares that are mounted no more. Never a tree: what is in there might be somebody's files."""
    try:
        for name in os.listdir(directory):
            os.rmdir(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        return


def serve(ends: Sequence[int], volumes: Sequence[Volume], port: socket.socket) -> None:
    """Answer what the kernel asks at each volume's end, until the port's other end is closed."""
    by_end = dict(zip(ends, volumes, strict=True))
    poll = select.poll()
    for fd in (*ends, port.fileno()):
        poll.register(fd, select.POLLIN)
    buffer = bytearray(_BUFFER)
    while True:
        patience = locks.patience(volume.locks for volume in volumes)
        ready = poll.poll(None if patience is None else patience * 1000)
        if any(fd not in by_end for fd, _events in ready):
            return
        for fd, _events in ready:
            if not _answer_one(fd, by_end[fd], buffer):
                poll.unregister(fd)
        for end, volume in by_end.items():
            for answer in volume.locks.retry():
                _write(end, answer)


def _answer_one(end: int, volume: Volume, buffer: bytearray) -> bool:
    """False: it is mounted no more."""
    try:
        size = os.readv(end, [buffer])
    except OSError as error:
        return error.errno in _TAKEN_BACK
    _length, opcode, number, node, uid, gid, _pid, _ = fuse.HEAD.unpack_from(buffer)
    if number & fuse.RESENT and opcode != fuse.INIT:  # done or not done: its server has died over it
        answer = fuse.refusal(number, errno.EIO)
    else:
        answer = volume.serve((opcode, number, node, uid, gid, bytes(buffer[fuse.HEAD.size : size])))
    if answer:
        _write(end, answer)
    return True


def _write(end: int, answer: bytes) -> None:
    try:
        os.write(end, answer)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # who asked waits no more
            raise
