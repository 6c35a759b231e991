"""Addresses that are this machine's by a local route, without being on an interface.

Called by endpoint.py, balancers.py and node/resolver/way.py: each has addresses of this kind.
"""

import contextlib
import socket
import struct

from neargate.node.network import rtnetlink as nl


def add(address: str) -> None:
    """Raise OSError."""
    with contextlib.closing(nl.RtNetlink()) as netlink:
        change(netlink, nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, address)


def remove(address: str) -> None:
    """Nothing, where it is not there. Raise OSError."""
    with contextlib.closing(nl.RtNetlink()) as netlink, contextlib.suppress(ProcessLookupError):  # ESRCH
        change(netlink, nl.RTM_DELROUTE, 0, address)


def change(
    netlink: nl.RtNetlink, kind: int, flags: int, address: str, protocol: int = nl.RTPROT_STATIC
) -> None:
    """protocol -- by which routes of one kind are found again. Raise OSError."""
    body = nl.route_head(32, nl.RT_SCOPE_HOST, nl.RTN_LOCAL, nl.RT_TABLE_LOCAL, protocol)
    body += nl.attribute(nl.RTA_DST, socket.inet_aton(address))
    body += nl.attribute(nl.RTA_OIF, struct.pack("=i", socket.if_nametoindex("lo")))
    netlink.request(kind, flags, body)
