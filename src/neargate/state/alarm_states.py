"""The one place where an alarm's state becomes another: its record, its history, its event and the composite
alarms that follow it, all in the caller's transaction.

Called by control/alarms (evaluation) and services/cloudwatch (SetAlarmState, composites, DeleteAlarms).
Scaling policies are carried out by whoever watches ALARM records; of other actions the history says that they
are not taken here.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from neargate.model import alarm_suppression
from neargate.model.alarm import ALARM as ALARMING
from neargate.model.alarm import COMPOSITE, OK, Alarm, alarm_arn
from neargate.model.alarm_evaluation import stamp
from neargate.model.alarm_rule import parse
from neargate.model.event_alarm import alarm_changed
from neargate.model.record import Scope
from neargate.state import outbox
from neargate.state.catalog_alarms import ALARM, note
from neargate.state.store import Tx

_SCALING = ("arn:aws:autoscaling:",)


def turn(tx: Tx, alarm: Alarm, state: str, reason: str, data: dict[str, Any] | str, now: float) -> Alarm:
    """Give an alarm a state. data -- for machines: what is shown as StateReasonData."""
    moved = _moved(tx, alarm, state, reason, data, now)
    if moved.state != alarm.state:
        follow(tx, moved, now)
    return moved


def _moved(tx: Tx, alarm: Alarm, state: str, reason: str, data: dict[str, Any] | str, now: float) -> Alarm:
    text = data if isinstance(data, str) else json.dumps(data)
    moved = replace(
        alarm,
        state=state,
        reason=reason,
        reason_data=text,
        state_updated_at=now,
        state_transitioned_at=now if state != alarm.state else alarm.state_transitioned_at,
    )
    if state == alarm.state:
        return tx.put(ALARM, moved)
    moved = alarm_suppression.turned(moved, suppressing(tx, moved), now)
    tx.put(ALARM, moved)
    note(tx, moved, now, "StateUpdate", f"Alarm updated from {alarm.state} to {state}", _both(alarm, moved))
    outbox.emit(tx, _event(alarm, moved, now))
    if moved.acts:
        note_actions(tx, moved, now)
    return moved


def follow(tx: Tx, child: Alarm, now: float) -> None:
    """Have the composite alarms above one take note of its state, each once, after those below it: rules
    that name each other's children would else turn twice as often with each level."""
    composites = tx.find(ALARM, "composite", f"{child.account}/{child.region}")
    turned = {child.arn: child}
    _tell_suppressed(tx, child, composites, now)
    for arn in _above(child, composites):
        parent = tx.get(ALARM, arn)  # as it is by now: its suppressor may be one of those that turned
        assert parent is not None
        causes = [turned[below] for below in _below(parent) if below in turned]
        moved = _recomputed(tx, parent, causes[-1], now) if causes else parent
        if moved.state != parent.state:
            turned[arn] = moved
            _tell_suppressed(tx, moved, composites, now)


def _tell_suppressed(tx: Tx, suppressor: Alarm, composites: Sequence[Alarm], now: float) -> None:
    for it in composites:
        if it.suppressor in (suppressor.name, suppressor.arn):
            held = tx.get(ALARM, it.arn)
            assert held is not None
            changed = alarm_suppression.suppressor_turned(held, suppressor.state == ALARMING, now)
            _suppressed_as(tx, held, changed, now)


def _below(parent: Alarm) -> list[str]:
    """ARNs of the alarms that a composite one's rule names."""
    scope = Scope(parent.account, parent.region)
    return [_arn(scope, name) for name in parse(parent.rule).children]


def _above(child: Alarm, composites: Sequence[Alarm]) -> list[str]:
    """ARNs of those that may follow an alarm, each after those that it depends on."""
    below = {it.arn: frozenset(_below(it)) for it in composites}
    found = {child.arn}
    while more := {arn for arn, names in below.items() if arn not in found and names & found}:
        found |= more
    waiting = {arn: below[arn] for arn in sorted(found - {child.arn})}
    order: list[str] = []
    while waiting:
        ready = [arn for arn, names in waiting.items() if names.isdisjoint(waiting)]
        for arn in ready or [next(iter(waiting))]:  # a circle is entered somewhere
            order.append(arn)
            del waiting[arn]
    return order


def recompute(tx: Tx, parent: Alarm, now: float) -> Alarm:
    """Hold a composite alarm's rule, which is new, against its children's states."""
    moved = _recomputed(tx, parent, None, now)
    if moved.state != parent.state:
        follow(tx, moved, now)
    return moved


def _recomputed(tx: Tx, parent: Alarm, cause: Alarm | None, now: float) -> Alarm:
    """cause -- the child that changed."""
    rule = parse(parent.rule)
    scope = Scope(parent.account, parent.region)
    children = {name: find(tx, scope, name) for name in rule.children}
    states = {name: child.state for name, child in children.items() if child is not None}
    state = ALARMING if rule.holds(states) else OK
    if state == parent.state:
        return parent
    triggering = [cause] if cause is not None else [child for child in children.values() if child is not None]
    return _moved(tx, parent, state, _reason(parent, triggering), _triggers(triggering), now)


