"""The loop that scales services to zero while nobody asks, and back on the first request.

Started by control/loops; a loop of its own, so that a held request waits for nothing else. Woken by target
groups (the data plane writes woken_at and last_request_at) and services, and by the moment at which one has
been idle for long enough.
"""

import logging
from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from neargate.control.autoscaling import set_desired
from neargate.control.autoscaling_plan import activity_of, overridden
from neargate.control.due import Changes, Due, forever
from neargate.control.parts import Parts, Watch
from neargate.kit.ids import Ids
from neargate.model.balancer import TargetGroup
from neargate.model.scaling import ScalableTarget, activity_id
from neargate.model.scaling_zero import Later, Sleep, Wake, decide, groups_of, opted_in
from neargate.model.service import Service
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCALING_ACTIVITY
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Change, Tx

log = logging.getLogger(__name__)
_AFTER_ERROR = 30.0


class ScaleToZero:
    name = "scale-to-zero"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._begin()

    def _begin(self) -> None:
        self._due = Due()
        self._services: dict[str, set[str]] = {}
        """ARNs of services by those of the groups that they are behind."""

    async def run(self) -> None:
        self._begin()
        watch = Watch(self._parts.store, TARGET_GROUP, SERVICE, SCALABLE_TARGET)
        await forever(self._parts.clock, self._due, watch.changed, self.concerned, self.work)

    async def concerned(self, changes: Changes) -> set[str]:
        """ARNs of the services that changes concern; None: all of them."""
        if changes is None:
            self._services.clear()
            return await self._parts.store.scan(self._all)
        return await self._parts.store.read(lambda tx: self._owners(tx, changes))

    def _all(self, tx: Tx) -> set[str]:
        return {service.arn for service in tx.find(SERVICE, "open", "yes") if self._note(service)}

    def _note(self, service: Service) -> bool:
        """Keep in mind whose groups are whose; False for a service without any."""
        groups = groups_of(service)
        for group in groups:
            self._services.setdefault(group, set()).add(service.arn)
        return bool(groups)

    def _owners(self, tx: Tx, changes: Iterable[Change]) -> set[str]:
        found: set[str] = set()
        for change in changes:
            if change.kind == TARGET_GROUP.name:
                found |= self._services.get(change.id, set())
            elif change.kind == SCALABLE_TARGET.name:
                target = tx.get(SCALABLE_TARGET, change.id)
                found |= {target.service_arn} if target is not None else set()
            else:
                service = tx.get(SERVICE, change.id)
                if service is not None and self._note(service):
                    found.add(service.arn)
        return found

    async def work(self, services: set[str]) -> None:
        for arn in sorted(services):
            try:
                await self._look(arn)
            except Exception:
                log.exception("a service is looked at again later", extra={"service": arn})
                self._due.remind(arn, self._parts.clock.now() + _AFTER_ERROR)

    async def _look(self, arn: str) -> None:
        now = self._parts.clock.now()
        decision = await self._parts.store.read(partial(look, arn=arn, now=now))
        self._due.remind(arn, decision.at if isinstance(decision, Later) else None)
        if isinstance(decision, Wake | Sleep):
            await self._parts.store.write(partial(apply, arn=arn, ids=self._parts.ids, now=now))


def look(tx: Tx, arn: str, now: float) -> Wake | Sleep | Later | None:
    service = tx.get(SERVICE, arn)
    return decide(service, _groups(tx, service), _target(tx, arn), now) if service is not None else None


def _groups(tx: Tx, service: Service) -> list[TargetGroup]:
    found = (tx.get(TARGET_GROUP, arn) for arn in groups_of(service))
    return [group for group in found if group is not None and opted_in(group)]


def _target(tx: Tx, service_arn: str) -> ScalableTarget | None:
    found = tx.find(SCALABLE_TARGET, "service", service_arn, limit=1)
    return found[0] if found else None


def apply(tx: Tx, arn: str, ids: Ids, now: float) -> None:
    """Decide again, as things are in this transaction, and do it."""
    decision, service, target = look(tx, arn, now), tx.get(SERVICE, arn), _target(tx, arn)
    if service is None or not isinstance(decision, Wake | Sleep):
        return
    group = decision.group
    if isinstance(decision, Wake):
        desired, cause = decision.desired, f"a request waited at target group {group.arn}"
    else:
        desired, cause = 0, f"target group {group.arn} had no request for {decision.idle} seconds"
    for asked in _groups(tx, service):
        # The request counts as the last one; it wakes nobody a second time.
        last = max(asked.last_request_at or 0.0, asked.woken_at or 0.0) or None
        tx.put(TARGET_GROUP, replace(asked, last_request_at=last, woken_at=None))
    said = f"Message: Successfully set desired count to {desired}. Cause: {cause}"
    set_desired(tx, service, desired, said, ids, now)
    if target is not None:
        open_ = tx.get(SCALING_ACTIVITY, target.activity) if target.activity else None
        if open_ is not None and open_.status == "InProgress":
            tx.put(SCALING_ACTIVITY, overridden(open_, desired, now))
        activity = activity_of(target, desired, cause, ids, now)
        tx.put(SCALING_ACTIVITY, activity)
        tx.put(SCALABLE_TARGET, replace(target, activity=activity_id(activity)))
