"""Envoy, and what makes it reachable: carries out a view on this machine. Held by control.py from the first
load balancer to the last.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.model.balancing import EMPTY, View
from neargate.model.envoy import Translator
from neargate.model.envoy_listeners import transports
from neargate.node.balancer.access_logs import AccessLogs
from neargate.node.balancer.ads import Ads, served
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.counters import Counters
from neargate.node.balancer.envoy import Envoy
from neargate.node.balancer.kernel import Kernel
from neargate.node.balancer.openings import Openings
from neargate.node.balancer.publication import Publication
from neargate.node.balancer.waking import Waking
from neargate.node.network import balancers as addresses
from neargate.node.network import firewall

log = logging.getLogger(__name__)
_APPLIED_SECONDS = 5.0
_HOUR = 3600.0


class Plane:
    def __init__(
        self,
        settings: Settings,
        publication: Publication,
        waking: Waking,
        openings: Openings,
        counters: Counters,
        access_logs: AccessLogs,
        clock: Clock,
        translator: Translator,
        kernel: Kernel,
    ) -> None:
        self._instance = instance_of(settings.data_dir)
        self._vpc_cidr = settings.vpc_cidr
        self._publication = publication
        self._clock = clock
        self._view = EMPTY
        self._waking = waking
        self._openings = openings
        self._counters = counters
        self._access_logs = access_logs
        self._translator = translator
        self._kernel = kernel
        self._addresses: set[str] | None = None
        self._ports: list[tuple[str, str, int]] | None = None

    async def take(self, view: View) -> None:
        """Addresses come before their listeners, and go after them. Raise OSError, FirewallError."""
        wanted = {zone.address for balancer in view.balancers.values() for zone in balancer.zones}
        wanted |= {endpoint.address for endpoint in view.connect.values()}
        before, self._addresses = self._addresses, wanted
        if before is None or wanted - before:
            await asyncio.to_thread(addresses.own, self._vpc_cidr, wanted | (before or set()))
        ports = _ports(view)
        if ports != self._ports:
            await firewall.open_balancers(self._instance, ports)
            self._ports = ports
        number = self._publication.publish(self._translator.resources(view, self._clock.now()))
        self._waking.take(view, number)  # before anything else runs: Envoy may ask as soon as it is told
        await self._kernel.take(view)
        self._view = view
        self._openings.take(view, number)
        self._counters.view = self._access_logs.view = view
        if before is not None and before - wanted:
            await self._applied(number)
            await asyncio.to_thread(addresses.own, self._vpc_cidr, wanted)

    async def keep_time(self) -> NoReturn:
        """The hour is a part of traces' ids."""
        while True:
            await self._clock.sleep(_HOUR - self._clock.now() % _HOUR)
            self._publication.publish(self._translator.resources(self._view, self._clock.now()))

    async def _applied(self, number: int) -> None:
        try:
            async with asyncio.timeout(_APPLIED_SECONDS):
                await self._publication.applied(number)
        except TimeoutError:
            log.warning("Envoy has not taken its configuration in %s s", _APPLIED_SECONDS)


def _ports(view: View) -> list[tuple[str, str, int]]:
    found = {(endpoint.address, "tcp", endpoint.port) for endpoint in view.connect.values()}
    for listener in view.listeners.values():
        if balancer := view.balancers.get(listener.balancer_arn):
            for zone in balancer.zones:
                found |= {(zone.address, of.lower(), listener.port) for of in transports(listener)}
    return sorted(found)


@asynccontextmanager
async def opened(settings: Settings, cell: BalancerCell, clock: Clock) -> AsyncIterator[Plane]:
    """With Envoy running, or adopted; it runs on when this ends. Raise OSError."""
    envoy, publication = Envoy(settings), Publication()
    await asyncio.to_thread(envoy.prepare)

    async def begun(adopted: bool) -> None:
        log.info("Envoy runs", extra={"adopted": adopted, "pid": envoy.companion.pid})

    kernel = Kernel(instance_of(settings.data_dir), settings.vpc_cidr)
    waking, counters = Waking(cell, publication, clock), Counters(cell, envoy, kernel, clock)
    logs, translator = AccessLogs(cell, envoy, clock), Translator(str(envoy.logs))
    openings = Openings(cell, publication, clock)
    plane = Plane(settings, publication, waking, openings, counters, logs, clock, translator, kernel)
    async with served(envoy.socket, envoy.uid, Ads(publication).handlers(), waking.handlers()):
        async with asyncio.TaskGroup() as group:
            own = [
                group.create_task(envoy.companion.run(envoy.command(), begun), name="envoy"),
                group.create_task(counters.run(), name="envoy-counters"),
                group.create_task(logs.run(), name="access-logs"),
                group.create_task(openings.run(), name="listeners"),
                group.create_task(plane.keep_time(), name="envoy-hours"),
            ]
            try:
                yield plane
            finally:
                for task in own:
                    task.cancel()
