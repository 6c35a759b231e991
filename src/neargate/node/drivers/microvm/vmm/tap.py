"""A machine's network interface on the host: a tap with the routes that a veth of the other tiers has.

Called by launch.py (make) and supervisor.py (settle). It is made under any name, as a clone kept ready
has none yet, and goes with its last descriptor, so with QEMU. The name's prefix puts it under the
firewall's rules.
"""

import fcntl
import os
import struct

from neargate.node.network import rtnetlink as nl
from neargate.node.network.interface import EEXIST
from neargate.node.shim import kernel

_TUNSETIFF = 0x400454CA
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


def settle(name: str, names: list[str], address: str, gateway: str) -> str:
    """Give it one of `names`, the gateway's address and the route to the task; up. Raise OSError."""
    netlink = nl.RtNetlink()
    try:
        index = netlink.find(name)
        for wanted in names:
            try:
                _rename(netlink, index, wanted)
            except OSError as error:
                if error.errno != EEXIST or wanted == names[-1]:
                    raise
            else:
                name = wanted
                break
        netlink.up(index)
        netlink.add_address(index, gateway)
        netlink.add_route(address, index)
    finally:
        netlink.close()
    return name


def _rename(netlink: nl.RtNetlink, index: int, name: str) -> None:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    netlink.request(nl.RTM_NEWLINK, 0, body + nl.attribute(nl.IFLA_IFNAME, name.encode() + b"\0"))
