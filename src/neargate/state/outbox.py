"""Events into the store, in the transaction of what they tell of: one record for each target of each rule
that matches, and nothing at all where no rule listens.

`emit` is called by whoever changes a task, a service or an alarm, inside its own write; control/events is
woken by the change feed and delivers.
"""

import logging
import uuid
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from neargate.model import event_ecs
from neargate.model.event import Delivery, Event, Rule, Target
from neargate.model.event_pattern import compiled
from neargate.model.record import Record
from neargate.model.task import Task
from neargate.state.catalog_events import ANY_SOURCE, EVENT_DELIVERY, EVENT_RULE, listened
from neargate.state.store import Tx

log = logging.getLogger(__name__)
MOST_WAITING = 100_000
"""Events that wait for one target; of more the first are dropped: a target so far behind is lost."""
_LOOK_EVERY = 64
"""Events between two looks at how many wait, which costs more the more there are."""
MOST_HOPS = 5
"""Buses that an event is passed on through: rules may send in a circle."""


def emit(tx: Tx, event: Event) -> bool:
    """Whether any rule matched. Next to nothing where none listens: two looks into an index."""
    rules = _listening(tx, event)
    return bool(rules) and _matched(tx, rules, event.envelope(event_id(tx, event)), event.time)


def accept(tx: Tx, event: Event, now: float, hops: int = 0) -> str:
    """An event that somebody put: its id is told, whether or not any rule matches. now -- the event's own
    time is what they say it is. hops -- buses that it was passed on through."""
    id = event_id(tx, event)
    if rules := _listening(tx, event):
        _matched(tx, rules, event.envelope(id), now, hops)
    return id


def _matched(tx: Tx, rules: Iterable[Rule], envelope: dict[str, Any], now: float, hops: int = 0) -> bool:
    matched = [rule for rule in rules if compiled(rule.pattern or "").matches(envelope)]
    for rule in matched:
        for target in rule.targets:
            put(tx, rule, rule.arn, target, envelope, now, hops)
    return bool(matched)


def task_changed(tx: Tx, task: Task, now: float) -> Task:
    """Tell of a task's new version, where it was written; the task."""
    emit(tx, event_ecs.task_changed(task, now))
    return task


def _listening(tx: Tx, event: Event) -> list[Rule]:
    found: list[Rule] = []
    for source in dict.fromkeys((event.source, ANY_SOURCE)):
        value = listened(event.account, event.region, event.bus, source)
        if tx.count(EVENT_RULE, "listens", value):
            found += tx.find(EVENT_RULE, "listens", value)
    return found


def event_id(tx: Tx, event: Event) -> str:
    """As random as a task's ARN and a moment are; without drawing any, as this runs inside a write."""
    number = tx.next("event")
    told = (number, repr(event.time), event.account, event.source, event.detail_type, *event.resources)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, told))))


def put(
    tx: Tx, owner: Record, origin: str, target: Target, envelope: dict[str, Any], now: float, hops: int = 0
) -> None:
    """Send an event on its way to one target. origin -- ARN of the rule or schedule, which is the owner."""
    queue = f"{origin}#{target.id}"
    delivery = Delivery(
        account=owner.account,
        region=owner.region,
        queue=queue,
        sequence=tx.next("event-delivery"),
        target=replace(target, given={}),
        rule_arn=origin,
        event=envelope,
        created_at=now,
        due_at=now,
        hops=hops,
    )
    tx.insert(EVENT_DELIVERY, delivery)
    if delivery.sequence % _LOOK_EVERY == 0:
        _trim(tx, queue)


def _trim(tx: Tx, queue: str) -> None:
    waiting = tx.count(EVENT_DELIVERY, "queue", queue)
    if waiting > MOST_WAITING:
        log.warning("too many events wait for a target: the first are dropped", extra={"target": queue})
        for id in tx.ids(EVENT_DELIVERY, "queue", queue, limit=waiting - MOST_WAITING):
            tx.delete(EVENT_DELIVERY, id)
