"""Reads Envoy's counters, and the kernel's, each minute and hands over what happened as metrics; more often
where a group scales to zero, whose traffic has to be seen in time. Run by plane.py.

The first reading of a daemon only says where it begins: the minute of a restart counts in part.
"""

import logging
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.model import traffic, traffic_connect
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.balancing import EMPTY, View, enabled
from neargate.model.traffic import Between, Reading
from neargate.node.balancer.base import BalancerCell, CellError
from neargate.node.balancer.envoy import Envoy
from neargate.node.balancer.kernel import Kernel
from neargate.node.network.nft import FirewallError

log = logging.getLogger(__name__)
_MINUTE = 60.0
_OFTEN = 10.0


class Counters:
    def __init__(self, cell: BalancerCell, envoy: Envoy, kernel: Kernel, clock: Clock) -> None:
        self._cell = cell
        self._envoy = envoy
        self._kernel = kernel
        self._clock = clock
        self.view: View = EMPTY
        """The newest; set by plane.py."""

    async def run(self) -> NoReturn:
        before: Reading | None = None
        while True:
            try:
                after = await self._read()
                if before is not None:
                    await self._hand_over(Between(before, after))
                before = after
            except (CellError, OSError, FirewallError) as error:
                log.warning("load balancing is not counted: %s", error)
            every = _OFTEN if self._some_sleep() else _MINUTE
            await self._clock.sleep(every - self._clock.now() % every)

    async def _read(self) -> Reading:
        counters = await self._envoy.ask(f"/stats?usedonly&filter={traffic.quoted(traffic.COUNTERS)}")
        times = await self._envoy.ask(f"/stats/prometheus?usedonly&filter={traffic.quoted(traffic.TIMES)}")
        self._envoy.cut_log()
        return Reading.of(counters.decode(), times.decode(), await self._kernel.counts())

    async def _hand_over(self, between: Between) -> None:
        # A moment before now: a reading at the turn of a minute is about the one that has ended.
        at = self._clock.now() - 1.0
        points = traffic.points(self.view, between, at) + traffic_connect.points(self.view, between, at)
        groups = [g for g in self.view.groups.values() if enabled(g.attributes, SCALE_TO_ZERO)]
        asked = [group.arn for group in groups if traffic.in_use(between, group)]
        if points or asked:
            await self._cell.put_traffic(points, asked)

    def _some_sleep(self) -> bool:
        return any(enabled(group.attributes, SCALE_TO_ZERO) for group in self.view.groups.values())
