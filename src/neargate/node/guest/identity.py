"""What makes a clone a machine of its own, before any container runs: entropy, clock, names, addresses.

Called by agent.py once, with the supervisor's `born` message. A clone of a template would otherwise draw the
same random bytes as its siblings and believe that it is the moment of the template's boot.
"""

import fcntl
import os
import time
from typing import Any

from neargate.node.guest import places
from neargate.node.network import rtnetlink as nl
from neargate.node.shim import files, kernel

_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
MACHINE_ID = "/etc/machine-id"


class Identity:
    """Made before the template is frozen, with all open that it takes."""

    def __init__(self) -> None:
        """Does what of the network is the same in every clone. (Version 6 of IP has no addresses here, and
        would only look for neighbours.) Raise OSError."""
        files.write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        files.write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")
        self._netlink = nl.RtNetlink()
        if self._netlink.find(places.INTERFACE) != places.INDEX:
            raise OSError(f"{places.INTERFACE} is not interface {places.INDEX}")
        for index in (1, places.INDEX):
            self._netlink.up(index)
        self._pool = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
        self._machine_id = os.open(MACHINE_ID, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(self, born: dict[str, Any]) -> None:
        """born -- by vmm/birth.py. Raise OSError."""
        entropy = bytearray.fromhex(born["entropy"])
        # Both are needed: the first only stirs the pool, the second draws a new key out of it. (It takes no
        # argument; an int, as there is none, would be taken for two other things first.)
        fcntl.ioctl(self._pool, _RNDADDENTROPY, entropy)
        fcntl.ioctl(self._pool, _RNDRESEEDCRNG, entropy)
        time.clock_settime_ns(time.CLOCK_REALTIME, born["time"])
        hostname, machine_id = born["names"]
        kernel.set_host_name(hostname)
        os.pwrite(self._machine_id, machine_id.encode(), 0)  # they are all of one length
        if born["network"]:
            hardware, rest = born["network"]
            self._netlink.ask_older(bytes.fromhex(hardware))
            self._netlink.send_joined(bytes.fromhex(rest))

    def forget(self, undo: str) -> None:
        """The interface's address: a rehearsal is over. Raise OSError."""
        self._netlink.send_joined(bytes.fromhex(undo))
