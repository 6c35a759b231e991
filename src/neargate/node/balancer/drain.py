"""Lets draining targets go: when their group's deregistration delay is over, or as soon as they have nothing
left to answer, which AWS only does behind the scenes. Run by control.py.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.model.balancer import Target
from neargate.model.balancing import View
from neargate.model.spread import keeps_client
from neargate.model.target_health import drained_at
from neargate.node.balancer.base import BalancerCell, CellError

log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_QUIET_LOOKS = 3
"""Looks in a row without a connection, the first when Envoy has long been told."""

Busy = Callable[[Collection[tuple[str, int]]], set[tuple[str, int]]]


@dataclass(slots=True)
class _Draining:
    target: Target
    end: float
    countable: bool
    """Its traffic is connections, so that the last one's end can be seen."""
    led: bool
    """By the kernel, past Envoy."""
    quiet: int = 0


class Drain:
    def __init__(
        self, cell: BalancerCell, clock: Clock, busy: Busy | None = None, led: Busy | None = None
    ) -> None:
        """busy -- those of some addresses that have connections; None: only the delay counts.
        led -- the same for those whose connections the kernel leads."""
        self._cell = cell
        self._clock = clock
        self._busy = busy
        self._led = led
        self._draining: dict[str, _Draining] = {}
        self._news = asyncio.Event()

    def take(self, view: View) -> None:
        """Targets of a group that is gone have nobody left to wait for."""
        before, self._draining = self._draining, {}
        for id, target in view.targets.items():
            if target.state == "draining":
                group = view.groups.get(target.group_arn)
                end = drained_at(target, group) if group else 0.0
                countable = group is not None and "UDP" not in group.protocol
                led = group is not None and keeps_client(group)
                quiet = before[id].quiet if id in before else 0
                self._draining[id] = _Draining(target, end, countable, led, quiet)
        self._news.set()

    async def run(self) -> NoReturn:
        while True:
            await self._wait()
            over = await self._over()
            if not over:
                continue
            try:
                await self._cell.forget_targets([self._draining[id].target for id in over])
            except CellError as error:
                log.warning("drained targets are not removed: %s", error)
                await self._clock.sleep(_LOOK_SECONDS)
            else:
                for id in over:
                    self._draining.pop(id, None)

    async def _over(self) -> list[str]:
        now, counted = self._clock.now(), {id: it for id, it in self._draining.items() if it.countable}
        if self._busy is not None and counted:
            places = {(it.target.address, it.target.port) for it in counted.values()}
            busy = await asyncio.to_thread(self._busy, places)
            led = {(it.target.address, it.target.port) for it in counted.values() if it.led}
            if self._led is not None and led:
                busy = busy | await asyncio.to_thread(self._led, led)
            for it in counted.values():
                it.quiet = 0 if (it.target.address, it.target.port) in busy else it.quiet + 1
        return [id for id, it in self._draining.items() if it.end <= now or it.quiet >= _QUIET_LOOKS]

    async def _wait(self) -> None:
        """Until there is something to look at: the next end, or the next look at connections."""
        self._news.clear()
        if not self._draining:
            await self._news.wait()
            return
        first = min(it.end for it in self._draining.values()) - self._clock.now()
        if self._busy is not None:
            await self._clock.sleep(min(max(first, 0.0), _LOOK_SECONDS))
            return
        try:
            async with asyncio.timeout(max(0.0, first)):
                await self._news.wait()
        except TimeoutError:
            return
