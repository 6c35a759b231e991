"""How a metric alarm's state follows from its newest periods: M out of N, missing data, AWS's reasons.

Pure; called by control/alarms. The rules are those of AWS's page on missing data: more periods are looked at
than the alarm evaluates (EXTRA more), real data points go before filled ones, and an alarm whose few data
points all breach turns only once they are old enough that the next ones can change nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neargate.model.alarm import ALARM, INSUFFICIENT_DATA, OK, Alarm
from neargate.model.metric_statistics import percentile_of

EXTRA = 2
_MINUTE = 60
_MOST_TOLD = 15
"""Data points, the newest, in reasons: AWS's are at most 1,023 characters long, their data 4,000."""
_MISSING, _IGNORE, _BREACHING, _NOT_BREACHING = "missing", "ignore", "breaching", "notBreaching"
TREATMENTS = (_MISSING, _IGNORE, _BREACHING, _NOT_BREACHING)
COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (lambda v, t: v >= t, "greater than or equal to"),
    "GreaterThanThreshold": (lambda v, t: v > t, "greater than"),
    "LessThanThreshold": (lambda v, t: v < t, "less than"),
    "LessThanOrEqualToThreshold": (lambda v, t: v <= t, "less than or equal to"),
}


@dataclass(frozen=True, slots=True)
class Datum:
    """One period of what an alarm watches; value None: no data."""

    at: int
    value: float | None
    samples: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """state None: it stays what it is. used -- places of the real data that decided; filled -- how many
    missing ones besides."""

    state: str | None
    used: tuple[int, ...]
    filled: int


@dataclass(frozen=True, slots=True)
class Verdict:
    state: str
    reason: str
    data: dict[str, Any]


def period_of(alarm: Alarm) -> int:
    """Seconds between two of the alarm's data points."""
    if not alarm.metrics:
        return alarm.period
    periods = [q.metric.period for q in alarm.metrics if q.metric is not None]
    return max([*periods, *(q.period for q in alarm.metrics if q.period is not None)], default=_MINUTE)


def interval_of(alarm: Alarm) -> int:
    """Seconds between two evaluations: each minute, however long the period; each period where shorter."""
    return min(period_of(alarm), _MINUTE)


def window(alarm: Alarm, end: int) -> tuple[int, int]:
    """[first, last) second of the data that an evaluation looks at."""
    return end - (alarm.evaluation_periods + EXTRA) * period_of(alarm), end


def decide(breaching: Sequence[bool | None], n: int, m: int, treat: str) -> Decision:
    """breaching -- of each period in the range, oldest first; None: no data there."""
    real = [place for place, state in enumerate(breaching) if state is not None]
    if len(real) >= n:
        used = tuple(real[-n:])
        bad = sum(1 for place in used if breaching[place])
        return Decision(ALARM if bad >= m else OK, used, 0)
    filled, used = n - len(real), tuple(real)
    if not real:
        alone = {_MISSING: INSUFFICIENT_DATA, _BREACHING: ALARM, _NOT_BREACHING: OK}
        return Decision(alone.get(treat), (), filled)
    bad = sum(1 for place in real if breaching[place])
    if bad + (filled if treat == _BREACHING else 0) >= m:
        return Decision(ALARM, used, filled)
    if treat in (_BREACHING, _NOT_BREACHING) or bad < len(real):
        return Decision(OK, used, filled)
    settled = len(breaching) - real[0] >= m
    return Decision(ALARM if settled and treat == _MISSING else None, used, filled)


