"""Schedule expressions: what is taken, what is refused, and the next moment against a look at each minute."""

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neargate.model.schedule import At, Rate, ScheduleError, parse, zone_of

FIRST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
LAST = datetime(2032, 1, 1, tzinfo=UTC).timestamp()


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(moment: float | None, zone: str = "UTC") -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("cron(0 10 * * ? *)", "2026-03-01T10:00:00", "2026-03-02T10:00:00+00:00"),
        ("cron(0 10 * * ? *)", "2026-03-01T09:59:59", "2026-03-01T10:00:00+00:00"),
        ("cron(15 12 * * ? *)", "2026-03-01T00:00:00", "2026-03-01T12:15:00+00:00"),
        ("cron(0 18 ? * MON-FRI *)", "2026-03-06T18:00:00", "2026-03-09T18:00:00+00:00"),
        ("cron(0 8 1 * ? *)", "2026-03-01T08:00:00", "2026-04-01T08:00:00+00:00"),
        ("cron(0/15 * * * ? *)", "2026-03-01T08:50:00", "2026-03-01T09:00:00+00:00"),
        ("cron(0/10 * ? * MON-FRI *)", "2026-03-06T23:55:00", "2026-03-09T00:00:00+00:00"),
        ("cron(0/5 8-17 ? * mon-fri *)", "2026-03-06T17:55:00", "2026-03-09T08:00:00+00:00"),
        ("cron(15 10 ? * 6L 2026-2027)", "2026-03-01T00:00:00", "2026-03-27T10:15:00+00:00"),
        ("cron(0 0 ? * L *)", "2026-03-01T00:00:00", "2026-03-07T00:00:00+00:00"),
        ("cron(0 0 ? * 2#1 *)", "2026-03-02T00:00:00", "2026-04-06T00:00:00+00:00"),
        ("cron(0 0 ? * TUE#5 *)", "2026-04-01T00:00:00", "2026-06-30T00:00:00+00:00"),
        ("cron(0 0 L * ? *)", "2028-02-01T00:00:00", "2028-02-29T00:00:00+00:00"),
        ("cron(0 0 L-3 * ? *)", "2026-02-01T00:00:00", "2026-02-25T00:00:00+00:00"),
        ("cron(0 0 LW * ? *)", "2026-02-01T00:00:00", "2026-02-27T00:00:00+00:00"),
        ("cron(0 0 15W * ? *)", "2026-03-01T00:00:00", "2026-03-16T00:00:00+00:00"),
        ("cron(0 0 1W * ? *)", "2026-08-01T00:00:00", "2026-08-03T00:00:00+00:00"),
        ("cron(0 0 31W 5 ? *)", "2026-05-01T00:00:00", "2026-05-29T00:00:00+00:00"),
        ("cron(0 0 29 2 ? *)", "2096-02-29T00:00:00", "2104-02-29T00:00:00+00:00"),
        ("cron(0 22-2 * * ? *)", "2026-03-01T02:00:00", "2026-03-01T22:00:00+00:00"),
        ("cron(0 0 ? * FRI-MON *)", "2026-03-02T00:00:00", "2026-03-06T00:00:00+00:00"),
        ("cron(30 6 1,15 JAN,JUL ? *)", "2026-01-15T06:30:00", "2026-07-01T06:30:00+00:00"),
        ("cron(0 0 1 1 ? 2027/3)", "2027-01-01T00:00:00", "2030-01-01T00:00:00+00:00"),
        ("cron(0 0 1 1 ? 2020)", "2026-01-01T00:00:00", None),
        ("cron(0 0 30 2 ? *)", "2026-01-01T00:00:00", None),
        ("at(2026-03-01T10:00:00)", "2026-03-01T09:59:59", "2026-03-01T10:00:00+00:00"),
        ("at(2026-03-01T10:00:00)", "2026-03-01T10:00:00", None),
    ],
)
def test_next_moment(expression: str, after: str, due: str | None) -> None:
    assert shown(parse(expression).next_after(at(after), 0.0)) == due


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "10 minutes",
        "at(2026-03-01T10:00:00Z)",
        "at(2026-03-01 10:00:00)",
        "at(2026-02-30T10:00:00)",
        "at(0000-01-01T00:00:00)",
        "rate(0 minutes)",
        "rate(-1 minutes)",
        "rate(5 seconds)",
        "rate(5)",
        "rate(1.5 hours)",
        "rate(9999999999 days)",
        "cron(0 10 * * *)",
        "cron(0 10 * * ? * *)",
        "cron(0 10 * * * *)",
        "cron(0 10 ? * ? *)",
        "cron(0 10 1 * MON *)",
        "cron(60 10 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 0 0 * ? *)",
        "cron(0 0 32 * ? *)",
        "cron(0 0 32W * ? *)",
        "cron(0 0 L-31 * ? *)",
        "cron(0 0 1 13 ? *)",
        "cron(0 0 ? * 0 *)",
        "cron(0 0 ? * 8L *)",
        "cron(0 0 ? * MON#6 *)",
        "cron(0 0 ? * MOM *)",
        "cron(0 0 1 1 ? 1969)",
        "cron(0 0 1 1 ? 2030-2028)",
        "cron(*/0 * * * ? *)",
        "cron(1- * * * ? *)",
        "cron(-1 * * * ? *)",
        "cron(*-5 * * * ? *)",
        "cron(1,,2 * * * ? *)",
        "cron(0/5, 9-18, ?, *, MON-FRI, *)",
        "cron(٣ * * * ? *)",
        "cron(0 10 * * ? *) ",
        "at(2026-03-01T10:00:00)\n",
    ],
)
def test_refused(expression: str) -> None:
    with pytest.raises(ScheduleError):
        parse(expression)


