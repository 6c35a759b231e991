"""The jail of a Firecracker: what is in it from the start, what is put there later, its sockets.

Called by firecracker_vm.py. It is a tmpfs in a mount namespace of the machine's own; disks, and the
template's files, are bound into it as files, so nothing is copied (but Firecracker itself, by the jailer) and
nothing is left of it. Its first process is tini, as the kernel forgets at the jailer's change of user whom a
process is to die with: tini dies with the supervisor, and with tini all of their PID namespace.
"""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping

from neargate.node.drivers.microvm.vmm import firecracker, jail, tap
from neargate.node.shim import kernel

INIT = "/usr/bin/tini-static"
_TELL, _FIRST_TREE = 9, 10
_PR_SET_PDEATHSIG = 1
_PORT_BUFFER = 1 << 20
_CONNECT_SECONDS = 1.0
_libc = ctypes.CDLL(None, use_errno=True)


class Ends:
    """Descriptors that the jail's first process needs."""

    def __init__(self, trees: Mapping[str, int], output: int, tell: int) -> None:
        self.trees = trees
        """Mounts that are nowhere yet, by the name of the file that each is to be."""
        self.output = output
        self.tell = tell
        """Where to say why the jail cannot be made."""


def become(argv: list[str], base: str, place: str, uid: int, ends: Ends) -> None:
    """The jail's first process, tini with the jailer as its child; `base` is a directory to make the jail in,
    which is not touched."""
    names = list(ends.trees)
    inherited = {ends.trees[name]: _FIRST_TREE + at for at, name in enumerate(names)}
    jail.descriptors({ends.tell: _TELL, **inherited}, ends.output)
    os.set_inheritable(_TELL, False)
    try:
        jail.default_signals()
        kinds = kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kinds)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("jail", base, "tmpfs", kernel.MS_NOSUID, "mode=755,size=64m")  # the jailer's devices
        os.makedirs(place)
        for at, name in enumerate(names):
            _file(f"{place}/{name}", 0)
            kernel.attach(_FIRST_TREE + at, f"{place}/{name}")
            os.close(_FIRST_TREE + at)
        for slot in firecracker.empty_slots():
            _file(f"{place}/{firecracker.slot_file(slot)}", firecracker.EMPTY_BYTES)
        tap.make_lasting(firecracker.TAP, uid)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir("/")
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.execve(INIT, [INIT, "--", *argv], {"LC_ALL": "C"})
    except BaseException as error:
        os.write(_TELL, str(error).encode())
    os._exit(126)


def _file(path: str, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    os.ftruncate(fd, size)
    os.close(fd)


def put(process: int, path: str, name: str) -> None:
    """Have a file stand for another in a process's jail. Raise OSError."""
    tree = kernel.mapped_tree(path, -1)
    namespace = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _in_child(lambda: _show(namespace, tree, f"/{name}"))
    finally:
        os.close(namespace)
        os.close(tree)


def _show(namespace: int, tree: int, place: str) -> None:
    kernel.setns(namespace, kernel.CLONE_NEWNS)
    try:
        kernel.umount(place)
    except OSError:
        pass  # an empty slot's file is in the jail itself
    kernel.attach(tree, place)


def _in_child(work: Callable[[], None]) -> None:
    """A process that stays as it is cannot enter another's mount namespace and come back. Raise OSError."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    if number := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(number, os.strerror(number), "the jail")


def connect(directory: int, name: str) -> socket.socket:
    """To a socket in a directory whose owner may be hostile: no link is followed. Raise OSError."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(_CONNECT_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PORT_BUFFER)
        connection.connect(f"/proc/self/fd/{place}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(place)
    return connection
