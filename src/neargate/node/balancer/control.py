"""Follows the control plane's view of load balancing and has it carried out. Run by main, for ever.

plane.py (Envoy) is loaded and brought up with the first load balancer and ended with the last; checker.py
sees to the targets' health, drain.py to those that leave.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from neargate.kit.clock import Clock
from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.model.balancing import View
from neargate.node.balancer import leftovers
from neargate.node.balancer.base import BalancerCell, CellError
from neargate.node.balancer.checker import AssumedHealthy, Checker
from neargate.node.balancer.connections import busy
from neargate.node.balancer.drain import Drain
from neargate.node.network import conntrack
from neargate.node.network.nft import FirewallError
from neargate.node.network.reach import may_be_checked

if TYPE_CHECKING:
    from neargate.node.balancer.plane import Plane

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STEADY_SECONDS = 30.0


class Balancing:
    def __init__(self, cell: BalancerCell, settings: Settings, clock: Clock) -> None:
        self._cell = cell
        self._settings = settings
        self._clock = clock
        self._plane: Plane | None = None
        self._held = AsyncExitStack()

    async def run(self) -> NoReturn:
        """What fails is begun anew; Envoy goes on meanwhile with what it was told last."""
        pause = _FIRST_PAUSE
        while True:
            began = self._clock.now()
            try:
                await self._follow()
            except (CellError, OSError, FirewallError) as error:
                log.error("load balancing: %s", error, extra={"pause": pause})
            except Exception:
                log.exception("load balancing failed; it starts anew", extra={"pause": pause})
            if self._clock.now() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _follow(self) -> NoReturn:
        instance = instance_of(self._settings.data_dir)
        checker = Checker(self._cell, self._clock, partial(may_be_checked, instance))
        ready = asyncio.Event()
        drain = Drain(self._cell, self._clock, busy, conntrack.busy)
        async with AsyncExitStack() as self._held:
            self._plane = None
            async with asyncio.TaskGroup() as group:
                group.create_task(checker.run(ready), name="health-checks")
                group.create_task(drain.run(), name="draining-targets")
                await ready.wait()
                cursor = 0
                while True:
                    cursor, view = await self._cell.balancing(cursor)
                    await self._carry_out(view)
                    checker.take(view)
                    drain.take(view)
        raise AssertionError("unreachable")

    async def _carry_out(self, view: View) -> None:
        if not view.empty and self._plane is None:
            # gRPC and Envoy's messages: only where there is something to carry
            from neargate.node.balancer.plane import opened

            opening = opened(self._settings, self._cell, self._clock)
            self._plane = await self._held.enter_async_context(opening)
        if self._plane is not None and not view.empty:
            await self._plane.take(view)
        elif self._plane is not None or leftovers.any_of(self._settings):
            self._plane = None
            await self._held.aclose()
            await leftovers.remove(self._settings)


class FakeBalancing:
    """Where tasks are not real, nothing carries requests; targets live through their states all the same."""

    def __init__(self, cell: BalancerCell, clock: Clock) -> None:
        self._cell = cell
        self._health = AssumedHealthy(cell)
        self._drain = Drain(cell, clock)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._drain.run(), name="draining-targets")
            cursor = 0
            while True:
                cursor, view = await self._cell.balancing(cursor)
                await self._health.take(view)
                self._drain.take(view)