@settings(deadline=None)
@given(st.text(alphabet="crontae() 0123456789*?/,-LW#MFTS:\ud800\x00", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for expression in (text, f"cron({text})", f"at({text})", f"rate({text})"):
        with contextlib.suppress(ScheduleError):
            parse(expression).next_after(FIRST, FIRST)


def test_rates_of_rules_agree_with_their_unit() -> None:
    assert parse("rate(1 minute)", agreeing=True) == Rate(60)
    assert parse("rate(1 minutes)") == parse("rate(1 minute)") == Rate(60)
    assert parse("rate(2 days)", agreeing=True) == Rate(2 * 86400)
    for text in ("rate(1 hours)", "rate(2 hour)"):
        with pytest.raises(ScheduleError):
            parse(text, agreeing=True)


@settings(deadline=None)
@given(st.floats(FIRST, LAST), st.floats(-1e6, 1e8), st.integers(1, 10_000))
def test_a_rate_is_at_the_anchor_and_every_period_after(anchor: float, later: float, minutes: int) -> None:
    moment = anchor + later
    due = Rate(minutes * 60).next_after(moment, anchor)
    assert due is not None and due > moment
    if moment < anchor:
        assert due == anchor
    else:
        assert due - moment <= minutes * 60 + 1e-3
        periods = (due - anchor) / (minutes * 60)
        assert abs(periods - round(periods)) < 1e-6


def test_a_time_that_the_clocks_skip_is_skipped_and_one_shown_twice_counts_once() -> None:
    zone = "Europe/Berlin"
    daily = parse("cron(30 2 * * ? *)", zone)
    assert shown(daily.next_after(at("2026-03-28T12:00:00", zone), 0.0), zone) == "2026-03-30T02:30:00+02:00"
    first = daily.next_after(at("2026-10-24T12:00:00", zone), 0.0)
    assert first is not None and shown(first, zone) == "2026-10-25T02:30:00+02:00"
    assert shown(daily.next_after(first, 0.0), zone) == "2026-10-26T02:30:00+01:00"
    quarters = parse("cron(0/15 * * * ? *)", zone)
    assert shown(quarters.next_after(first + 900, 0.0), zone) == "2026-10-25T03:00:00+01:00"


def test_a_zone_moves_the_moment() -> None:
    assert shown(parse("cron(0 9 * * ? *)", "America/New_York").next_after(at("2026-07-01T00:00:00"), 0)) == (
        "2026-07-01T13:00:00+00:00"
    )
    assert parse("at(2026-01-01T12:00:00)", "Asia/Tokyo") == At(at("2026-01-01T03:00:00"))
    # The clocks go from 2 to 3: the moment is as much later.
    assert parse("at(2026-03-29T02:30:00)", "Europe/Berlin") == At(at("2026-03-29T01:30:00"))


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "America", "/UTC", "utc\x00", "\ud800"])
def test_no_such_zone(name: str) -> None:
    with pytest.raises(ScheduleError):
        zone_of(name)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    single = st.integers(low, high).map(str)
    ranged = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: f"{min(p)}-{max(p)}")
    whole = st.just("*")
    stepped = st.tuples(st.one_of(single, ranged, whole), st.integers(1, 20)).map(lambda p: f"{p[0]}/{p[1]}")
    part = st.one_of(single, ranged, whole, stepped)
    return st.lists(part, min_size=1, max_size=3).map(",".join)


