"""What a load balancer may be led to. Asked by node/balancer/checker.py before each health check.

Targets are whatever address somebody registered. The firewall keeps Envoy from this machine itself and from
other daemons' tasks; checks are the daemon's own connections, which no rule can tell from its others.
"""

import socket

from neargate.node.network import rtnetlink as nl
from neargate.node.network.interface import prefix


def may_be_checked(instance: str, address: str) -> bool:
    """Whether it is neither this machine, nor another daemon's task, nor a service of the link."""
    if address.startswith("169.254."):
        return False
    netlink = nl.RtNetlink()
    try:
        kind, index = netlink.way(address)
        name = socket.if_indextoname(index) if index else ""
    except OSError:
        return False
    finally:
        netlink.close()
    ours = name.startswith(prefix(instance))
    return kind == nl.RTN_UNICAST and (ours or not name.startswith(prefix("")))
