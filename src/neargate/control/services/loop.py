"""The loop of services: which of them to look at, when; many in one transaction.

Started by control/loops. Woken by changes of services, their tasks, targets, deployments, task sets, and of
the alarms and listeners that their deployments heed, and by moments that its plans named. What it keeps
(moments, whose target is whose) it reads anew at each start.
"""

import logging
from collections.abc import Iterable, Sequence

from neargate.control.due import Changes, Due, forever
from neargate.control.parts import Parts, Watch
from neargate.control.services.apply import apply
from neargate.control.services.plan import Plan, plan
from neargate.control.services.snapshot import Snapshot, alarm_names, read
from neargate.model.alarm import alarm_arn
from neargate.model.balancer_rules import listener_arn_of
from neargate.model.deployments.shift import routes
from neargate.model.record import Scope
from neargate.state.catalog import TASK
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, TARGET
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT, TASK_SET
from neargate.state.store import Change, Tx

log = logging.getLogger(__name__)
_HEEDED = (ALARM, LISTENER, LISTENER_RULE)
_HEEDED_NAMES = frozenset(kind.name for kind in _HEEDED)
_AT_ONCE = 50
_AFTER_ERROR = 30.0


class Services:
    name = "services"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._due = Due()
        self._begin()

    def _begin(self) -> None:
        self._due.clear()
        self._target_of: dict[str, str] = {}
        self._heeded: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        watch = Watch(self._parts.store, SERVICE, TASK, TARGET, SERVICE_DEPLOYMENT, TASK_SET, *_HEEDED)
        await forever(self._parts.clock, self._due, watch.changed, self._concerned, self.work)

    async def _concerned(self, changes: Changes) -> set[str]:
        """The services that changes concern; None: all of them."""
        if changes is None:
            self._begin()
            return await self._parts.store.scan(_all)
        return await self._parts.store.read(lambda tx: self._owners(tx, changes))

    def _owners(self, tx: Tx, changes: Iterable[Change]) -> set[str]:
        found: set[str] = set()
        for change in changes:
            if change.kind == SERVICE.name:
                found.add(change.id)
            elif change.kind == TARGET.name:
                found.add(self._target_of.get(change.id, ""))
            elif change.kind in _HEEDED_NAMES:
                found |= {arn for arn, ids in self._heeded.items() if change.id in ids}
            elif not change.deleted:
                found.add(_owner(tx, change))
        return found - {""}

    async def work(self, services: set[str]) -> None:
        ordered = sorted(services)
        for first in range(0, len(ordered), _AT_ONCE):
            batch = ordered[first : first + _AT_ONCE]
            try:
                await self._work(batch)
            except Exception:
                log.exception("services are looked at one by one after an error")
                for arn in batch:
                    await self._alone(arn)

    async def _alone(self, arn: str) -> None:
        """One that fails keeps no other from being looked at."""
        try:
            await self._work((arn,))
        except Exception:
            log.exception("a service cannot be kept", extra={"service": arn})
            self._due.remind(arn, self._parts.clock.now() + _AFTER_ERROR)

    async def _work(self, services: Sequence[str]) -> None:
        planned = await self._parts.store.read(lambda tx: self._plan(tx, services))
        busy = [arn for arn, _, made in planned if made]
        if busy:
            written = await self._parts.store.write(lambda tx: self._write(tx, busy))
            planned = [entry for entry in planned if not entry[2]] + written
        for arn, snapshot, made in planned:
            self._note(arn, snapshot, made)

    def _plan(self, tx: Tx, services: Iterable[str]) -> list[tuple[str, Snapshot | None, Plan | None]]:
        now, settle = self._parts.clock.now(), self._parts.settings.service_healthy_seconds
        planned: list[tuple[str, Snapshot | None, Plan | None]] = []
        for arn in services:
            snapshot = read(tx, arn)
            made = plan(snapshot, now, settle) if snapshot is not None and _open(snapshot) else None
            planned.append((arn, snapshot, made))
        return planned

    def _write(self, tx: Tx, services: Iterable[str]) -> list[tuple[str, Snapshot | None, Plan | None]]:
        """Decide again by what is there now, and carry it out in the same transaction."""
        planned = self._plan(tx, services)
        for _, _, made in planned:
            if made:
                apply(tx, made, self._parts.ids, self._parts.clock.now())
        return planned

    def _note(self, arn: str, snapshot: Snapshot | None, made: Plan | None) -> None:
        if snapshot is None or made is None:
            self._due.remind(arn, None)
            self._heeded.pop(arn, None)
            return
        self._due.remind(arn, made.wake_at)
        for id in made.targets_gone:
            self._target_of.pop(id, None)
        for found in snapshot.targets.values():
            self._target_of.update((TARGET.id(target), arn) for target in found)
        self._target_of.update((TARGET.id(target), arn) for target in made.targets)
        heeded = _heeded(snapshot)
        if heeded:
            self._heeded[arn] = heeded
        else:
            self._heeded.pop(arn, None)


def _heeded(snapshot: Snapshot) -> frozenset[str]:
    """Ids of what may end the deployments under way: alarms; rules and listeners."""
    scope = Scope(snapshot.service.account, snapshot.service.region)
    found = {alarm_arn(scope, name) for process in snapshot.processes for name in alarm_names(process)}
    for process in snapshot.processes:
        revision = snapshot.revisions.get(process.target_revision)
        for _, arn in routes(revision.body.get("loadBalancers") or ()) if revision is not None else ():
            found |= {arn, listener_arn_of(arn)}  # of a default rule there is only its listener's record
    return frozenset(found)


def _open(snapshot: Snapshot) -> bool:
    return snapshot.service.status != "INACTIVE" or bool(snapshot.tasks)


def _all(tx: Tx) -> set[str]:
    return set(tx.ids(SERVICE, "open", "yes"))


def _owner(tx: Tx, change: Change) -> str:
    if change.kind == TASK.name:
        task = tx.get(TASK, change.id)
        return task.service_arn if task is not None else ""
    if change.kind == TASK_SET.name:
        task_set = tx.get(TASK_SET, change.id)
        return task_set.service_arn if task_set is not None else ""
    process = tx.get(SERVICE_DEPLOYMENT, change.id)
    return process.service_arn if process is not None else ""
