"""Checks the health of all targets and reports what changes. Run by control.py, which gives it each view.

One small task per target. States live in the store, so a restart resets none; only the count of outcomes in
a row begins anew. A new target is checked at once, and again and again until it answers: its application may
need a moment longer than its container.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from neargate.kit.clock import Clock
from neargate.model.balancer import Target, TargetGroup
from neargate.model.balancing import View
from neargate.model.target_health import Count, Outcome, Verdict, judge
from neargate.node.balancer.base import BalancerCell, CellError, Judged
from neargate.node.balancer.probes import FAILED, probe

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Of one group's targets: those that do not answer in time hold up no other group's."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class _Watched:
    target: Target
    group: TargetGroup
    task: "asyncio.Task[NoReturn] | None" = None


def _anywhere(address: str) -> bool:
    return True


class Checker:
    """`take` each new view; `run` reports, until it is cancelled, with the tasks that check."""

    def __init__(
        self, cell: BalancerCell, clock: Clock, may_be_checked: Callable[[str], bool] = _anywhere
    ) -> None:
        """may_be_checked -- whether a target's address is one that this machine connects to."""
        self._cell = cell
        self._clock = clock
        self._may_be_checked = may_be_checked
        self._watched: dict[str, _Watched] = {}
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._judged: dict[str, Judged] = {}
        self._news = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def take(self, view: View) -> None:
        """Check what there is to check now."""
        assert self._group is not None
        found = {
            id: (target, view.groups[target.group_arn])
            for id, target in view.targets.items()
            if target.state != "draining" and _is_used(view, target.group_arn)
        }
        arns = {group.arn for _, group in found.values()}
        self._gates = {arn: self._gates.get(arn) or asyncio.Semaphore(_AT_ONCE) for arn in arns}
        for id in self._watched.keys() - found.keys():
            if task := self._watched.pop(id).task:
                task.cancel()
        for id, (target, group) in found.items():
            known = self._watched.get(id)
            if known is not None and known.target.registered_at == target.registered_at:
                known.target, known.group = target, group
                continue
            if known is not None and known.task is not None:
                known.task.cancel()
            watched = self._watched[id] = _Watched(target, group)
            watched.task = self._group.create_task(self._watch(id, watched), name=f"target-{id}")

    async def run(self, ready: asyncio.Event) -> NoReturn:
        """ready -- set when `take` may be called."""
        async with asyncio.TaskGroup() as self._group:
            ready.set()
            while True:
                await self._news.wait()
                self._news.clear()
                await self._report()
        raise AssertionError("unreachable")

    async def _report(self) -> None:
        judged, self._judged = self._judged, {}
        try:
            await self._cell.report_targets(list(judged.values()))
        except CellError as error:
            log.warning("targets' health is not reported: %s", error)
            self._judged = {**judged, **self._judged}
            await self._clock.sleep(_AGAIN_SECONDS)
            self._news.set()

    async def _watch(self, id: str, watched: _Watched) -> NoReturn:
        count, pause = Count(), _FIRST_PAUSE
        counted_at = self._clock.now()
        if watched.target.state != "initial":
            await self._clock.sleep(random.random() * watched.group.health_check.interval)
        while True:
            check = watched.group.health_check
            outcome = await self._outcome(watched)
            impatient = watched.target.state == "initial" and bool(outcome.cause)
            if not impatient or self._clock.now() - counted_at >= check.interval:
                count, counted_at = count.after(outcome), self._clock.now()
                if verdict := judge(watched.target, check, count, outcome):
                    self._say(id, Judged(watched.target, verdict))
            if impatient:
                await self._clock.sleep(min(pause, check.interval))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                await self._clock.sleep(check.interval)

    async def _outcome(self, watched: _Watched) -> Outcome:
        if not watched.group.health_check.enabled:
            return Outcome()
        async with self._gates[watched.group.arn]:
            if not self._may_be_checked(watched.target.address):
                return FAILED
            return await probe(watched.target, watched.group)

    def _say(self, id: str, judged: Judged) -> None:
        self._judged[id] = judged
        self._news.set()


class AssumedHealthy:
    """In place of the checker where tasks are not real (the fake driver): every target is healthy at once."""

    def __init__(self, cell: BalancerCell) -> None:
        self._cell = cell

    async def take(self, view: View) -> None:
        new = [target for target in view.targets.values() if target.state == "initial"]
        if new:
            await self._cell.report_targets([Judged(target, Verdict("healthy")) for target in new])


def _is_used(view: View, group_arn: str) -> bool:
    group = view.groups.get(group_arn)
    return group is not None and bool(group.balancer_arns)
