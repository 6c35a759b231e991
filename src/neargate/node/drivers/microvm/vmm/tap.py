"""A machine's network interface on the host: a tap with the routes that a veth of the other tiers has.

Called by the kinds of machines. QEMU's is made under any name, as a clone kept ready has none yet, and goes
with its last descriptor, so with QEMU. Firecracker opens one by its name, so it must outlast its maker's
descriptor: it is made in the machine's own network namespace, goes with that while it is nobody's yet, and
is brought here under the sandbox's name, by which it is found and removed. The name's prefix puts it
under the firewall's rules.
"""

import fcntl
import os
import struct
from collections.abc import Callable

from neargate.node.network import rtnetlink as nl
from neargate.node.network.interface import EEXIST
from neargate.node.shim import kernel

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFLA_NET_NS_FD = 28
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def make() -> tuple[int, str]:
    """(descriptor, name). Down, and with no address."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("=16sH22x", b"ngnew%d", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        name = fcntl.ioctl(fd, _TUNSETIFF, request)[:16].rstrip(b"\0").decode()
    except OSError:
        os.close(fd)
        raise
    return fd, name


def make_apart() -> tuple[int, str]:
    """One in a network namespace that nobody is in: for a template, or a task without interface."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
        try:
            return make()
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
    finally:
        os.close(home)


def make_lasting(name: str, owner: int) -> None:
    """In the namespace that this process is in, for one user to open. Raise OSError."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("=16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(fd, _TUNSETIFF, request)
        # Python takes no number of 32 bits without a sign; the kernel takes these for the user's own
        fcntl.ioctl(fd, _TUNSETOWNER, owner - (1 << 32) if owner >> 31 else owner)
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)


def settle(name: str, names: list[str], address: str, gateway: str) -> str:
    """Give it one of `names`, the gateway's address and the route to the task; up. Raise OSError."""
    netlink = nl.RtNetlink()
    try:
        index = netlink.find(name)
        name = _first_free(names, lambda wanted: _rename(netlink, index, wanted))
        _serve(netlink, index, address, gateway)
    finally:
        netlink.close()
    return name


def bring(pid: int, name: str, names: list[str], address: str, gateway: str) -> str:
    """As `settle`, of a tap in the network namespace of a process. Raise OSError."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netlink = nl.RtNetlink()
    try:
        there = _netlink_of(pid, home)
        try:
            index = there.find(name)
            name = _first_free(names, lambda wanted: _move(there, index, wanted, home))
        finally:
            there.close()
        _serve(netlink, netlink.find(name), address, gateway)
    finally:
        netlink.close()
        os.close(home)
    return name


def remove(name: str) -> None:
    """Nothing of that name is fine."""
    netlink = nl.RtNetlink()
    try:
        if index := netlink.find(name):
            netlink.delete_link(index)
    finally:
        netlink.close()


def _first_free(names: list[str], take: Callable[[str], None]) -> str:
    for name in names[:-1]:
        try:
            take(name)
        except OSError as error:
            if error.errno != EEXIST:
                raise
        else:
            return name
    take(names[-1])
    return names[-1]


def _serve(netlink: nl.RtNetlink, index: int, address: str, gateway: str) -> None:
    netlink.check_sources(index)
    netlink.up(index)
    netlink.add_address(index, gateway)
    netlink.add_route(address, index)


def _netlink_of(pid: int, home: int) -> nl.RtNetlink:
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(there, kernel.CLONE_NEWNET)
        try:
            return nl.RtNetlink()
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
    finally:
        os.close(there)


def _move(netlink: nl.RtNetlink, index: int, name: str, namespace: int) -> None:
    """In two steps: with both in one request, the kernel moves it first, and then refuses a name that is
    taken there."""
    _rename(netlink, index, name)
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    netlink.request(nl.RTM_NEWLINK, 0, body + nl.attribute(_IFLA_NET_NS_FD, struct.pack("=i", namespace)))


def _rename(netlink: nl.RtNetlink, index: int, name: str) -> None:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    netlink.request(nl.RTM_NEWLINK, 0, body + nl.attribute(nl.IFLA_IFNAME, name.encode() + b"\0"))
