"""AWS's cron: minutes, hours, day of month, month, day of week, year, with ? L W and #. Pure, without zones.

Called by model/schedule only. Written here because the libraries that read this dialect know UTC alone, give
up after ten steps (29 February) and fall over `LW`.
"""

import calendar
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_MONTH_NAMES: Final = (
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN"),
    *("JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_DAY_NAMES: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LAST_BEFORE = re.compile(r"L-([0-9]{1,2})")
_NEAREST = re.compile(r"([0-9]{1,2})W")
_LAST_DAY = re.compile(r"([0-9]|[A-Z]{3})L")
_NTH_DAY = re.compile(r"([0-9]|[A-Z]{3})#([0-9])")
_SATURDAY: Final = 7


class CronError(ValueError):
    """The six fields are not valid; the message names the field."""


@dataclass(frozen=True, slots=True)
class Field:
    """The values of one field and what they are called."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]


_MINUTES: Final = Field("minutes", 0, 59, {})
_HOURS: Final = Field("hours", 0, 23, {})
_DAY_OF_MONTH: Final = Field("day-of-month", 1, 31, {})
_MONTH: Final = Field("month", 1, 12, {name: n for n, name in enumerate(_MONTH_NAMES, 1)})
_DAY_OF_WEEK: Final = Field("day-of-week", 1, 7, {name: n for n, name in enumerate(_DAY_NAMES, 1)})
_YEAR: Final = Field("year", 1970, 2199, {})


@dataclass(frozen=True, slots=True)
class DaysOfMonth:
    """Days by number, the last one (less some), or the weekday that is nearest to either."""

    days: tuple[int, ...] = ()
    before_last: int | None = None
    weekday: bool = False

    def of(self, year: int, month: int) -> list[int]:
        length = calendar.monthrange(year, month)[1]
        named = self.days if self.before_last is None else (length - self.before_last,)
        days = [day for day in named if 1 <= day <= length]
        return [_nearest_weekday(year, month, day, length) for day in days] if self.weekday else days


@dataclass(frozen=True, slots=True)
class DaysOfWeek:
    """Days by name (1 is Sunday): each one, or only the month's n-th or last (-1)."""

    days: tuple[int, ...]
    nth: int = 0

    def of(self, year: int, month: int) -> list[int]:
        first, length = calendar.monthrange(year, month)
        days = [day for day in range(1, length + 1) if (first + day) % 7 + 1 in self.days]
        if not self.nth:
            return days
        place = self.nth if self.nth < 0 else self.nth - 1
        return [days[place]] if place < len(days) else []


@dataclass(frozen=True, slots=True)
class Cron:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: DaysOfMonth | DaysOfWeek
    months: tuple[int, ...]
    years: tuple[int, ...]

    def minutes_from(self, begin: datetime) -> Iterator[datetime]:
        """Every minute that the fields name, from the one that `begin` lies in on."""
        begin = begin.replace(second=0, microsecond=0)
        for year in self.years[bisect_left(self.years, begin.year) :]:
            for month in self.months:
                if (year, month) < (begin.year, begin.month):
                    continue
                for day in sorted(self.days.of(year, month)):
                    if (year, month, day) >= (begin.year, begin.month, begin.day):
                        yield from self._minutes_of(datetime(year, month, day), begin)  # noqa: DTZ001

    def _minutes_of(self, day: datetime, begin: datetime) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                moment = day.replace(hour=hour, minute=minute)
                if moment >= begin:
                    yield moment


def parse(text: str) -> Cron:
    """Read the six fields. Raise CronError."""
    fields = text.upper().split()
    if len(fields) != 6:
        raise CronError(f"a cron expression has six fields, not {len(fields)}")
    minutes, hours, month_day, month, week_day, year = fields
    if (month_day == "?") == (week_day == "?"):
        raise CronError("exactly one of day-of-month and day-of-week must be ?")
    return Cron(
        _values(minutes, _MINUTES),
        _values(hours, _HOURS),
        _days_of_month(month_day) if week_day == "?" else _days_of_week(week_day),
        _values(month, _MONTH),
        _values(year, _YEAR),
    )


def _days_of_month(text: str) -> DaysOfMonth:
    if text in ("L", "LW"):
        return DaysOfMonth(before_last=0, weekday=text == "LW")
    if match := _LAST_BEFORE.fullmatch(text):
        before = int(match[1])
        if not 1 <= before <= 30:
            raise _wrong(_DAY_OF_MONTH, text)
        return DaysOfMonth(before_last=before)
    if match := _NEAREST.fullmatch(text):
        return DaysOfMonth((_value(match[1], _DAY_OF_MONTH),), weekday=True)
    return DaysOfMonth(_values(text, _DAY_OF_MONTH))


def _days_of_week(text: str) -> DaysOfWeek:
    if text == "L":
        return DaysOfWeek((_SATURDAY,))
    if match := _LAST_DAY.fullmatch(text):
        return DaysOfWeek((_value(match[1], _DAY_OF_WEEK),), nth=-1)
    if match := _NTH_DAY.fullmatch(text):
        nth = int(match[2])
        if not 1 <= nth <= 5:
            raise _wrong(_DAY_OF_WEEK, text)
        return DaysOfWeek((_value(match[1], _DAY_OF_WEEK),), nth)
    return DaysOfWeek(_values(text, _DAY_OF_WEEK))


def _values(text: str, field: Field) -> tuple[int, ...]:
    """The values of a list of single ones, ranges and steps, in order."""
    return tuple(sorted({value for part in text.split(",") for value in _part(part, field)}))


def _part(text: str, field: Field) -> list[int]:
    range_, slash, step = text.partition("/")
    first, dash, last = range_.partition("-")
    if range_ == "*":
        low, high = field.low, field.high
    else:
        low = _value(first, field)
        high = _value(last, field) if dash else (field.high if slash else low)
    every = _number(step, field, text) if slash else 1
    if every < 1:
        raise _wrong(field, text)
    if low <= high:
        return list(range(low, high + 1, every))
    if field is _YEAR:
        raise _wrong(field, text)
    # A range may go over the end: FRI-MON, 22-2.
    size = field.high - field.low + 1
    return [(value - field.low) % size + field.low for value in range(low, high + size + 1, every)]


def _value(text: str, field: Field) -> int:
    value = field.names.get(text)
    if value is None:
        value = _number(text, field, text)
    if not field.low <= value <= field.high:
        raise _wrong(field, text)
    return value


def _number(text: str, field: Field, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise _wrong(field, shown)
    return int(text)


def _wrong(field: Field, text: str) -> CronError:
    return CronError(f"{text[:50]!r} is not valid for {field.name}: values are {field.low} to {field.high}")


def _nearest_weekday(year: int, month: int, day: int, length: int) -> int:
    """The Monday to Friday nearest to a day, in the same month."""
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < length else day - 2
    return day
