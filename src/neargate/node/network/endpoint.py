"""The way from a task to 169.254.170.2: a daemon's own address on this machine, listeners on it, and the one
hole in the firewall that leads there.

Called by main before the agent starts. No listener stands in any task's namespace, so all tiers have the
same way: out of the task's interface, where the firewall turns 169.254.170.2 into the daemon's address. That
is the fourth of its VPC range, which AWS keeps and no task is given; daemons side by side have their own.
"""

import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from neargate.node.network import firewall, local

_RESERVED = 3
_BACKLOG = 256
_FIRST_PORT, _PORTS = 20_000, 10_000


def own_address(vpc_cidr: str) -> str:
    return str(ipaddress.IPv4Network(vpc_cidr).network_address + _RESERVED)


@asynccontextmanager
async def opened(instance: str, vpc_cidr: str, ports: Sequence[int]) -> AsyncIterator[list[socket.socket]]:
    """A listening socket for each port of 169.254.170.2. Raise OSError, FirewallError.

    The hole stays when this ends: tasks outlive a daemon, and the next one makes it anew.
    """
    address = own_address(vpc_cidr)
    local.add(address)
    with contextlib.ExitStack() as stack:
        stack.callback(remove, vpc_cidr)
        first = _FIRST_PORT + int(instance, 16) % _PORTS
        listeners = [stack.enter_context(_listener(address, first + i)) for i in range(len(ports))]
        own = [listener.getsockname()[1] for listener in listeners]
        await firewall.open_endpoint(instance, address, dict(zip(ports, own, strict=True)))
        yield listeners


def remove(vpc_cidr: str) -> None:
    """Take the address off the machine."""
    local.remove(own_address(vpc_cidr))


def _listener(address: str, port: int) -> socket.socket:
    """On `port` if it is free, so that connections begun while no daemon ran find the next one; else on any:
    another program's listener on all addresses may have it.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            listener.bind((address, 0))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
