"""What is due by the clock, on a clock that the test drives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.control.schedules import Schedules, _due, _first, apply
from neargate.kit.clock import ManualClock
from neargate.model.event import MAX_AGE_SECONDS, Rule, Target
from neargate.model.event_schedule import EventSchedule, fired, offset, timed
from neargate.state.catalog_events import EVENT_DELIVERY, EVENT_RULE, EVENT_SCHEDULE
from tests.unit.control.house import SCOPE, Parts, house

NOW = ManualClock().now()
DAY = 86_400.0


def schedule(expression: str = "rate(5 minutes)", **fields: Any) -> EventSchedule:
    name = fields.pop("name", "s")
    values = {
        "arn": SCOPE.arn("scheduler", f"schedule/default/{name}"),
        "name": name,
        "group": "default",
        "target": Target(id="target", arn=SCOPE.arn("sqs", "q")),
        "created_at": NOW,
        **fields,
    }
    return EventSchedule(account=SCOPE.account, region=SCOPE.region, expression=expression, **values)


def rule(expression: str, next_at: float, targets: int = 1) -> Rule:
    return Rule(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=SCOPE.arn("events", "rule/r"),
        name="r",
        bus="default",
        schedule=expression,
        created_at=NOW,
        next_at=next_at,
        targets=tuple(Target(id=str(i), arn=SCOPE.arn("sqs", "q")) for i in range(targets)),
    )


@contextlib.asynccontextmanager
async def keeping(parts: Parts) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Schedules(parts).run())
        yield
        task.cancel()


async def fired_at(parts: Parts) -> list[str]:
    """The moments that events on their way were fired for."""
    found = await parts.store.read(lambda tx: tx.all(EVENT_DELIVERY))
    return sorted(delivery.event["time"] for delivery in found)


async def sent(parts: Parts, count: int) -> None:
    await parts.until(lambda tx: len(tx.all(EVENT_DELIVERY)) == count)


async def advance(parts: Parts, seconds: float) -> None:
    """Once the loop waits for the clock."""
    while not parts.clock._sleepers:  # noqa: ASYNC110 (a clock of tests has nothing to wait on)
        await asyncio.sleep(0)
    parts.clock.advance(seconds)


async def test_a_rate_is_fired_each_time_once(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await parts.store.write(lambda tx: tx.put(EVENT_SCHEDULE, timed(schedule(), NOW)))
        async with keeping(parts):
            await sent(parts, 1)  # a rate begins at once
            for count in (2, 3):
                for _ in range(5):
                    await advance(parts, 60)
                await sent(parts, count)
        assert await fired_at(parts) == [
            "2027-01-15T08:00:00Z",
            "2027-01-15T08:05:00Z",
            "2027-01-15T08:10:00Z",
        ]


async def test_a_schedule_made_while_the_loop_waits_is_seen(tmp_path: Path) -> None:
    async with house(tmp_path) as parts, keeping(parts):
        await parts.store.write(
            lambda tx: tx.put(EVENT_SCHEDULE, timed(schedule("at(2027-01-15T08:00:01)"), NOW))
        )
        await advance(parts, 1)
        await sent(parts, 1)
        kept = await parts.store.read(lambda tx: tx.all(EVENT_SCHEDULE))
        assert kept[0].next_at is None


async def test_when_the_next_is_due_is_known_without_reading_those_of_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(kind: Any, body: str) -> Any:
        raise AssertionError(body)

    async with house(tmp_path) as parts:
        for name in "abc":
            it = timed(schedule("at(2027-02-01T00:00:00)", name=name), NOW)
            await parts.store.write(lambda tx, it=it: tx.put(EVENT_SCHEDULE, it))
        monkeypatch.setattr("neargate.state.sqlite_tx._decode", never)
        assert await parts.store.read(_first) == it.next_at
        assert len(await parts.store.read(lambda tx: _due(tx, NOW + 365 * DAY))) == 3


async def test_a_rule_sends_to_each_of_its_targets(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await parts.store.write(lambda tx: tx.put(EVENT_RULE, rule("rate(1 minute)", NOW + 60, targets=2)))
        async with keeping(parts):
            await advance(parts, 60)
            await sent(parts, 2)
        found = await parts.store.read(lambda tx: tx.all(EVENT_DELIVERY))
        assert {d.event["id"] for d in found} == {found[0].event["id"]}
        assert found[0].event["source"] == "aws.events" and found[0].event["detail"] == {}


async def test_a_rule_without_targets_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await parts.store.write(lambda tx: tx.put(EVENT_RULE, rule("rate(1 minute)", NOW, targets=0)))
        async with keeping(parts):
            await parts.until(lambda tx: tx.all(EVENT_RULE)[0].next_at == NOW + 60)


async def test_what_completes_goes_where_it_was_said_so(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        once = schedule("at(2027-01-15T08:00:00)", delete_after=True)
        await parts.store.write(lambda tx: tx.put(EVENT_SCHEDULE, timed(once, NOW)))
        async with keeping(parts):
            await parts.until(lambda tx: not tx.all(EVENT_SCHEDULE))
        assert len(await fired_at(parts)) == 1


async def test_one_moment_is_fired_once_though_two_loops_saw_it_due(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        record = timed(schedule(), NOW)
        await parts.store.write(lambda tx: tx.put(EVENT_SCHEDULE, record))
        for _ in range(2):
            await parts.store.write(lambda tx: apply(tx, [(EVENT_SCHEDULE, record.arn)], NOW + 1))
        assert len(await fired_at(parts)) == 1


async def test_after_hours_without_a_daemon_it_is_fired_once(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await parts.store.write(lambda tx: tx.put(EVENT_SCHEDULE, timed(schedule(), NOW)))
        parts.clock.advance(3 * 3600 + 7)
        async with keeping(parts):
            await parts.until(lambda tx: (tx.all(EVENT_SCHEDULE)[0].next_at or 0) > parts.clock.now())
        assert await fired_at(parts) == ["2027-01-15T08:00:00Z"]
        kept = await parts.store.read(lambda tx: tx.all(EVENT_SCHEDULE))
        assert kept[0].next_at == NOW + 3 * 3600 + 300


def test_what_is_too_old_is_not_made_good() -> None:
    once = timed(schedule("at(2027-01-15T08:00:00)"), NOW)
    assert fired(once, NOW + DAY + 1, MAX_AGE_SECONDS)[0] is None
    assert fired(once, NOW + DAY - 1, MAX_AGE_SECONDS)[0] == NOW
    daily = timed(schedule("cron(0 8 * * ? *)"), NOW)
    told, after = fired(daily, NOW + 10.5 * DAY, MAX_AGE_SECONDS)
    assert told == NOW + 10 * DAY and after.next_at == NOW + 11 * DAY  # the one younger than a day


def test_start_and_end() -> None:
    begun = timed(schedule(start_at=NOW + 90, end_at=NOW + 400), NOW)
    assert begun.next_at == NOW + 90
    _, after = fired(begun, NOW + 90, MAX_AGE_SECONDS)
    assert after.next_at == NOW + 390
    assert fired(after, NOW + 390, MAX_AGE_SECONDS)[1].next_at is None
    assert timed(schedule(enabled=False), NOW).next_at is None


def test_a_rate_goes_on_from_where_it_began() -> None:
    assert timed(schedule(), NOW + 301).next_at == NOW + 600


@given(st.integers(1, 1440), st.integers(1, 100), st.integers(0, 50))
def test_a_window_loses_no_moment_and_fires_each_within_it(window: int, minutes: int, count: int) -> None:
    record: Any = timed(schedule(f"rate({minutes} minutes)", window=60.0 * window), NOW)
    told = []
    for _ in range(count):
        assert record.next_at <= record.fire_at <= record.next_at + record.window
        assert record.fire_at == record.next_at + offset(record, record.next_at)
        at, record = fired(record, record.fire_at, MAX_AGE_SECONDS)
        told.append(at)
    assert told == [NOW + 60 * minutes * n for n in range(count)]


@given(st.integers(1, 5000), st.floats(0, 40 * DAY))
def test_however_late_it_is_fired_once_and_waits_for_what_comes(minutes: int, late: float) -> None:
    record: Any = timed(schedule(f"rate({minutes} minutes)"), NOW)
    told, after = fired(record, NOW + late, MAX_AGE_SECONDS)
    assert after.next_at is not None and NOW + late < after.next_at <= NOW + late + 60 * minutes
    if told is not None:
        assert NOW + late - MAX_AGE_SECONDS <= told <= NOW + late
    else:
        assert late > MAX_AGE_SECONDS and 60 * minutes > MAX_AGE_SECONDS
