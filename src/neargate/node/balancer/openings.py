"""Listeners that Envoy cannot open, mostly because a program of the machine has their port: tells the control
plane why, and has Envoy try again until it can. Run by plane.py.
"""

import asyncio
import logging
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.model.balancing import EMPTY, View
from neargate.model.envoy_listeners import listener_name, transports
from neargate.node.balancer.base import BalancerCell, CellError
from neargate.node.balancer.publication import Publication

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Openings:
    def __init__(self, cell: BalancerCell, publication: Publication, clock: Clock) -> None:
        self._cell = cell
        self._publication = publication
        self._clock = clock
        self._view, self._number = EMPTY, 0
        self._news = asyncio.Event()

    def take(self, view: View, number: int) -> None:
        """number -- of the publication with this view."""
        self._view, self._number = view, number
        self._news.set()

    async def run(self) -> NoReturn:
        self._publication.heard.add(self._news.set)
        try:
            while True:
                await self._until_open(self._publication.unopened)
                await self._news.wait()
        finally:
            self._publication.heard.discard(self._news.set)

    async def _until_open(self, unopened: dict[str, str]) -> None:
        pause, known = _FIRST_PAUSE, ""
        next_at = self._clock.now() + pause
        while True:
            self._news.clear()
            await self._report()
            if not unopened:
                return
            known = _logged(unopened, known)
            try:
                async with asyncio.timeout(max(0.0, next_at - self._clock.now())):
                    await self._news.wait()
            except TimeoutError:
                self._publication.again()
                pause = min(2 * pause, _LONGEST_PAUSE)
                next_at = self._clock.now() + pause

    async def _report(self) -> None:
        await self._publication.applied(self._number)
        reasons = {arn: self._reason(arn) for arn in self._view.balancers}
        changed = {
            arn: reason for arn, reason in reasons.items() if self._view.balancers[arn].state_reason != reason
        }
        if not changed:
            return
        try:
            await self._cell.report_balancers(changed)
        except CellError as error:
            log.warning("load balancers' states are not reported: %s", error)
            await self._clock.sleep(_FIRST_PAUSE)
            self._news.set()

    def _reason(self, balancer_arn: str) -> str:
        """Empty: all of its listeners are open."""
        found = [
            f"Listener {listener.port}/{listener.protocol}: {words}"
            for listener in self._view.listeners.values()
            if listener.balancer_arn == balancer_arn
            for transport in transports(listener)
            if (words := self._publication.unopened.get(listener_name(listener, transport)))
        ]
        return "; ".join(sorted(found))


def _logged(unopened: dict[str, str], known: str) -> str:
    """Say it once, and not with each attempt."""
    words = "; ".join(f"{name}: {why}" for name, why in sorted(unopened.items()))
    if words != known:
        log.error("listeners cannot be opened, and are tried again until they can: %s", words)
    return words
