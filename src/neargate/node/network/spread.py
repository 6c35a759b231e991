"""What the kernel leads past Envoy: a table of the daemon's, and the flows that it has begun. Called by
node/balancer/kernel.py.

The destination alone is changed, so a target sees its client; answers find the way back as all traffic of
tasks passes this machine. Whatever is led to this machine itself, which no task is, is dropped.
"""

import contextlib
from collections.abc import Sequence

from neargate.model.spread import TOTAL, Spread
from neargate.node.network.firewall import table_name
from neargate.node.network.nft import FirewallError, nft


def rules(instance: str, wanted: Sequence[Spread]) -> str:
    """The table, as nft reads it."""
    table = f"inet {table_name(instance)}_spread"
    led = [spread for spread in wanted if spread.ends]
    addresses = ", ".join(sorted({address for spread in led for address in spread.addresses}))
    if not led:
        return f"table {table}\ndelete table {table}\n"
    return f"""
table {table}
delete table {table}
table {table} {{
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
}}
"""


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
    await nft(rules(instance, wanted))


async def remove(instance: str) -> None:
    with contextlib.suppress(FirewallError, FileNotFoundError):
        await lead(instance, ())