def find(tx: Tx, scope: Scope, given: str) -> Alarm | None:
    """By name or ARN."""
    return tx.get(ALARM, _arn(scope, given))


def _arn(scope: Scope, given: str) -> str:
    return given if given.startswith("arn:") else alarm_arn(scope, given)


def suppressing(tx: Tx, alarm: Alarm) -> bool:
    """The alarm that holds this one's actions back is in ALARM."""
    if not alarm.suppressor:
        return False
    found = find(tx, Scope(alarm.account, alarm.region), alarm.suppressor)
    return found is not None and found.state == ALARMING


def settle(tx: Tx, alarm: Alarm, now: float) -> Alarm:
    """End a wait or extension period that is over; its actions are then taken."""
    return _suppressed_as(tx, alarm, alarm_suppression.elapsed(alarm, now), now)


def _suppressed_as(tx: Tx, alarm: Alarm, changed: Alarm, now: float) -> Alarm:
    if changed == alarm:
        return alarm
    if changed.suppressed_action and changed.acts:
        note_actions(tx, changed, now)
    if not changed.suppressed_by:
        changed = replace(changed, suppressed_action=False)
    return tx.put(ALARM, changed)


def note_actions(tx: Tx, alarm: Alarm, now: float) -> None:
    """What the history says of the actions of the state that an alarm is in."""
    for arn in alarm.actions_of(alarm.state):
        if arn.startswith(_SCALING):
            continue
        service = arn.split(":")[2] if arn.count(":") >= 5 else arn
        data = {
            "actionState": "Failed",
            "stateUpdateTimestamp": int(alarm.state_updated_at * 1000),
            "notificationResource": arn,
            "publishedMessage": None,
            "error": f"Actions of {service} are not available in neargate.",
        }
        note(tx, alarm, now, "Action", f"Failed to execute action {arn}", data)


def _both(old: Alarm, new: Alarm) -> dict[str, Any]:
    return {"version": "1.0", "type": new.kind, "oldState": _told(old), "newState": _told(new)}


def _told(alarm: Alarm) -> dict[str, Any]:
    told: dict[str, Any] = {"stateValue": alarm.state, "stateReason": alarm.reason}
    data = _json(alarm.reason_data)
    return {**told, "stateReasonData": data} if data is not None else told


def _json(text: str) -> Any:
    """What callers of SetAlarmState gave may be any text."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


def _reason(parent: Alarm, triggering: Sequence[Alarm]) -> str:
    if not triggering:
        return f"{parent.arn} was evaluated without any alarm that it names"
    child = triggering[0]
    at = datetime.fromtimestamp(child.state_transitioned_at, UTC).strftime("%A %d %B, %Y %H:%M:%S UTC")
    return f"{child.arn} transitioned to {child.state} at {at}"


def _triggers(triggering: Sequence[Alarm]) -> dict[str, Any]:
    return {
        "triggeringAlarms": [
            {"arn": it.arn, "state": {"value": it.state, "timestamp": stamp(it.state_transitioned_at)}}
            for it in triggering[:10]
        ]
    }


def _event(old: Alarm, new: Alarm, now: float) -> Any:
    return alarm_changed(
        new.account,
        new.region,
        new.arn,
        new.name,
        now,
        state=_state(new, now),
        previous=_state(old, old.state_updated_at),
        configuration=_configuration(new),
    )


def _state(alarm: Alarm, at: float) -> dict[str, Any]:
    state: dict[str, Any] = {"value": alarm.state, "reason": alarm.reason, "timestamp": at}
    return {**state, "reasonData": alarm.reason_data} if alarm.reason_data else state


def _configuration(alarm: Alarm) -> dict[str, Any]:
    told: dict[str, Any] = {} if alarm.description is None else {"description": alarm.description}
    if alarm.kind == COMPOSITE:
        return {**told, "alarmRule": alarm.rule}
    return {**told, "metrics": [*_metrics(alarm)]}


def _metrics(alarm: Alarm) -> list[dict[str, Any]]:
    if not alarm.metrics:
        one = (
            alarm.namespace,
            alarm.metric_name,
            alarm.dimensions,
            alarm.period,
            alarm.statistic,
            alarm.unit,
        )
        return [{"id": alarm.name, "metricStat": _metric_stat(*one), "returnData": True}]
    shown: list[dict[str, Any]] = []
    for query in alarm.metrics:
        told: dict[str, Any] = {"id": query.id, "returnData": query.returned}
        if query.metric is None:
            told["expression"] = query.expression
        else:
            stat = query.metric
            told["metricStat"] = _metric_stat(
                stat.namespace, stat.name, stat.dimensions, stat.period, stat.stat, stat.unit
            )
        shown.append({**told, "label": query.label} if query.label is not None else told)
    return shown


def _metric_stat(
    namespace: str,
    name: str,
    dimensions: Sequence[tuple[str, str]],
    period: int,
    stat: str,
    unit: str | None,
) -> dict[str, Any]:
    metric = {"namespace": namespace, "name": name, "dimensions": dict(dimensions)}
    told: dict[str, Any] = {"metric": metric, "period": period, "stat": stat}
    return {**told, "unit": unit} if unit is not None else told
