"""The loop that evaluates alarms, on a real store and virtual time."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.control import alarms
from neargate.control.alarms import LAG, Alarms, due
from neargate.kit.clock import ManualClock
from neargate.model.alarm import (
    ALARM,
    COMPOSITE,
    INSUFFICIENT_DATA,
    OK,
    Alarm,
    AlarmHistory,
    DataQuery,
    MetricStat,
    alarm_arn,
)
from neargate.model.event import Rule, Target
from neargate.model.metric import metric, point
from neargate.state import alarm_states, catalog_alarms, metrics
from neargate.state.catalog_alarms import ALARM_HISTORY
from neargate.state.catalog_events import EVENT_DELIVERY, EVENT_RULE
from tests.unit.control.house import SCOPE, Parts, house

CPU = metric(SCOPE, "AWS/ECS", "CPUUtilization", {"ServiceName": "web", "ClusterName": "c"})
SNS = "arn:aws:sns:us-east-1:000000000000:topic"
POLICY = "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:x:resource/ecs/service/c/web:policyName/p"


def make(name: str = "high", **fields: Any) -> Alarm:
    values: dict[str, Any] = {
        "arn": alarm_arn(SCOPE, name),
        "name": name,
        "namespace": "AWS/ECS",
        "metric_name": "CPUUtilization",
        "dimensions": (("ServiceName", "web"), ("ClusterName", "c")),
        "statistic": "Average",
        "comparison": "GreaterThanThreshold",
        "threshold": 50.0,
        "alarm_actions": (POLICY, SNS),
        **fields,
    }
    return Alarm(account=SCOPE.account, region=SCOPE.region, **values)


def composite(name: str, rule: str, **fields: Any) -> Alarm:
    return Alarm(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=alarm_arn(SCOPE, name),
        name=name,
        kind=COMPOSITE,
        rule=rule,
        **{"state": OK, **fields},
    )


class Room:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.loop = Alarms(parts)
        self._task: asyncio.Task[Any] | None = None

    @property
    def minute(self) -> int:
        return int(self.parts.clock.now()) // 60 * 60

    async def put(self, *made: Alarm) -> None:
        await self.parts.store.write(lambda tx: [tx.put(catalog_alarms.ALARM, alarm) for alarm in made])

    async def measure(self, value: float, at: float) -> None:
        await self.parts.store.write(
            lambda tx: metrics.put(tx, [point(CPU, at, value, "Percent", resolution=1)])
        )

    async def get(self, name: str = "high") -> Alarm:
        found = await self.parts.store.read(lambda tx: tx.get(catalog_alarms.ALARM, alarm_arn(SCOPE, name)))
        assert found is not None
        return found

    async def history(self) -> list[AlarmHistory]:
        return await self.parts.store.read(lambda tx: tx.all(ALARM_HISTORY))

    async def look(self, seconds: int = 60) -> None:
        """One evaluation of everything, `seconds` later."""
        self.parts.clock.advance(seconds)
        self.loop._alarms = {
            a.arn: a for a in await self.parts.store.read(lambda tx: tx.all(catalog_alarms.ALARM))
        }
        await self.loop.round(self.minute - 60, self.minute)

    async def until(self, name: str, state: str) -> None:
        def met(tx: Any) -> bool:
            found = tx.get(catalog_alarms.ALARM, alarm_arn(SCOPE, name))
            return found is not None and found.state == state

        async with asyncio.timeout(20):
            await self.parts.until(met)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Room]:
    async with house(directory) as parts:
        yield Room(parts)


async def test_an_alarm_follows_its_metric_and_its_history_tells_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        await room.put(make())
        await room.measure(80.0, room.minute)
        await room.look()
        high = await room.get()
        assert (high.state, high.state_transitioned_at) == (ALARM, room.parts.clock.now())
        assert "1 out of the last 1 datapoints [80.0" in high.reason
        assert json.loads(high.reason_data)["recentDatapoints"] == [80.0]
        await room.measure(20.0, room.minute)
        await room.look()
        assert (await room.get()).state == OK
        told = [(line.type, line.summary) for line in await room.history()]
    assert told == [
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("Action", f"Failed to execute action {SNS}"),
        ("StateUpdate", "Alarm updated from ALARM to OK"),
    ]


async def test_a_state_that_stays_writes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        await room.put(make())
        await room.measure(80.0, room.minute)
        await room.look()
        head = room.parts.store.head()
        for _ in range(3):
            await room.measure(81.0, room.minute)
            await room.look()
        assert room.parts.store.head() == head


async def test_a_state_that_was_set_lasts_until_the_next_look(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        await room.put(make(state=OK))
        await room.measure(20.0, room.minute)
        now = room.parts.clock.now()
        await room.parts.store.write(
            lambda tx: alarm_states.turn(tx, make(state=OK), ALARM, "for a test", "", now)
        )
        assert (await room.get()).reason == "for a test"
        await room.look()
        assert (await room.get()).state == OK


async def test_an_alarm_that_changed_meanwhile_is_left_for_the_next_look(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        old = make()
        await room.put(replace(old, threshold=90.0))
        await room.measure(80.0, room.minute)
        room.parts.clock.advance(60)
        data = await room.parts.store.read(lambda tx: [(old, alarms.data_of(tx, old, room.minute))])
        turns = alarms.plan(data, 1.0)
        assert [it.verdict.state for it in turns] == [ALARM]
        await room.parts.store.write(lambda tx: alarms.apply(tx, turns, 1.0))
        assert (await room.get()).state == INSUFFICIENT_DATA


async def test_metric_maths_with_filled_gaps(tmp_path: Path) -> None:
    stat = MetricStat(
        namespace="AWS/ECS",
        name="CPUUtilization",
        dimensions=(("ClusterName", "c"), ("ServiceName", "web")),
        stat="Sum",
        period=60,
    )
    queries = (
        DataQuery(id="m1", metric=stat, returned=False),
        DataQuery(id="e1", expression="FILL(m1, 0) * 2"),
    )
    async with opened(tmp_path) as room:
        await room.put(
            make(metrics=queries, namespace="", metric_name="", evaluation_periods=2, datapoints_to_alarm=1)
        )
        await room.look()
        assert (await room.get()).state == OK
        await room.measure(26.0, room.minute)
        await room.look()
        assert (await room.get()).state == ALARM
        await room.look(180)
        assert (await room.get()).state == OK


async def test_composite_alarms_follow_at_once_one_above_the_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        await room.put(
            make(),
            composite("either", "ALARM(high) OR ALARM(other)", alarm_actions=(SNS,)),
            composite("above", f"ALARM({alarm_arn(SCOPE, 'either')}) AND NOT OK(high)"),
            composite("apart", "ALARM(other)"),
        )
        await room.measure(80.0, room.minute)
        await room.look()
        states = {name: (await room.get(name)).state for name in ("high", "either", "above", "apart")}
        assert states == {"high": ALARM, "either": ALARM, "above": ALARM, "apart": OK}
        either = await room.get("either")
        assert either.reason.startswith(f"{alarm_arn(SCOPE, 'high')} transitioned to ALARM at ")
        assert json.loads(either.reason_data)["triggeringAlarms"][0]["state"]["value"] == ALARM


async def test_a_change_is_an_event_for_whom_it_matches(tmp_path: Path) -> None:
    rule = Rule(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=SCOPE.arn("events", "rule/alarms"),
        name="alarms",
        bus="default",
        pattern=json.dumps({"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["ALARM"]}}}),
        targets=(Target(id="t", arn=SCOPE.arn("sqs", "q")),),
    )
    async with opened(tmp_path) as room:
        await room.parts.store.write(lambda tx: tx.put(EVENT_RULE, rule))
        await room.put(make(description="hot"), composite("both", "ALARM(high)"))
        await room.measure(80.0, room.minute)
        await room.look()
        await room.measure(20.0, room.minute)
        await room.look()
        sent = await room.parts.store.read(lambda tx: tx.all(EVENT_DELIVERY))
    high, both = sorted(
        (it.event for it in sent), key=lambda event: event["detail"]["alarmName"], reverse=True
    )
    assert high["detail-type"] == "CloudWatch Alarm State Change"
    assert high["resources"] == [alarm_arn(SCOPE, "high")]
    assert high["detail"]["previousState"]["value"] == INSUFFICIENT_DATA
    assert high["detail"]["configuration"]["description"] == "hot"
    (watched,) = high["detail"]["configuration"]["metrics"]
    assert watched["metricStat"]["metric"]["dimensions"] == {"ServiceName": "web", "ClusterName": "c"}
    assert both["detail"]["configuration"] == {"alarmRule": "ALARM(high)"}


async def test_composite_alarms_in_a_circle_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        await room.put(
            make(),
            composite("x", "NOT ALARM(y) AND ALARM(high)"),
            composite("y", "NOT ALARM(x) OR ALARM(high)"),
        )
        await room.measure(80.0, room.minute)
        await room.look()
        assert (await room.get()).state == ALARM


async def test_a_suppressor_holds_actions_back_until_its_extension_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        parent = composite(
            "parent",
            "ALARM(high)",
            alarm_actions=(SNS,),
            suppressor="maintenance",
            suppressor_wait=60,
            suppressor_extension=120,
        )
        maintenance = make("maintenance", metric_name="none", state=ALARM, treat_missing="ignore")
        await room.put(make(alarm_actions=()), maintenance, parent)
        await room.measure(80.0, room.minute)
        await room.look()
        held = await room.get("parent")
        assert (held.state, held.suppressed_by, held.acts) == (ALARM, "Alarm", False)
        assert [line.type for line in await room.history()] == ["StateUpdate", "StateUpdate"]
        now = room.parts.clock.now()
        await room.parts.store.write(lambda tx: alarm_states.turn(tx, maintenance, OK, "over", "", now))
        assert (await room.get("parent")).suppressed_by == "ExtensionPeriod"
        await room.measure(80.0, room.minute)
        await room.look(125)
        assert (await room.get("parent")).acts
        assert [line.type for line in await room.history()][-1] == "Action"


async def test_the_loop_runs_by_the_clock_and_takes_up_what_is_new(tmp_path: Path) -> None:
    async with opened(tmp_path) as room:
        running = asyncio.create_task(room.loop.run())
        await room.put(make(), make("fast", period=10, threshold=70.0))
        async with asyncio.timeout(20):
            # Each minute has a point: the loop, woken by the clock, finds it whenever it heard of the alarms.
            while {(await room.get(name)).state for name in ("high", "fast")} != {ALARM}:
                await room.measure(80.0, room.minute)
                room.parts.clock.advance(60 + LAG)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("period", "after", "until", "end"),
    [
        (60, 0, 50, None),
        (60, 50, 60, 60),
        (60, 60, 110, None),
        (300, 60, 130, 120),
        (10, 60, 70, 70),
        (30, 60, 80, None),
    ],
)
def test_what_is_due(period: int, after: int, until: int, end: int | None) -> None:
    found = due([make(period=period), composite("c", "TRUE")], after, until)
    assert [when for _, when in found] == ([] if end is None else [end])


class Jumping(ManualClock):
    """As the system's: its sleeps go on whatever the time of day becomes."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.005)


async def test_a_clock_that_is_put_back_stops_no_evaluation(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        clock = Jumping()
        room = Room(dataclasses.replace(parts, clock=clock))
        await room.put(make())
        running = asyncio.create_task(room.loop.run())
        async with asyncio.timeout(20):
            await room.measure(20.0, room.minute - 60)
            clock.advance(LAG)
            await room.until("high", OK)
            clock.advance(-3600)
            while (await room.get()).state != ALARM:
                await room.measure(80.0, room.minute - 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
