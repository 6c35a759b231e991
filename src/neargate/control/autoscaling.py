"""The loop of Application Auto Scaling: alarms and schedules into desired counts.

Started by control/loops. Woken by changes of alarms, services, targets, policies and scheduled actions, and
by moments: an alarm that stays in ALARM asks again and again, as on AWS. What it keeps (which targets' alarms
are in ALARM) it reads anew at each start. control/services goes on from the desired count.
"""

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from neargate.control.alarms import data_of
from neargate.control.autoscaling_plan import Plan, Snapshot, message, plan
from neargate.control.due import Changes, Due, forever
from neargate.control.parts import Parts, Watch
from neargate.kit.clock import SET_BACK
from neargate.kit.ids import Ids
from neargate.model.alarm import ALARM as ALARMING
from neargate.model.alarm import Alarm, alarm_arn
from neargate.model.alarm_evaluation import COMPARISONS, interval_of
from neargate.model.event_ecs import service_action
from neargate.model.record import Scope
from neargate.model.scaling import ScalingPolicy, Steps, target_id
from neargate.model.scaling_decision import Alarmed, aggregated
from neargate.model.service import Service
from neargate.state import outbox, service_history
from neargate.state.catalog import TASK
from neargate.state.catalog_alarms import ALARM, note
from neargate.state.catalog_scaling import (
    SCALABLE_TARGET,
    SCALING_ACTIVITY,
    SCALING_POLICY,
    SCHEDULED_ACTION,
    forget_target,
)
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Change, Tx

log = logging.getLogger(__name__)
_POLICY = ":scalingPolicy:"
_AFTER_ERROR = 30.0
_LAST_FEW = 3
"""Data points of which the highest is what scaling in counts with."""


class Autoscaling:
    name = "autoscaling"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._begin()

    def _begin(self) -> None:
        self._due = Due()
        self._alarming: dict[str, frozenset[str]] = {}
        """Targets, by the alarms of theirs that are in ALARM."""

    async def run(self) -> None:
        self._begin()
        watch = Watch(self._parts.store, ALARM, SERVICE, SCALABLE_TARGET, SCALING_POLICY, SCHEDULED_ACTION)
        await forever(self._parts.clock, self._due, watch.changed, self.concerned, self.work)

    async def concerned(self, changes: Changes) -> set[str]:
        """Ids of the targets that changes concern; None: all of them."""
        if changes is None:
            self._alarming.clear()
            return await self._parts.store.scan(self._all)
        return await self._parts.store.read(lambda tx: self._owners(tx, changes))

    def _all(self, tx: Tx) -> set[str]:
        for alarm in tx.all(ALARM):
            self._note(tx, alarm)
        return {SCALABLE_TARGET.id(target) for target in tx.all(SCALABLE_TARGET)}

    def _owners(self, tx: Tx, changes: Iterable[Change]) -> set[str]:
        found: set[str] = set()
        for change in changes:
            if change.kind == ALARM.name:
                found |= self._alarming.pop(change.id, frozenset())
                alarm = tx.get(ALARM, change.id)
                if alarm is not None:
                    found |= self._note(tx, alarm)
            elif change.kind == SERVICE.name:
                found |= {SCALABLE_TARGET.id(it) for it in tx.find(SCALABLE_TARGET, "service", change.id)}
            elif change.kind == SCALABLE_TARGET.name:
                found.add(change.id)
            else:
                found.add(change.id.partition("|")[0])
            if change.kind == SCALING_POLICY.name and not change.deleted:
                self._note_alarms_of(tx, change.id)
        return found

    def _note(self, tx: Tx, alarm: Alarm) -> frozenset[str]:
        """Keep in mind which targets an alarm in ALARM asks for something."""
        targets = frozenset(_target_of(policy) for policy in _policies(tx, alarm))
        if targets:
            self._alarming[alarm.arn] = targets
        return targets

    def _note_alarms_of(self, tx: Tx, id: str) -> None:
        """A policy that came after its alarm turned."""
        policy = tx.get(SCALING_POLICY, id)
        for arn in policy.alarms if policy is not None else ():
            alarm = tx.get(ALARM, arn)
            if alarm is not None:
                self._note(tx, alarm)

    async def work(self, targets: set[str]) -> None:
        for id in sorted(targets):
            try:
                await self._look(id)
            except Exception:
                log.exception("a scalable target is looked at again later", extra={"target": id})
                self._due.remind(id, self._parts.clock.now() + _AFTER_ERROR)

    async def _look(self, id: str) -> None:
        parts, now = self._parts, self._parts.clock.now()
        alarms = [arn for arn, targets in self._alarming.items() if id in targets]
        snapshot, alarming = await parts.store.read(lambda tx: _snapshot(tx, id, alarms))
        if snapshot is None:
            self._due.remind(id, None)
            return
        found = await parts.metrics.read(lambda tx: [_values(tx, alarm, now) for alarm in alarming])
        alarmed = [
            it
            for alarm, points in zip(alarming, found, strict=True)
            for it in _alarmed(alarm, points, snapshot.policies, now)
        ]
        snapshot = dataclasses.replace(snapshot, alarmed=alarmed)
        made = plan(snapshot, parts.ids, now)
        if _changes(made, snapshot):
            await parts.store.write(lambda tx: apply(tx, snapshot, made, parts.ids, now))
        moments = [_next(alarm, now) for alarm in alarming]
        moments += [at for action in snapshot.actions if (at := _later(made, action.arn, action.due_at))]
        self._due.remind(id, min(moments, default=None))


