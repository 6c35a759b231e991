"""The loop that evaluates alarms: each at the end of each of its periods, or each minute of a longer one.

Periods end on multiples of their length; the loop looks LAG seconds later, when what was measured until then
is in the store. An alarm's record is written only when its state changes: state/alarm_states does that, and
has composite alarms follow. SetAlarmState therefore lasts until the next look.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from neargate.control.parts import Parts, Watch
from neargate.model import metric_queries
from neargate.model.alarm import METRIC, Alarm
from neargate.model.alarm_evaluation import Datum, Verdict, interval_of, judge, period_of, window
from neargate.model.metric import Metric, Query
from neargate.model.metric_math import MathError
from neargate.model.metric_statistics import statistic
from neargate.model.record import Scope
from neargate.state import alarm_states, metrics
from neargate.state.catalog_alarms import ALARM
from neargate.state.metric_source import StoredSource
from neargate.state.store import Tx

STEP = 10
"""Seconds: the shortest period, of which all intervals are multiples."""
LAG = 5
_LONGEST_INTERVAL = 60
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Turn:
    alarm: Alarm
    verdict: Verdict


def due(alarms: Iterable[Alarm], after: int, until: int) -> list[tuple[Alarm, int]]:
    """Metric alarms with an evaluation in (after, until], and the end of the newest."""
    found = []
    for alarm in alarms:
        if alarm.kind == METRIC:
            end = until - until % interval_of(alarm)
            if end > after:
                found.append((alarm, end))
    return found


def data_of(tx: Tx, alarm: Alarm, end: int) -> list[Datum]:
    """Each period of the alarm's window, oldest first; of the store of metrics."""
    start, end = window(alarm, end)
    period = period_of(alarm)
    found = _of_maths(tx, alarm, start, end) if alarm.metrics else _of_metric(tx, alarm, start, end)
    return [found.get(at) or Datum(at, None) for at in range(start, end, period)]


def _of_metric(tx: Tx, alarm: Alarm, start: int, end: int) -> dict[int, Datum]:
    value_of = statistic(alarm.statistic)
    owner = Metric(
        alarm.account,
        alarm.region,
        alarm.namespace,
        alarm.metric_name,
        tuple(sorted(alarm.dimensions)),
    )
    buckets = metrics.read(tx, Query(owner, start, end, alarm.period, alarm.unit))
    return {b.at: Datum(b.at, value_of(b.summary), b.summary.count) for b in buckets if value_of is not None}


def _of_maths(tx: Tx, alarm: Alarm, start: int, end: int) -> dict[int, Datum]:
    """Expressions were checked when the alarm was put; what still cannot be evaluated has no data."""
    source = StoredSource(tx, Scope(alarm.account, alarm.region), start, end)
    try:
        found = [series for given in metric_queries.run(alarm.metrics, source).values() for series in given]
    except MathError:
        return {}
    return {at: Datum(at, value) for at, value in found[0].points.items()} if found else {}


def plan(data: Sequence[tuple[Alarm, Sequence[Datum]]], now: float) -> list[Turn]:
    turns: list[Turn] = []
    for alarm, periods in data:
        verdict = judge(alarm, periods, now)
        if verdict is not None and verdict.state != alarm.state:
            turns.append(Turn(alarm, verdict))
    return turns


def apply(tx: Tx, turns: Sequence[Turn], now: float) -> None:
    """Turn the alarms that are still what they were when the plan was made; the others come by again."""
    for it in turns:
        if tx.get(ALARM, it.alarm.arn) == it.alarm:
            alarm_states.turn(tx, it.alarm, it.verdict.state, it.verdict.reason, it.verdict.data, now)


class Alarms:
    name = "alarms"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._alarms: dict[str, Alarm] = {}
        """What the feed last told of the store's records."""

    async def run(self) -> NoReturn:
        watch = Watch(self._parts.store, ALARM)
        await self._take(watch)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(watch), name="alarms-follow")
            group.create_task(self._evaluate(), name="alarms-evaluate")
        raise AssertionError("unreachable")

    async def _follow(self, watch: Watch) -> NoReturn:
        while True:
            await self._take(watch)

    async def _take(self, watch: Watch) -> None:
        changes = await watch.changed()
        if changes is None:
            found = await self._parts.store.scan(lambda tx: tx.all(ALARM))
            self._alarms = {alarm.arn: alarm for alarm in found}
            return
        arns = [change.id for change in changes]
        now = await self._parts.store.read(lambda tx: {arn: tx.get(ALARM, arn) for arn in arns})
        for arn, alarm in now.items():
            if alarm is None:
                self._alarms.pop(arn, None)
            else:
                self._alarms[arn] = alarm

    async def _evaluate(self) -> NoReturn:
        """From the start on, everything once; then by the clock."""
        clock = self._parts.clock
        last = _step(clock.now()) - _LONGEST_INTERVAL
        while True:
            until = _step(clock.now())
            await self.round(min(last, until - STEP), until)  # the clock may have been put back
            last = until
            await clock.sleep(max(0.0, until + STEP + LAG - clock.now()))

    async def round(self, after: int, until: int) -> None:
        """Evaluate what is due in (after, until]."""
        alarms = due(self._alarms.values(), after, until)
        for first in range(0, len(alarms), _BATCH):
            await self._evaluate_batch(alarms[first : first + _BATCH])
        await self._settle()

    async def _evaluate_batch(self, batch: Sequence[tuple[Alarm, int]]) -> None:
        data = await self._parts.metrics.scan(
            lambda tx: [(alarm, data_of(tx, alarm, end)) for alarm, end in batch]
        )
        now = self._parts.clock.now()
        turns = plan(data, now)
        if turns:
            await self._parts.store.write(lambda tx: apply(tx, turns, now))

    async def _settle(self) -> None:
        """Take the actions that a suppressor has held back long enough."""
        now = self._parts.clock.now()
        over = [a.arn for a in self._alarms.values() if a.suppressed_until and a.suppressed_until <= now]

        def body(tx: Tx) -> None:
            for arn in over:
                alarm = tx.get(ALARM, arn)
                if alarm is not None:
                    alarm_states.settle(tx, alarm, now)

        if over:
            await self._parts.store.write(body)


def _step(now: float) -> int:
    """The newest end of a period that may be looked at."""
    return int(now - LAG) // STEP * STEP
