"""The firewall table of one daemon: NAT for its tasks, and what tasks must not reach. Called by
node/shimmed.

One table `inet neargate_<instance>`, made whole in one transaction. Interfaces are matched by the
daemon's prefix, so a task's start and end touch no rule. Security groups get their chain in `forward`.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from neargate.model import addresses, endpoints
from neargate.node.network.interface import prefix
from neargate.node.network.nft import FirewallError, nft

_CARRIER = 3_500_000_000
"""Above what distributions give to users or to user namespaces; each daemon's has its own."""
_CONNECTIONS = 4096
"""Of one task to all load balancers together: Envoy's are everybody's."""
_FOLLOWED, _SHARES = Path("/proc/sys/net/netfilter/nf_conntrack_max"), 16
"""What the kernel follows of flows at most, and how many tasks it takes to use it up."""


def table_name(instance: str) -> str:
    return f"neargate_{instance}"


def carrier(instance: str) -> int:
    """The user as whom requests are carried to targets (node/balancer/envoy.py)."""
    return _CARRIER + int(instance, 16)


def rules(instance: str, vpc_cidr: str, most_flows: int = 0) -> str:
    """The table, as nft reads it.

    most_flows -- that the kernel follows for one task at a time: its table of them is everybody's. 0: any.

    Sources are checked against the routes (a task owns one address). Tasks reach nothing of the host
    itself (the door included) but answers and echo, no other daemon's tasks, and no link-local service
    (a cloud's metadata) but their own endpoint, for which `open_endpoint` fills the two empty chains, and
    what load balancers listen on (`open_balancers`). Nor does who carries requests for them, whatever is
    registered as a target: neither what tasks may not reach, nor its own listeners, in a circle.
    """
    ours = f'"{prefix(instance)}*"'
    # What node/resolver/way.py leads there: nothing, as long as there is no resolver.
    asked = f"ct original ip daddr {addresses.resolver(vpc_cidr)}"
    many = f"ct state new add @flows {{ ip saddr ct count over {most_flows} }} drop"
    followed = f"iifname {ours} {many}" if most_flows else ""
    to_resolver = f"ct status dnat {asked} meta l4proto {{ tcp, udp }} ct original proto-dst 53"
    return f"""
table inet {table_name(instance)}
delete table inet {table_name(instance)}
table inet {table_name(instance)} {{
  chain spoofed {{
    type filter hook prerouting priority raw; policy accept;
    iifname {ours} fib saddr . iif oif missing drop
  }}
  chain endpoint_dnat {{
    type nat hook prerouting priority dstnat; policy accept;
  }}
  chain endpoint {{
  }}
  set busy {{
    type ipv4_addr
    size 65535
    flags dynamic
  }}
  set flows {{
    type ipv4_addr
    size 65535
    flags dynamic
  }}
  chain followed {{
    type filter hook prerouting priority mangle; policy accept;
    {followed}
  }}
  chain balancers {{
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    jump endpoint
    iifname {ours} {to_resolver} accept
    iifname {ours} jump balancers
    iifname {ours} jump to_host
  }}
  chain to_host {{
    ct state established,related accept
    icmp type echo-request accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname {ours} oifname {ours} accept
    iifname {ours} oifname "ng*" drop
    iifname {ours} ip daddr 169.254.0.0/16 drop
    oifname {ours} ct state established,related accept
  }}
  chain carried {{
    type filter hook output priority filter; policy accept;
    meta skuid {carrier(instance)} ct state new jump to_targets
  }}
  chain to_targets {{
    fib daddr type local reject
    oifname {ours} accept
    oifname "ng*" reject
    ip daddr 169.254.0.0/16 reject
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    iifname {ours} ip saddr {vpc_cidr} ip daddr != {vpc_cidr} masquerade
  }}
}}
"""