def _later(made: Plan, arn: str, at: float | None) -> float | None:
    return next((action.due_at for action in made.actions if action.arn == arn), at)


def _policies(tx: Tx, alarm: Alarm) -> list[ScalingPolicy]:
    """Those that an alarm asks for something just now."""
    if alarm.state != ALARMING or not alarm.acts or not alarm.comparison:
        return []
    asked = (arn for arn in alarm.alarm_actions if _POLICY in arn)
    return [policy for arn in asked for policy in tx.find(SCALING_POLICY, "arn", arn)]


def _target_of(policy: ScalingPolicy) -> str:
    return target_id(policy.account, policy.region, policy.resource_id)


def _snapshot(tx: Tx, id: str, alarms: Sequence[str]) -> tuple[Snapshot | None, list[Alarm]]:
    """What there is to know of a target but for its metrics; and its alarms that are in ALARM."""
    target = tx.get(SCALABLE_TARGET, id)
    if target is None:
        return None, []
    service = tx.get(SERVICE, target.service_arn)
    snapshot = Snapshot(
        target=target,
        service=service,
        running=_running(tx, service),
        policies=tx.find(SCALING_POLICY, "target", id),
        actions=tx.find(SCHEDULED_ACTION, "target", id),
        alarmed=(),
        activity=tx.get(SCALING_ACTIVITY, target.activity) if target.activity else None,
    )
    found = (tx.get(ALARM, arn) for arn in alarms)
    return snapshot, [alarm for alarm in found if alarm is not None and alarm.state == ALARMING]


def _running(tx: Tx, service: Service | None) -> int:
    deployments = service.deployments if service is not None else ()
    return sum(
        tx.count(TASK, "deployment", f"{service.arn}/{it.id}/running") for it in deployments if service
    )


def _repeat(alarm: Alarm) -> float:
    """An alarm that stays in ALARM asks again each minute, or each period where that is shorter."""
    return float(interval_of(alarm))


def _next(alarm: Alarm, now: float) -> float:
    repeat = _repeat(alarm)
    return (
        alarm.state_transitioned_at + (math.floor((now - alarm.state_transitioned_at) / repeat) + 1) * repeat
    )


