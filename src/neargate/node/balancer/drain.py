"""Lets draining targets go: when their group's deregistration delay is over, or as soon as nothing of them is
left to be answered. Run by control.py.
"""

import asyncio
import logging
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.model.balancer import Target
from neargate.model.balancing import View
from neargate.model.target_health import drained_at
from neargate.node.balancer.base import BalancerCell, CellError

log = logging.getLogger(__name__)
_AGAIN_SECONDS = 0.5


class Drain:
    def __init__(self, cell: BalancerCell, clock: Clock) -> None:
        self._cell = cell
        self._clock = clock
        self._ends: dict[str, tuple[float, Target]] = {}
        self._news = asyncio.Event()

    def take(self, view: View) -> None:
        """Targets of a group that is gone have nobody left to wait for."""
        self._ends = {
            id: (
                drained_at(target, view.groups[target.group_arn]) if target.group_arn in view.groups else 0.0,
                target,
            )
            for id, target in view.targets.items()
            if target.state == "draining"
        }
        self._news.set()

    async def run(self) -> NoReturn:
        while True:
            await self._wait()
            now = self._clock.now()
            over = {id: target for id, (end, target) in self._ends.items() if end <= now}
            if not over:
                continue
            try:
                await self._cell.forget_targets(list(over.values()))
            except CellError as error:
                log.warning("drained targets are not removed: %s", error)
                await self._clock.sleep(_AGAIN_SECONDS)
            else:
                self._ends = {id: end for id, end in self._ends.items() if id not in over}

    async def _wait(self) -> None:
        """Until the next one's time, or news."""
        self._news.clear()
        if not self._ends:
            await self._news.wait()
            return
        first = min(end for end, _ in self._ends.values())
        try:
            async with asyncio.timeout(max(0.0, first - self._clock.now())):
                await self._news.wait()
        except TimeoutError:
            return
