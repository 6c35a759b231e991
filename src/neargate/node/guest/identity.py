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
_INTERFACE = "eth0"


class Identity:
    """Made before the template is frozen, with all open that it takes."""

    def __init__(self) -> None:
        """Does what of the network is the same in every clone. (Version 6 of IP has no addresses here, and
        would only look for neighbours.) Raise OSError."""
        files.write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        files.write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")
        self._netlink = nl.RtNetlink()
        self._index = self._netlink.find(_INTERFACE)
        for index in (1, self._index):
            self._netlink.up(index)
        self._pool = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
        self._machine_id = os.open(MACHINE_ID, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(self, born: dict[str, Any]) -> None:
        """Raise OSError."""
        self._reseed(bytes.fromhex(born["entropy"]))
        time.clock_settime(time.CLOCK_REALTIME, born["time"])
        setup = born["setup"]
        socket.sethostname(setup["hostname"])
        os.pwrite(self._machine_id, f"{setup['id']}\n".encode(), 0)  # they are all of one length
        if setup["interface"]:
            self._address(setup["interface"])

    def _reseed(self, entropy: bytes) -> None:
        """Both are needed: the first only stirs the pool, the second draws a new key out of it."""
        request = struct.pack("=ii", len(entropy) * 8, len(entropy)) + entropy
        fcntl.ioctl(self._pool, _RNDADDENTROPY, request)
        fcntl.ioctl(self._pool, _RNDRESEEDCRNG)

    def _address(self, interface: dict[str, str]) -> None:
        netlink, index = self._netlink, self._index
        netlink.set_mac(_INTERFACE, bytes.fromhex(interface["mac"].replace(":", "")))
        netlink.add_address(index, interface["address"])
        netlink.add_route(interface["gateway"], index)
        netlink.add_route(None, index, interface["gateway"])
