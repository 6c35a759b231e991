"""What a machine is told at its birth, and at its rehearsal: which sandbox it is. Pure, but for the message's
entropy and clock.

Called by supervisor.py and templates.py; guest/identity.py and guest/agent.py do as they are told. It is put
together here as far as it can be: in an emulated guest, each line that runs for the first time costs.
"""

import os
import struct
import time
from typing import Any

from neargate.node.guest import places
from neargate.node.network import rtnetlink as nl

_ENTROPY = 64
_REHEARSED = {"mac": "02:00:00:00:00:01", "address": "192.0.2.2", "gateway": "192.0.2.1"}
"""Of a rehearsal's interface (RFC 5737: nobody's addresses)."""


def message(op: str, told: dict[str, Any]) -> dict[str, Any]:
    """entropy -- struct rand_pool_info (random(4)), in hex. time -- nanoseconds."""
    entropy = struct.pack("=ii", _ENTROPY * 8, _ENTROPY) + os.urandom(_ENTROPY)
    return {"op": op, "entropy": entropy.hex(), "time": time.time_ns(), **told}


def told(
    setup: dict[str, Any], shared: list[dict[str, Any]], scratch_released: bool, known: list[list[str]]
) -> dict[str, Any]:
    """setup -- of the sandbox. shared -- its volumes that outlive it. known -- the rehearsal's writes.

    names -- host name and machine id. network -- requests to the kernel, in hex: for the hardware address,
    and for address and routes; None without an interface. files -- those kept open. writes -- (path, text) of
    other files, and of limits but for those that are known.
    """
    kept = {name: setup[name] for name in ("id", "cpu", "shared_pid")}
    interface = setup["interface"]
    others = {name: text for name, text in setup["files"].items() if name not in places.KEPT_OPEN}
    writes = [[f"{places.DIRECTORY}/{name}", text] for name, text in others.items()] + _limits(setup)
    return {
        "setup": kept | {"shared": shared, "scratch_released": scratch_released},
        "names": [setup["hostname"], f"{setup['id']}\n"],
        "network": _network(interface) if interface else None,
        "files": {name: setup["files"][name] for name in places.KEPT_OPEN},
        "writes": [write for write in writes if write not in known],
    }


def rehearsed(setup: dict[str, Any]) -> dict[str, Any]:
    """As `told`; `undo` takes the interface's address, and with it its routes, away again."""
    found = told(setup | {"interface": _REHEARSED}, [], False, [])
    undo = nl.joined([(nl.RTM_DELADDR, 0, nl.address_of(places.INDEX, _REHEARSED["address"]))])
    return found | {"undo": undo.hex()}


def _network(interface: dict[str, Any]) -> list[str]:
    mac = bytes.fromhex(interface["mac"].replace(":", ""))
    index, gateway = places.INDEX, interface["gateway"]
    new = nl.NLM_F_CREATE | nl.NLM_F_REPLACE
    requests = [
        (nl.RTM_NEWADDR, new, nl.address_of(index, interface["address"])),
        (nl.RTM_NEWROUTE, new, nl.route(gateway, index)),
        (nl.RTM_NEWROUTE, new, nl.route(None, index, gateway)),
    ]
    return [nl.hardware_address(places.INTERFACE, mac).hex(), nl.joined(requests).hex()]


def _limits(setup: dict[str, Any]) -> list[list[str]]:
    """As cgroup.Group.limit; a machine has no swap, and no other sandbox that would want processors."""
    limits = {"memory.max": setup["memory"], "pids.max": setup["pids"]}
    return [[f"{places.GROUP_DIRECTORY}/{name}", str(value)] for name, value in limits.items()]
