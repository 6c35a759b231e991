"""Balancers' addresses on this machine: local routes, so that no interface has them.

Called by node/balancer/plane.py; tasks' way there is in firewall.py. The routes have a protocol number that
is ours, so that those of a killed daemon are found again.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable

from neargate.node.network import local
from neargate.node.network import rtnetlink as nl

PROTOCOL = 87
"""Of the routes: which program made them, by the kernel's custom (no other is registered with it)."""


def own(vpc_cidr: str, wanted: Iterable[str]) -> None:
    """Make exactly these addresses of the daemon's range this machine's own. Raise OSError."""
    wanted = set(wanted)
    netlink = nl.RtNetlink()
    try:
        found = set(_routes(netlink, vpc_cidr))
        for address in wanted - found:
            local.change(netlink, nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, address, PROTOCOL)
        for address in found - wanted:
            local.change(netlink, nl.RTM_DELROUTE, 0, address, PROTOCOL)
    finally:
        netlink.close()


def _routes(netlink: nl.RtNetlink, vpc_cidr: str) -> Iterable[str]:
    """Those of ours that lie in the range."""
    network = ipaddress.IPv4Network(vpc_cidr)
    for body in netlink.dump(nl.RTM_GETROUTE, struct.pack("=BBBBBBBBI", socket.AF_INET, *[0] * 8)):
        _family, length, _, _, table, protocol, _, kind, _ = struct.unpack_from("=BBBBBBBBI", body)
        if (length, table, protocol, kind) != (32, nl.RT_TABLE_LOCAL, PROTOCOL, nl.RTN_LOCAL):
            continue
        address = socket.inet_ntoa(nl.attributes(body[12:])[nl.RTA_DST])
        if ipaddress.IPv4Address(address) in network:
            yield address