async def install(instance: str, vpc_cidr: str) -> None:
    """The way to load balancers, which outlive a daemon, stays open meanwhile."""
    kept = await _chain(instance, "balancers")
    try:
        await nft(rules(instance, vpc_cidr, _most_flows()) + kept)
    except FirewallError:  # a kernel without nft_connlimit
        await nft(rules(instance, vpc_cidr) + kept)


def _most_flows() -> int:
    """A share of what this machine follows; 0 if it does not say."""
    try:
        return int(_FOLLOWED.read_text()) // _SHARES
    except (OSError, ValueError):
        return 0


async def _chain(instance: str, name: str) -> str:
    """A chain as it is now, as nft reads it; empty if there is none."""
    process = await asyncio.create_subprocess_exec(
        "nft", "list", "chain", "inet", table_name(instance), name,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _errors = await process.communicate()
    return "" if process.returncode else output.decode()


def balancer_rules(instance: str, ports: Sequence[tuple[str, str, int]], *, bound: bool = True) -> str:
    """Let tasks reach these (address, tcp or udp, port), by so many connections at a time.

    bound -- see `endpoint_rules`; the connections are counted.
    """
    table = f"inet {table_name(instance)}"
    lines = [f"flush chain {table} balancers"]
    if bound:
        many = f"add @busy {{ ip saddr ct count over {_CONNECTIONS} }}"
        lines.append(f"add rule {table} balancers meta l4proto tcp ct state new {many} reject with tcp reset")
    for protocol in ("tcp", "udp"):
        if found := [f"{address} . {port}" for address, of, port in ports if of == protocol]:
            to = f"ip daddr . {protocol} dport {{ {', '.join(found)} }}"
            lines.append(f"add rule {table} balancers {to} {'socket wildcard 0 ' if bound else ''}accept")
    return "\n".join(lines) + "\n"


async def open_balancers(instance: str, ports: Sequence[tuple[str, str, int]]) -> None:
    """Raise FirewallError."""
    try:
        await nft(balancer_rules(instance, ports))
    except FirewallError:  # a kernel without nft_socket or nft_connlimit
        await nft(balancer_rules(instance, ports, bound=False))


def endpoint_rules(instance: str, address: str, ports: Mapping[int, int], *, bound: bool = True) -> str:
    """Lead tasks from 169.254.170.2 to the daemon's own address; nobody else, and nothing else, gets there.

    ports -- of 169.254.170.2 -> of the address. bound -- the listener must stand on that very address: while
    no daemon runs, one of another program's on all addresses is no way out.
    """
    table, ours = f"inet {table_name(instance)}", f'"{prefix(instance)}*"'
    to = f"iifname {ours} ip daddr {endpoints.ADDRESS} tcp dport"
    known = f"iifname {ours} ct original ip daddr {endpoints.ADDRESS} ip daddr {address} tcp dport"
    inside = "{ " + ", ".join(str(port) for port in ports.values()) + " }"
    lines = [f"flush chain {table} endpoint_dnat", f"flush chain {table} endpoint"]
    lines += [
        f"add rule {table} endpoint_dnat {to} {outer} dnat ip to {address}:{inner}"
        for outer, inner in ports.items()
    ]
    lines.append(f"add rule {table} endpoint {known} {inside} ct state established accept")
    lines.append(f"add rule {table} endpoint {known} {inside} {'socket wildcard 0 ' if bound else ''}accept")
    lines.append(f"add rule {table} endpoint ip daddr {address} drop")
    return "\n".join(lines) + "\n"


async def open_endpoint(instance: str, address: str, ports: Mapping[int, int]) -> None:
    try:
        await nft(endpoint_rules(instance, address, ports))
    except FirewallError:  # a kernel without nft_socket
        await nft(endpoint_rules(instance, address, ports, bound=False))


async def close_balancers(instance: str) -> None:
    with contextlib.suppress(FirewallError):  # there is no table any more
        await nft(balancer_rules(instance, ()))


async def remove(instance: str) -> None:
    name = table_name(instance)
    await nft(f"table inet {name}\ndelete table inet {name}\n")
