"""The way from a task to the resolver: the second address of its VPC, port 53, and nothing else of it.

Called by keeper.py. The address is this machine's by a local route, as the one of the tasks' endpoint is
(network/endpoint.py). The resolver is at a port of no rank, since another program may hold port 53 of all
addresses. A table of its own leads tasks there, which a new daemon does not make anew: names are answered
while it starts.
"""

import asyncio
import contextlib

from neargate.model import addresses
from neargate.node.network import local
from neargate.node.network.firewall import table_name
from neargate.node.network.interface import prefix
from neargate.node.network.nft import FirewallError, nft
from neargate.node.resolver.bounds import PACKETS_PER_SECOND

PORT = 53
_FIRST_PORT, _PORTS = 30_000, 2_000


def first_port(instance: str) -> int:
    """Where to begin to look for a free one: daemons side by side have their own."""
    return _FIRST_PORT + int(instance, 16) % _PORTS


def rules(instance: str, address: str, port: int) -> str:
    """The firewall's own table lets in what this has led here (network/firewall.py).

    More datagrams than a task may send (bounds.py) are dropped before they take others' places in the queue.
    """
    table = f"inet {table_name(instance)}_names"
    most = PACKETS_PER_SECOND
    to = f'iifname "{prefix(instance)}*" ip daddr {address}'
    return f"""
table {table}
delete table {table}
table {table} {{
  set busy {{
    type ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 10s
  }}
  chain heard {{
    type filter hook prerouting priority raw; policy accept;
    {to} udp dport {PORT} update @busy {{ ip saddr limit rate over {most}/second burst {most} packets }} drop
  }}
  chain asked {{
    type nat hook prerouting priority dstnat; policy accept;
    {to} udp dport {PORT} dnat ip to {address}:{port}
    {to} tcp dport {PORT} dnat ip to {address}:{port}
  }}
}}
"""


async def open_address(vpc_cidr: str) -> None:
    """Make the address this machine's. Raise OSError."""
    await asyncio.to_thread(local.add, addresses.resolver(vpc_cidr))


async def lead(instance: str, vpc_cidr: str, port: int) -> None:
    """Raise FirewallError."""
    await nft(rules(instance, addresses.resolver(vpc_cidr), port))


async def remove(instance: str, vpc_cidr: str) -> None:
    await asyncio.to_thread(local.remove, addresses.resolver(vpc_cidr))
    table = f"inet {table_name(instance)}_names"
    with contextlib.suppress(FirewallError, FileNotFoundError):
        await nft(f"table {table}\ndelete table {table}\n")
