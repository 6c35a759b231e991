"""What the kernel leads past Envoy: a table of the daemon's, and the flows that it has begun. Called by
node/balancer/kernel.py.

The destination alone is changed, so a target sees its client; answers find the way back as all traffic of
tasks passes this machine. Whatever is led to this machine itself, which no task is, is dropped.

For each address it is counted how many flows have begun (once each, behind the firewall) and how many bytes
they have moved. A table that is made anew goes on counting where the one before stood.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from neargate.model.spread import TOTAL, Spread
from neargate.node.network.firewall import table_name
from neargate.node.network.nft import FirewallError, listed, nft


class Count(NamedTuple):
    flows: int = 0
    moved: int = 0
    """Bytes, both ways."""


def rules(instance: str, wanted: Sequence[Spread], before: Mapping[str, Count] | None = None) -> str:
    """The table, as nft reads it. before -- what was counted so far, by address."""
    table = f"inet {table_name(instance)}_spread"
    led = [spread for spread in wanted if spread.ends]
    ours = sorted({address for spread in led for address in spread.addresses})
    addresses = ", ".join(ours)
    if not led:
        return f"table {table}\ndelete table {table}\n"
    return f"""
table {table}
delete table {table}
table {table} {{
{_counters(ours, before or {})}
  chain led {{
{chr(10).join(f"    {_rule(spread)}" for spread in led)}
  }}
  chain from_others {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {{ {addresses} }} jump led
  }}
  chain from_here {{
    type nat hook output priority -100; policy accept;
    ip daddr {{ {addresses} }} jump led
  }}
  chain to_here {{
    type filter hook input priority filter; policy accept;
    ct direction original ct status dnat ct original ip daddr {{ {addresses} }} drop
  }}
  chain begun {{
    type nat hook postrouting priority srcnat - 10; policy accept;
    ct status dnat counter name ct original ip daddr map @flows
  }}
{_moved}}}
"""


_moved = "".join(
    f"""  chain moved_{hook} {{
    type filter hook {hook} priority filter + 10; policy accept;
    ct status dnat counter name ct original ip daddr map @moved
  }}
"""
    for hook in ("forward", "output", "input")
)


def _counters(addresses: Sequence[str], before: Mapping[str, Count]) -> str:
    lines = []
    for address in addresses:
        count = before.get(address, Count())
        lines.append(f"  counter flows_{address} {{ packets {count.flows} bytes 0 }}")
        lines.append(f"  counter moved_{address} {{ packets 0 bytes {count.moved} }}")
    for kind in Count._fields:
        elements = ", ".join(f'{address} : "{kind}_{address}"' for address in addresses)
        lines.append(f"  map {kind} {{ type ipv4_addr : counter; elements = {{ {elements} }} }}")
    return "\n".join(lines)


def _rule(spread: Spread) -> str:
    draw = f"jhash ip saddr mod {TOTAL} seed 1" if spread.by_source else f"numgen random mod {TOTAL}"
    begin, parts = 0, []
    for end, (address, port) in spread.ends:
        parts.append(f"{begin}-{end - 1} : {address} . {port}")
        begin = end
    at = f"ip daddr {{ {', '.join(spread.addresses)} }} {spread.transport} dport {spread.port}"
    return f"{at} dnat ip to {draw} map {{ {', '.join(parts)} }}"


async def lead(instance: str, wanted: Sequence[Spread]) -> None:
    """Lead exactly these from now on; what has begun goes on. Raise FirewallError."""
    before: Mapping[str, Count] = {}
    with contextlib.suppress(FirewallError):  # there is none yet
        before = await counted(instance)
    await nft(rules(instance, wanted, before))


async def counted(instance: str) -> dict[str, Count]:
    """By address. Raise FirewallError, also where nothing is led."""
    found: dict[str, Count] = {}
    for entry in await listed("counters", "table", "inet", f"{table_name(instance)}_spread"):
        counter = entry.get("counter")
        if counter is None:
            continue
        kind, _, address = counter["name"].partition("_")
        count = found.get(address, Count())
        found[address] = (
            count._replace(flows=counter["packets"])
            if kind == "flows"
            else count._replace(moved=counter["bytes"])
        )
    return found


async def remove(instance: str) -> None:
    with contextlib.suppress(FirewallError, FileNotFoundError):
        await lead(instance, ())
