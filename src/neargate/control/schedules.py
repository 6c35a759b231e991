"""The loop that fires what is due by the clock: rules with a schedule, and EventBridge Scheduler's schedules.

Woken when one of them changes, and when the next is due. Firing is one write: the event is on its way
(control/events goes on) and the schedule waits for its next moment, so that it happens once, whatever dies.
"""

import asyncio
import uuid
from typing import Any

from neargate.control.parts import Parts, Watch
from neargate.model.event import Rule
from neargate.model.event_schedule import EventSchedule, Timed, due_at, filled, fired, scheduled_event
from neargate.state import outbox
from neargate.state.catalog_events import EVENT_RULE, EVENT_SCHEDULE, moment_of, passed
from neargate.state.store import Kind, Tx

_BATCH = 200
_LAST = "\U0010ffff"  # after every value of an index
_LONGEST_PAUSE = 60.0
"""So that a jump of the clock is noticed."""
_KINDS: tuple[Kind[Any], ...] = (EVENT_RULE, EVENT_SCHEDULE)


class Schedules:
    name = "schedules"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        watch = Watch(self._parts.store, *_KINDS)
        await watch.changed()  # from here on; what is due is looked up anyway
        while True:
            while await self._round():
                pass
            await self._wait(watch)

    async def _round(self) -> bool:
        """Fire what is due, up to a batch; True if there may be more."""
        now = self._parts.clock.now()
        ids = await self._parts.store.read(lambda tx: _due(tx, now))
        if not ids:
            return False
        await self._parts.store.write(lambda tx: apply(tx, ids, now))
        return True

    async def _wait(self, watch: Watch) -> None:
        clock = self._parts.clock
        first = await self._parts.store.read(_first)
        pause = _LONGEST_PAUSE if first is None else min(_LONGEST_PAUSE, max(0.0, first - clock.now()))
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(clock.sleep(pause)), group.create_task(watch.changed())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()


def _due(tx: Tx, now: float) -> list[tuple[Kind[Any], str]]:
    """Up to a batch of what is due, the longest due first."""
    found: list[tuple[Kind[Any], str]] = []
    for kind in _KINDS:
        for value in tx.values(kind, "due", until=passed(now), limit=_BATCH):
            found += [(kind, arn) for arn in tx.ids(kind, "due", value, limit=_BATCH - len(found))]
            if len(found) == _BATCH:
                return found
    return found


def _first(tx: Tx) -> float | None:
    """When the next one is due. By the index alone: thousands may be due in that moment."""
    firsts = [value for kind in _KINDS for value in tx.values(kind, "due", until=_LAST, limit=1)]
    return moment_of(min(firsts)) if firsts else None


def apply(tx: Tx, ids: list[tuple[Kind[Any], str]], now: float) -> None:
    """Fire those that are due still."""
    for kind, arn in ids:
        record: Timed | None = tx.get(kind, arn)
        if record is None or (due_at(record) or now + 1) > now:
            continue
        if isinstance(record, Rule):
            _fire_rule(tx, record, now)
        else:
            _fire(tx, record, now)


def _fire_rule(tx: Tx, rule: Rule, now: float) -> None:
    after: Timed = rule
    for target in rule.targets:
        at, after = fired(rule, now, target.max_age)
        if at is not None:
            event = scheduled_event(rule, at, _id(rule, at))
            outbox.put(tx, rule, rule.arn, target, event, now)
    if not rule.targets:
        _, after = fired(rule, now, 0.0)
    assert isinstance(after, Rule)
    tx.put(EVENT_RULE, after)


def _fire(tx: Tx, schedule: EventSchedule, now: float) -> None:
    at, after = fired(schedule, now, schedule.target.max_age)
    assert isinstance(after, EventSchedule)
    if at is not None:
        id = _id(schedule, at)
        target = filled(schedule.target, schedule, at, id)
        outbox.put(tx, schedule, schedule.arn, target, scheduled_event(schedule, at, id), now)
    if after.next_at is None and schedule.delete_after:
        tx.delete(EVENT_SCHEDULE, schedule.arn)
    else:
        tx.put(EVENT_SCHEDULE, after)


def _id(record: Timed, at: float) -> str:
    """The same however often this moment were fired for."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.arn}/{record.created_at!r}/{at!r}"))