def judge(alarm: Alarm, data: Sequence[Datum], now: float) -> Verdict | None:
    """What the alarm is to be; None: what it is. data -- each period of its window, oldest first."""
    compare, _ = COMPARISONS[alarm.comparison]
    breaching = [None if it.value is None else compare(it.value, alarm.threshold) for it in data]
    treat = alarm.treat_missing or _MISSING
    n, m = alarm.evaluation_periods, alarm.datapoints_to_alarm or alarm.evaluation_periods
    decision = decide(breaching, n, m, treat)
    used = [data[place] for place in decision.used]
    if decision.state is None or (alarm.low_samples == _IGNORE and any(map(_few(alarm), used))):
        return None
    reason = _reason(alarm, decision, [breaching[place] for place in decision.used], used, n, m)
    return Verdict(decision.state, reason, _data(alarm, used, data, now))


def _few(alarm: Alarm) -> Callable[[Datum], bool]:
    """Too few samples for the percentile to say anything."""
    percent = percentile_of(alarm.statistic)

    def few(datum: Datum) -> bool:
        if percent is None or datum.samples is None:
            return False
        part = percent / 100 if percent < 50 else 1 - percent / 100
        return part > 0 and datum.samples < 10 / part

    return few


def _reason(
    alarm: Alarm, decision: Decision, breaching: Sequence[bool | None], used: Sequence[Datum], n: int, m: int
) -> str:
    if decision.state == INSUFFICIENT_DATA:
        return f"Insufficient Data: {_count(decision.filled, 'was', 'were')} unknown."
    if not used:
        treated = "Breaching" if decision.state == ALARM else "NonBreaching"
        periods = f"{n} period{'s' if n > 1 else ''}"
        missing = _count(decision.filled, "was", "were", "missing ")
        return (
            f"Threshold Crossed: no datapoints were received for {periods} and {missing} treated as"
            f" [{treated}]."
        )
    wanted = decision.state == ALARM
    told = [it for it, bad in zip(used, breaching, strict=True) if bad is wanted]
    shown = ", ".join(f"{it.value} ({_short(it.at)})" for it in reversed(told[-_MOST_TOLD:]))
    verb = ("was" if len(told) == 1 else "were") + ("" if wanted else " not")
    least = m if wanted else n - m + 1
    ways = "OK -> ALARM" if wanted else "ALARM -> OK"
    missing = ""
    if decision.filled and alarm.treat_missing in (_BREACHING, _NOT_BREACHING):
        treated = "Breaching" if alarm.treat_missing == _BREACHING else "NonBreaching"
        missing = (
            f" {_count(decision.filled, 'was', 'were', 'missing ').capitalize()} treated as [{treated}]."
        )
    return (
        f"Threshold Crossed: {len(told)} out of the last {n} datapoints [{shown}] {verb}"
        f" {COMPARISONS[alarm.comparison][1]} the threshold ({alarm.threshold})"
        f" (minimum {least} datapoint{'s' if least > 1 else ''} for {ways} transition).{missing}"
    )


def _count(number: int, one: str, many: str, kind: str = "") -> str:
    return f"{number} {kind}datapoint{'s' if number > 1 else ''} {one if number == 1 else many}"


def _short(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d/%m/%y %H:%M:%S")


def stamp(at: float) -> str:
    """A moment as reason data and history have it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def _data(alarm: Alarm, used: Sequence[Datum], data: Sequence[Datum], now: float) -> dict[str, Any]:
    told: dict[str, Any] = {"version": "1.0", "queryDate": stamp(now)}
    if used:
        told["startDate"] = stamp(used[0].at)
    if not alarm.metrics:
        told["statistic"] = alarm.statistic
        if alarm.unit is not None:
            told["unit"] = alarm.unit
    told["period"] = period_of(alarm)
    newest = used[-_MOST_TOLD:]
    told["recentDatapoints"] = [it.value for it in newest]
    told["threshold"] = alarm.threshold
    told["evaluatedDatapoints"] = [_evaluated(it) for it in reversed(newest or data[-1:])]
    return told


def _evaluated(datum: Datum) -> dict[str, Any]:
    shown: dict[str, Any] = {"timestamp": stamp(datum.at)}
    if datum.samples is not None:
        shown["sampleCount"] = datum.samples
    if datum.value is not None:
        shown["value"] = datum.value
    return shown
