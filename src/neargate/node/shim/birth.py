"""The steps by which a fork of the zygote becomes a shim: streams, record, namespaces, interface, socket.

Called by main.py, once, in order. Each raises OSError.
"""

import _thread
import contextlib
import gc
import json
import os
import signal
import socket
import sys
from typing import Any

from neargate.node import cgroup
from neargate.node.network.interface import Interface
from neargate.node.network.rtnetlink import RtNetlink
from neargate.node.shim import files, kernel

FIRST_BASE = 1 << 30


def become_a_shim(setup: dict[str, Any]) -> None:
    """A session and streams of its own, and the record by which a sweep finds what is made from here on."""
    os.setsid()
    kernel.set_name("neargate-shim")
    gc.unfreeze()
    null = os.open("/dev/null", os.O_RDWR)
    errors = os.open(f"{setup['directory']}/shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(fd, target)
    os.close(null)
    os.close(errors)
    started = files.read("/proc/self/stat").rpartition(")")[2].split()[19]
    record = {"pid": os.getpid(), "started": started, "directory": setup["directory"]}
    record["uid_base"] = setup["uid_base"]
    files.replace(setup["record"], json.dumps(record))


def join_group(instance: str) -> None:
    """Beside the rest, as it may wait 9 ms for the kernel's RCU; then the runtime's moves into cgroups
    need not.
    """
    _thread.start_new_thread(_join_group, (instance,))


def _join_group(instance: str) -> None:
    try:
        cgroup.join_shims(instance, os.getpid())
    except OSError as error:
        sys.stderr.write(f"stays in the daemon's cgroup: {error}\n")


def namespaces(setup: dict[str, Any]) -> tuple[Interface, int]:
    """Mounts and network of its own; the interface is up on return. And the user namespace, or -1."""
    kernel.become_subreaper()
    host = RtNetlink()
    user = -1
    if setup["uid_base"]:
        user, network = mapped_namespaces(setup["uid_base"])
        kernel.setns(network, kernel.CLONE_NEWNET)
        os.close(network)
        kernel.unshare(kernel.CLONE_NEWNS)
    else:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
    kernel.mount("none", setup["images"], None, kernel.MS_SLAVE)
    _runtime_state(setup["directory"])
    if user >= 0:
        _reachable(setup)
    interface = Interface(host, RtNetlink())
    interface.loopback()
    files.write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    wanted = setup["interface"]
    if wanted:
        interface.bring_up(wanted["names"], os.getpid(), wanted["mac"], wanted["address"], wanted["gateway"])
    return interface, user


def mapped_namespaces(base: int) -> tuple[int, int]:
    """A user namespace, and a network namespace that it owns; descriptors.

    Ids 0 to 65535 are `base` and on outside, the sandbox's own. Higher ones are themselves: they mean
    nobody on a host, and images and task definitions that use them work.
    """
    mapped = f"0 {base} 65536\n65536 65536 {FIRST_BASE - 65536 * 2}"
    user, network = _namespaces(mapped, mapped, ("user", "net"))
    return user, network


def user_namespace(uid_map: str, gid_map: str) -> int:
    """One that nothing ever runs in, for its maps; a descriptor."""
    return _namespaces(uid_map, gid_map, ("user",))[0]


def _namespaces(uid_map: str, gid_map: str, kinds: tuple[str, ...]) -> list[int]:
    child_waits, go = os.pipe2(os.O_CLOEXEC)
    parent_waits, made = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        kernel.unshare(kernel.CLONE_NEWUSER | (kernel.CLONE_NEWNET if "net" in kinds else 0))
        os.write(made, b"x")
        os.close(go)
        os.read(child_waits, 1)
        os._exit(0)
    os.close(child_waits)
    os.close(made)
    try:
        if not os.read(parent_waits, 1):
            raise OSError(1, "user namespaces are not allowed")
        files.write(f"/proc/{child}/uid_map", uid_map)
        files.write(f"/proc/{child}/gid_map", gid_map)
        return [os.open(f"/proc/{child}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    finally:
        os.close(go)
        os.close(parent_waits)
        os.waitpid(child, 0)


def _runtime_state(directory: str) -> None:
    """What the runtime is told and keeps of containers is in memory, and this namespace's alone: environments
    hold secrets, which are written to no disk.
    """
    os.makedirs(f"{directory}/rt", 0o700, exist_ok=True)
    kernel.mount("tmpfs", f"{directory}/rt", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=700,size=64m")


def _reachable(setup: dict[str, Any]) -> None:
    """Show the sandbox's directory where its mapped root may walk to (the data directory is the host's
    alone).
    """
    kernel.mount("tmpfs", setup["stage"], "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    os.mkdir(f"{setup['stage']}/s")
    os.chmod(setup["directory"], 0o711)
    kernel.mount(setup["directory"], f"{setup['stage']}/s", None, kernel.MS_BIND)


def pid_namespace(user_namespace: int) -> int:
    """The pause process: first in the namespace that the containers share; reaps what they leave."""
    read, write = os.pipe2(os.O_CLOEXEC)
    between = os.fork()
    if not between:
        if user_namespace >= 0:
            kernel.setns(user_namespace, kernel.CLONE_NEWUSER)
        kernel.unshare(kernel.CLONE_NEWPID)
        pause = os.fork()
        if pause:
            os.write(write, str(pause).encode())
            os._exit(0)
        signal.set_wakeup_fd(-1)
        os.closerange(3, 1024)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            signal.pause()
    os.close(write)
    os.waitpid(between, 0)
    pid = int(os.read(read, 32))
    os.close(read)
    return pid


def listen(directory: str) -> socket.socket:
    """The socket by which a later daemon finds this shim."""
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("shim.sock", dir_fd=here)
    listener.bind(f"/proc/self/fd/{here}/shim.sock")  # a socket's path has 108 characters at most
    listener.listen(8)
    listener.setblocking(False)
    os.close(here)
    return listener
