"""Has the kernel lead what preserves its client's address (model/spread.py), and ends flows to targets that
are gone. Called by plane.py with each view, and by counters.py.

Where the kernel cannot, Envoy carries: it listens at the same ports in any case.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from neargate.model.balancing import View
from neargate.model.spread import Place, Spread, spreads
from neargate.model.traffic import led
from neargate.node.network import conntrack
from neargate.node.network import spread as table
from neargate.node.network.nft import FirewallError

log = logging.getLogger(__name__)


class Kernel:
    def __init__(self, instance: str, vpc_cidr: str) -> None:
        self._instance = instance
        self._vpc_cidr = vpc_cidr
        self._led: list[Spread] | None = None

    async def take(self, view: View) -> None:
        wanted = spreads(view, self._vpc_cidr)
        if wanted == self._led:
            return
        new, before, self._led = self._led is None, self._led or (), wanted
        try:
            await table.lead(self._instance, wanted)
            if (new and wanted) or _kept(before) - _kept(wanted):
                await asyncio.to_thread(_sweep, wanted, before)
        except (FirewallError, OSError) as error:
            log.error("clients' addresses are not preserved: %s", error)
            await table.remove(self._instance)

    async def counts(self) -> dict[str, float]:
        """What it leads, by the names of model/traffic.py. Raise OSError, FirewallError."""
        addresses = {address for spread in self._led or () for address in spread.addresses}
        if not addresses:
            return {}
        leads = any(spread.ends for spread in self._led or ())
        found = await table.counted(self._instance) if leads else {}
        active = Counter(flow.asked[0] for flow in await asyncio.to_thread(conntrack.led))
        return {
            name: float(value)
            for address in addresses
            for name, value in (
                (led(address, "flows"), found.get(address, table.Count()).flows),
                (led(address, "moved"), found.get(address, table.Count()).moved),
                (led(address, "active"), active[address]),
            )
        }


def _sweep(wanted: Sequence[Spread], before: Sequence[Spread]) -> None:
    """Forget flows that were led where nothing leads any more, or to a target that is gone."""
    ours = {address for spread in (*wanted, *before) for address in spread.addresses}
    kept = _kept(wanted)
    conntrack.forget(
        flow
        for flow in conntrack.led()
        if flow.asked[0] in ours and (flow.transport, flow.asked, flow.target) not in kept
    )


def _kept(spreads: Sequence[Spread]) -> set[tuple[str, Place, Place]]:
    """Transport, where a client sends and to which target: flows that go on."""
    return {
        (spread.transport, (address, spread.port), target)
        for spread in spreads
        for address in spread.addresses
        for target in spread.kept
    }