day_of_month = st.one_of(
    numbers(1, 31),
    st.just("L"),
    st.just("LW"),
    st.integers(1, 30).map("L-{}".format),
    st.integers(1, 31).map("{}W".format),
)
day_of_week = st.one_of(
    numbers(1, 7),
    st.just("L"),
    st.integers(1, 7).map("{}L".format),
    st.tuples(st.integers(1, 7), st.integers(1, 5)).map(lambda p: f"{p[0]}#{p[1]}"),
)
days = st.one_of(day_of_month.map(lambda d: (d, "?")), day_of_week.map(lambda d: ("?", d)))


def named(text: str, low: int, high: int) -> set[int]:
    """A field's values by another way than the model's: each value is asked about by itself."""
    found = set()
    for part in text.split(","):
        range_, _, step = part.partition("/")
        first, _, last = range_.partition("-")
        for value in range(low, high + 1):
            start = low if first == "*" else int(first)
            end = high if first == "*" or (step and not last) else int(last or first)
            if start <= value <= end and (value - start) % int(step or 1) == 0:
                found.add(value)
    return found


def day_matches(day: datetime, month_day: str, week_day: str) -> bool:
    end = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    if week_day == "?":
        if month_day == "L":
            return day.day == end.day
        if month_day.startswith("L-"):
            return day.day == end.day - int(month_day[2:])
        if month_day.endswith("W"):
            wanted = end.day if month_day == "LW" else int(month_day[:-1])
            if wanted > end.day or day.weekday() > 4:
                return False
            weekdays = [d for d in range(1, end.day + 1) if day.replace(day=d).weekday() < 5]
            return day.day == min(weekdays, key=lambda d: abs(d - wanted))
        return day.day in named(month_day, 1, 31)
    number = day.isoweekday() % 7 + 1
    if week_day == "L":
        return number == 7
    if week_day.endswith("L"):
        return number == int(week_day[:-1]) and day.day > end.day - 7
    if "#" in week_day:
        wanted, nth = map(int, week_day.split("#"))
        return number == wanted and (day.day - 1) // 7 + 1 == nth
    return number in named(week_day, 1, 7)


@settings(deadline=None)
@given(numbers(0, 59), numbers(0, 23), days, numbers(1, 12), st.integers(int(FIRST), int(LAST)))
@example("0", "0", ("29", "?"), "2", int(FIRST))
@example("59", "23", ("?", "7L"), "12", int(LAST))
def test_cron_is_what_a_look_at_each_minute_finds(
    minutes: str, hours: str, days: tuple[str, str], months: str, moment: int
) -> None:
    schedule = parse(f"cron({minutes} {hours} {days[0]} {months} {days[1]} *)")
    due = schedule.next_after(float(moment), 0.0)
    expected = _look(minutes, hours, days, months, moment)
    assert shown(due) == shown(expected)


def _look(minutes: str, hours: str, days: tuple[str, str], months: str, moment: int) -> float | None:
    begin = datetime.fromtimestamp(moment, UTC)
    day = begin.replace(hour=0, minute=0, second=0)
    in_month, in_hour, in_minute = named(months, 1, 12), named(hours, 0, 23), named(minutes, 0, 59)
    for _ in range(366 * 13):
        if day.month in in_month and day_matches(day, *days):
            for hour in sorted(in_hour):
                for minute in sorted(in_minute):
                    if (found := day.replace(hour=hour, minute=minute)) > begin:
                        return found.timestamp()
        day += timedelta(days=1)
    return None
