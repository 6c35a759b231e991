"""When something is to happen: AWS's schedule expressions at(...), rate(...) and cron(...), in an IANA time
zone. Pure.

Called by services/application_autoscaling, services/events and services/scheduler to check an expression, and
by their loops for the next moment; by services/secretsmanager to check one. Each service words its refusal
itself: ScheduleError says what is wrong.
"""

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from neargate.model import schedule_cron
from neargate.model.schedule_cron import Cron

_EXPRESSION = re.compile(r"(at|rate|cron)\((.*)\)")
_AT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})")
_RATE = re.compile(r"([0-9]{1,9}) +(minute|hour|day)(s?)")
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}


class ScheduleError(ValueError):
    """The expression or the time zone is not valid; the message says why."""


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a moment."""

    moment: float

    def next_after(self, moment: float, anchor: float) -> float | None:
        return self.moment if self.moment > moment else None


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so many seconds, counted from an anchor."""

    seconds: int

    def next_after(self, moment: float, anchor: float) -> float | None:
        if moment < anchor:
            return anchor
        due = anchor + (int((moment - anchor) // self.seconds) + 1) * self.seconds
        return due if due > moment else due + self.seconds


@dataclass(frozen=True, slots=True)
class Calendar:
    """At each minute of a zone's wall clock that the cron fields name."""

    cron: Cron
    zone: ZoneInfo

    def next_after(self, moment: float, anchor: float) -> float | None:
        """As EventBridge Scheduler does it: a local time that the clocks skip is skipped; of one that they
        show twice only the first counts."""
        try:
            begin = datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None)
        except (OverflowError, ValueError, OSError):
            return None
        for local in self.cron.minutes_from(begin):
            due = _exact(local, self.zone)
            if due is not None and due > moment:
                return due
        return None


Schedule = At | Rate | Calendar


def parse(text: str, timezone: str = "", *, agreeing: bool = False) -> Schedule:
    """The schedule that an expression means in a time zone (UTC if empty). Raise ScheduleError.

    agreeing -- `1 minutes` and `2 minute` are refused, as EventBridge's rules do.
    A schedule's `next_after(moment, anchor)` is its first moment later than `moment`, or None if there is
    none any more. `anchor` is where a rate counts from: itself the first moment of it.
    """
    zone = zone_of(timezone)
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise ScheduleError("an expression is at(yyyy-MM-ddTHH:mm:ss), rate(value unit) or cron(six fields)")
    kind, inner = match.groups()
    if kind == "at":
        return _at(inner, zone)
    if kind == "rate":
        return _rate(inner, agreeing)
    try:
        return Calendar(schedule_cron.parse(inner), zone)
    except schedule_cron.CronError as error:
        raise ScheduleError(str(error)) from None


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of a name; UTC for an empty one. Raise ScheduleError."""
    if name and name not in _zones():
        raise ScheduleError(f"{name[:100]!r} is no time zone of the IANA database")
    return ZoneInfo(name or "UTC")


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _at(text: str, zone: ZoneInfo) -> At:
    match = _AT.fullmatch(text)
    try:
        local = datetime(*map(int, match.groups())) if match else None  # type: ignore[arg-type]  # noqa: DTZ001
        moment = _exact(local, zone, forward=True) if local is not None else None
    except (OverflowError, ValueError):
        moment = None
    if moment is None:
        raise ScheduleError(f"{text[:100]!r} is no moment of the form yyyy-MM-ddTHH:mm:ss, without a zone")
    return At(moment)


def _rate(text: str, agreeing: bool) -> Rate:
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ScheduleError("a rate is a whole number and minute(s), hour(s) or day(s)")
    value = int(match[1])
    if value < 1:
        raise ScheduleError("a rate must be greater than 0")
    if agreeing and (value == 1) == bool(match[3]):
        raise ScheduleError("a rate of 1 takes the singular of its unit, any other the plural")
    return Rate(value * _UNITS[match[2]])


def _exact(local: datetime, zone: ZoneInfo, *, forward: bool = False) -> float | None:
    """The moment at which the zone's clocks first show a time; None (or, `forward`, as much later as they
    skip) if they never do."""
    there = local.replace(tzinfo=zone)
    moment = there.astimezone(UTC)
    if not forward and moment.astimezone(zone).replace(tzinfo=None) != local:
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
