"""All control loops, owned together: `main` runs this. A loop that fails is logged and started anew; so are
the chores of services (expiry, collection), which main hands in.

A loop begins by reading everything, so starting it anew loses nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from neargate.control.alarms import Alarms
from neargate.control.autoscaling import Autoscaling
from neargate.control.autoscaling_zero import ScaleToZero
from neargate.control.discovery import Discovery
from neargate.control.insights import Insights
from neargate.control.parts import Parts
from neargate.control.placement import Placement
from neargate.control.retention import Retention
from neargate.control.service_connect import ServiceConnect
from neargate.control.services.loop import Services
from neargate.control.tasks import Tasks

log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0


class Loop(Protocol):
    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


class Loops:
    def __init__(
        self,
        parts: Parts,
        chores: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({}),
        *,
        services: bool = True,
    ) -> None:
        """chores -- what else runs for ever, by name. services -- they are kept running."""
        self._parts = parts
        self._chores = chores
        self.loops: tuple[Loop, ...] = (Placement(parts), Tasks(parts), Retention(parts))
        if services:
            self.loops += (
                Services(parts),
                Alarms(parts),
                Insights(parts),
                Discovery(parts),
                ServiceConnect(parts),
                Autoscaling(parts),
                ScaleToZero(parts),
            )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for loop in self.loops:
                group.create_task(self._keep(loop.name, loop.run), name=loop.name)
            for name, chore in self._chores.items():
                group.create_task(self._keep(name, chore), name=name)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a loop for ever; pause longer after each failure, shortly again once it ran for a while."""
        pause = _FIRST_PAUSE
        while True:
            began = self._parts.clock.now()
            try:
                await run()
            except Exception:
                log.exception("the %s loop failed; it starts anew", name, extra={"pause": pause})
            if self._parts.clock.now() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await self._parts.clock.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
