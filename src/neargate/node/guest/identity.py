"""What makes a clone a machine of its own, before any container runs: entropy, clock, names, addresses.

Called by agent.py once, with the supervisor's `born` message. A clone of a template would otherwise draw the
same random bytes as its siblings and believe that it is the moment of the template's boot.
"""

import fcntl
import os
import socket
import struct
import time
from typing import Any

from neargate.node.network import rtnetlink as nl
from neargate.node.shim import files

_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
MACHINE_ID = "/etc/machine-id"


def take(born: dict[str, Any]) -> None:
    """Raise OSError."""
    entropy = bytes.fromhex(born["entropy"])
    _reseed(entropy)
    time.clock_settime(time.CLOCK_REALTIME, born["time"])
    setup = born["setup"]
    socket.sethostname(setup["hostname"])
    files.write(MACHINE_ID, f"{setup['id']}\n")
    if setup["interface"]:
        _address(setup["interface"])


def _reseed(entropy: bytes) -> None:
    """Both are needed: the first only stirs the pool, the second draws a new key out of it."""
    fd = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
    try:
        request = struct.pack("=ii", len(entropy) * 8, len(entropy)) + entropy
        fcntl.ioctl(fd, _RNDADDENTROPY, request)
        fcntl.ioctl(fd, _RNDRESEEDCRNG)
    finally:
        os.close(fd)


def links_up() -> None:
    """What of the network is the same in every clone. (Version 6 of IP has no addresses here, and would only
    look for neighbours.)"""
    files.write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    files.write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")
    netlink = nl.RtNetlink()
    try:
        netlink.up(1)
        netlink.up(netlink.find("eth0"))
    finally:
        netlink.close()


def _address(interface: dict[str, str]) -> None:
    netlink = nl.RtNetlink()
    try:
        index = netlink.find("eth0")
        mac = nl.attribute(nl.IFLA_ADDRESS, bytes.fromhex(interface["mac"].replace(":", "")))
        netlink.request(nl.RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0) + mac)
        netlink.add_address(index, interface["address"])
        netlink.add_route(interface["gateway"], index)
        netlink.add_route(None, index, interface["gateway"])
    finally:
        netlink.close()
