"""Kinds of EventBridge, EventBridge Scheduler and SQS; see catalog.py.

Imported by services/{events,scheduler,sqs}, state/{outbox,queues} and control/{events,schedules}.
"""

import math

from neargate.model.event import Delivery, EventBus, Rule
from neargate.model.event_http import ApiDestination, Connection
from neargate.model.event_pattern import compiled
from neargate.model.event_schedule import EventSchedule, ScheduleGroup
from neargate.model.queue import Deduplication, Message, Queue
from neargate.state.catalog import minute
from neargate.state.store import Kind

ANY_SOURCE = "*"


def due(at: float) -> str:
    """Index value of a moment, or the millisecond after it, in an order that text sorts by."""
    return f"{math.ceil(at * 1000):015d}"


def passed(now: float) -> str:
    """The greatest index value of the moments that have come."""
    return f"{math.floor(now * 1000):015d}"


def moment_of(value: str) -> float:
    return int(value) / 1000


def listened(account: str, region: str, bus: str, source: str) -> str:
    """Index value by which is seen at once whether any rule of a bus listens to a source."""
    return f"{account}/{region}/{bus}/{source}"


def _listens(rule: Rule) -> str | None:
    if rule.pattern is None or not rule.enabled or not rule.targets:
        return None
    sources = compiled(rule.pattern).sources
    source = sources[0] if len(sources) == 1 else ANY_SOURCE
    return listened(rule.account, rule.region, rule.bus, source)


EVENT_BUS = Kind("event-bus", EventBus, lambda r: r.arn)
EVENT_RULE = Kind(
    "event-rule",
    Rule,
    lambda r: r.arn,
    {
        "bus": lambda r: f"{r.account}/{r.region}/{r.bus}",
        "listens": _listens,
        "due": lambda r: None if r.next_at is None else due(r.next_at),
    },
)
EVENT_DELIVERY = Kind("event-delivery", Delivery, lambda r: r.id, {"queue": lambda r: r.queue})
EVENT_SCHEDULE_GROUP = Kind("event-schedule-group", ScheduleGroup, lambda r: r.arn)
EVENT_SCHEDULE = Kind(
    "event-schedule",
    EventSchedule,
    lambda r: r.arn,
    {
        "group": lambda r: f"arn:aws:scheduler:{r.region}:{r.account}:schedule-group/{r.group}",
        "due": lambda r: None if r.fire_at is None else due(r.fire_at),
    },
)
EVENT_CONNECTION = Kind("event-connection", Connection, lambda r: r.arn)
EVENT_API_DESTINATION = Kind("event-api-destination", ApiDestination, lambda r: r.arn)

QUEUE = Kind("queue", Queue, lambda r: r.arn)
QUEUE_MESSAGE = Kind(
    "queue-message",
    Message,
    lambda r: r.key,
    {
        "queue": lambda r: f"{r.queue:09d}",
        "sequence": lambda r: f"{r.queue:09d}/{r.sequence}",
        "expires": lambda r: minute(r.expires_at),
    },
)
QUEUE_DEDUPLICATION = Kind(
    "queue-deduplication", Deduplication, lambda r: r.id, {"minute": lambda r: minute(r.at)}
)