def _values(tx: Tx, alarm: Alarm, now: float) -> list[float]:
    """What the alarm's metric is just now, oldest first: its record keeps only what it turned at."""
    end = int(now) // interval_of(alarm) * interval_of(alarm)
    return [datum.value for datum in data_of(tx, alarm, end) if datum.value is not None]


def _alarmed(
    alarm: Alarm, points: list[float], policies: Iterable[ScalingPolicy], now: float
) -> list[Alarmed]:
    value, recent = (points[-1], max(points[-_LAST_FEW:])) if points else (None, None)
    asked = _next(alarm, now) - _repeat(alarm)
    return [
        Alarmed(
            policy=policy,
            alarm=alarm.name,
            value=_stepped(policy.steps, alarm, points) if policy.steps is not None else value,
            recent=recent,
            threshold=alarm.threshold,
            above=alarm.comparison.startswith("Greater"),
            due=policy.acted_at < asked or policy.acted_at > now + SET_BACK,
        )
        for policy in policies
        if policy.arn in alarm.alarm_actions
    ]


def _stepped(steps: Steps, alarm: Alarm, points: list[float]) -> float:
    """What a step is chosen by: those of the newest data points that breach, aggregated. An alarm that was
    set by hand has none, and a step needs no more than its threshold."""
    breaches, _ = COMPARISONS[alarm.comparison]
    newest = points[-alarm.evaluation_periods :]
    breaching = [value for value in newest if breaches(value, alarm.threshold)]
    return aggregated(steps, breaching or newest) if newest else alarm.threshold


def _changes(made: Plan, snapshot: Snapshot) -> bool:
    return made.target != snapshot.target or bool(made.policies or made.actions or made.activities)


def apply(tx: Tx, snapshot: Snapshot, made: Plan, ids: Ids, now: float) -> None:
    """Carry the plan out, unless something has changed since: that change brings the target by again."""
    id = SCALABLE_TARGET.id(snapshot.target)
    service = tx.get(SERVICE, snapshot.target.service_arn)
    if tx.get(SCALABLE_TARGET, id) != snapshot.target or service != snapshot.service:
        return
    if any(tx.get(SCALING_POLICY, SCALING_POLICY.id(it)) not in snapshot.policies for it in made.policies):
        return
    if any(tx.get(SCHEDULED_ACTION, SCHEDULED_ACTION.id(it)) not in snapshot.actions for it in made.actions):
        return
    if made.target is None:
        forget_target(tx, snapshot.target)
        return
    tx.put(SCALABLE_TARGET, made.target)
    for policy in made.policies:
        tx.put(SCALING_POLICY, policy)
    for action in made.actions:
        tx.put(SCHEDULED_ACTION, action)
    for activity in made.activities:
        tx.put(SCALING_ACTIVITY, activity)
    if made.acted is not None:
        _note_action(tx, made.acted, now)
    if made.desired is not None and service is not None:
        set_desired(tx, service, made.desired, message(made), ids, now)


def _note_action(tx: Tx, acted: Alarmed, now: float) -> None:
    """The alarm's history says that its action was taken."""
    arn = acted.policy.arn
    alarm = tx.get(ALARM, alarm_arn(Scope(acted.policy.account, acted.policy.region), acted.alarm))
    if alarm is None:
        return
    data = {
        "actionState": "Succeeded",
        "stateUpdateTimestamp": int(alarm.state_updated_at * 1000),
        "notificationResource": arn,
        "publishedMessage": None,
        "error": None,
    }
    note(tx, alarm, now, "Action", f"Successfully executed action {arn}", data)


def set_desired(tx: Tx, service: Service, desired: int, said: str, ids: Ids, now: float) -> None:
    """Give a service another desired count, and say so in its events."""
    tx.put(SERVICE, replace(service, desired_count=desired, steady_at=None))
    service_history.tell(tx, service, (said,), ids, now)
    name = "SERVICE_DESIRED_COUNT_UPDATED"
    outbox.emit(
        tx,
        service_action(
            service.account, service.region, service.arn, service.cluster_arn, name, now, reason=said
        ),
    )
