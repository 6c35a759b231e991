"""Records of EventBridge Scheduler, and when a schedule, or a rule with one, is due. Pure.

Written by services/scheduler and services/events; control/schedules waits for what is due and fires it.
"""

import hashlib
from typing import Any

from msgspec.structs import replace

from neargate.model import schedule
from neargate.model.event import Rule, Target, second
from neargate.model.record import Record

DEFAULT_GROUP = "default"
_INSTANT = 1e-3


class ScheduleGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    tags: dict[str, str] = {}
    token: str = ""
    created_at: float = 0.0
    modified_at: float = 0.0


class EventSchedule(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    group: str
    expression: str
    timezone: str = ""
    target: Target
    start_at: float | None = None
    end_at: float | None = None
    window: float = 0.0
    """Seconds in which it may be fired, of a flexible time window."""
    enabled: bool = True
    delete_after: bool = False
    """ActionAfterCompletion: it goes once it is never due again."""
    description: str = ""
    kms_key: str = ""
    token: str = ""
    """ClientToken that it was made with."""
    created_at: float = 0.0
    modified_at: float = 0.0
    next_at: float | None = None
    """When it is due, by its expression; None: never again, or it is disabled."""
    fire_at: float | None = None
    """When it is fired: within its window."""


Timed = Rule | EventSchedule


def timed(record: EventSchedule, now: float) -> EventSchedule:
    """The schedule with the moment at which it is due first, from now on. A rate counts from the start date,
    or from when it was made, which is its first moment."""
    begin = now if record.start_at is None else max(now, record.start_at)
    return _due(record, _next(record, begin - _INSTANT) if record.enabled else None)


def _due(record: EventSchedule, at: float | None) -> EventSchedule:
    return replace(record, next_at=at, fire_at=None if at is None else at + offset(record, at))


def offset(record: EventSchedule, at: float) -> float:
    """A moment of the window that looks like chance, and is the same after a restart."""
    digest = hashlib.sha256(f"{record.arn}/{at!r}".encode()).digest()
    return record.window * int.from_bytes(digest[:4], "big") / (1 << 32)


def _next(record: Timed, after: float) -> float | None:
    if isinstance(record, Rule):
        return schedule.parse(record.schedule or "").next_after(after, record.created_at)
    parsed = schedule.parse(record.expression, record.timezone)
    anchor = record.created_at if record.start_at is None else record.start_at
    at = parsed.next_after(after, anchor)
    return None if at is not None and record.end_at is not None and at > record.end_at else at


def due_at(record: Timed) -> float | None:
    return record.next_at if isinstance(record, Rule) else record.fire_at


def fired(record: Timed, now: float, max_age: float) -> tuple[float | None, Timed]:
    """The moment that a schedule which is due is fired for, and the schedule as it goes on.

    What it missed while nobody could fire it is made good once: for the moment that it was waiting for, if
    that is younger than `max_age`, else for the first that is. None if there is none.
    """
    at, due = record.next_at, due_at(record)
    assert at is not None and due is not None
    told: float | None = at
    if now - due > max_age:
        told = _next(record, now - max_age)
        told = told if told is not None and told <= now else None
    window = 0.0 if isinstance(record, Rule) else record.window
    following = _next(record, max(at, now - window))
    if isinstance(record, Rule):
        return told, replace(record, next_at=following)
    return told, _due(record, following)


def scheduled_event(record: Timed, at: float, id: str) -> dict[str, Any]:
    """What the targets of a schedule are sent, unless they say otherwise."""
    rule = isinstance(record, Rule)
    return {
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events" if rule else "aws.scheduler",
        "account": record.account,
        "time": second(at),
        "region": record.region,
        "resources": [record.arn],
        "detail": {} if rule else "{}",
    }


def filled(target: Target, record: EventSchedule, at: float, id: str) -> Target:
    """The target with the words of its input replaced that stand for the schedule's own."""
    if target.input is None:
        return target
    text = target.input
    words = {
        "schedule-arn": record.arn,
        "scheduled-time": second(at),
        "execution-id": id,
        "attempt-number": "1",
    }
    for word, value in words.items():
        text = text.replace(f"<aws.scheduler.{word}>", value)
    return replace(target, input=text)
