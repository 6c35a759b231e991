"""EventBridge's records: buses, rules with their targets, and events on their way to a target.

Written by services/events, services/scheduler and state/outbox; control/events delivers what is on its way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from neargate.model.metadata import moment
from neargate.model.record import Record

DEFAULT_BUS = "default"
MAX_AGE_SECONDS = 86_400
MAX_ATTEMPTS = 185
"""What EventBridge does where a target says nothing of retries."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, before it is known whether any rule asks for it.

    detail -- made only when a rule may match: an event that nobody asked for costs next to nothing.
    """

    account: str
    region: str
    source: str
    detail_type: str
    time: float
    detail: Callable[[], dict[str, Any]]
    resources: tuple[str, ...] = ()
    bus: str = DEFAULT_BUS

    def envelope(self, id: str) -> dict[str, Any]:
        return {
            "version": "0",
            "id": id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": self.account,
            "time": second(self.time),
            "region": self.region,
            "resources": list(self.resources),
            "detail": self.detail(),
        }


def second(at: float) -> str:
    """A moment as an event's envelope has it: whole seconds."""
    return f"{moment(at)[:19]}Z"


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where events go, of a rule or of a schedule, in AWS's member names where the value is AWS's own."""

    id: str
    arn: str
    role_arn: str = ""
    input: str | None = None
    input_path: str | None = None
    input_paths: dict[str, str] = {}
    input_template: str | None = None
    ecs: dict[str, Any] = {}
    http: dict[str, Any] = {}
    event_bridge: dict[str, str] = {}
    """DetailType and Source of the event that EventBridge Scheduler puts."""
    message_group: str = ""
    dead_letter_arn: str = ""
    max_age: int = MAX_AGE_SECONDS
    max_attempts: int = MAX_ATTEMPTS
    """Retries after the first attempt."""
    given: dict[str, Any] = {}
    """The target as it was put: what lists show."""


class EventBus(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    description: str = ""
    statements: tuple[dict[str, Any], ...] = ()
    """Of its policy. Recorded only: there is one account."""
    kms_key: str = ""
    dead_letter_arn: str = ""
    tags: dict[str, str] = {}
    created_at: float = 0.0
    modified_at: float = 0.0


class Rule(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    bus: str
    description: str = ""
    pattern: str | None = None
    schedule: str | None = None
    state: str = "ENABLED"
    role_arn: str = ""
    created_by: str = ""
    targets: tuple[Target, ...] = ()
    tags: dict[str, str] = {}
    created_at: float = 0.0
    next_at: float | None = None
    """When the schedule is due; None: it has none, or is disabled."""

    @property
    def enabled(self) -> bool:
        return self.state != "DISABLED"


class Delivery(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One event on its way to one target: gone once it is there, or given up."""

    queue: str
    """What is delivered one after the other: the target, of one rule or schedule."""
    sequence: int
    target: Target
    rule_arn: str
    event: dict[str, Any]
    created_at: float
    due_at: float
    attempts: int = 0
    done: int = 0
    """Tasks that earlier attempts started, of several."""
    hops: int = 0
    """Buses that the event was passed on through."""
    error: str = ""
    """Why the last attempt failed."""

    @property
    def id(self) -> str:
        """First those never tried, in the order of their events; then by when they are due again."""
        due = int(self.due_at * 1000) if self.attempts else 0
        return f"{self.queue}/{due:015d}/{self.sequence:015d}"


def bus_id(account: str, region: str, name: str) -> str:
    return f"arn:aws:events:{region}:{account}:event-bus/{name}"


def rule_arn(account: str, region: str, bus: str, name: str) -> str:
    where = name if bus == DEFAULT_BUS else f"{bus}/{name}"
    return f"arn:aws:events:{region}:{account}:rule/{where}"
