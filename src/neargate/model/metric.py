"""CloudWatch's metrics: what identifies one, what a point of it says, and points summed up. Pure.

Everybody who measures makes `Point`s for state/metrics.put; state/metrics.read answers Summaries,
out of which model/metric_statistics takes averages and percentiles.

A Summary keeps count, sum, minimum and maximum, and the values themselves as (value, how often) pairs: exact
up to EXACT distinct values; beyond that values share bins of 1 % width (bins twice as wide where even those
are more than BINS), so that a percentile is at most half a bin, 0.5 %, off.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from neargate.model.record import Scope

EXACT = 64
BINS = 512
_WIDTH = math.log(1.01)

Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    account: str
    region: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()
    """Sorted: their order is no part of a metric."""


def metric(scope: Scope, namespace: str, name: str, dimensions: Mapping[str, str] | None = None) -> Metric:
    return Metric(scope.account, scope.region, namespace, name, tuple(sorted((dimensions or {}).items())))


@dataclass(frozen=True, slots=True)
class Summary:
    count: float
    sum: float
    minimum: float
    maximum: float
    pairs: Pairs | None
    """Sorted by value; None where values are not known (a statistic set): there are no percentiles then."""

    def merged(self, other: "Summary") -> "Summary":
        both = None
        if self.pairs is not None and other.pairs is not None:
            both = _packed(self.pairs + other.pairs)
        return Summary(
            self.count + other.count,
            self.sum + other.sum,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            both,
        )


def summary(values: Iterable[float], counts: Iterable[float] | None = None) -> Summary:
    """Of at least one value; counts -- how often each was seen, once where not given."""
    pairs = tuple(zip(values, counts, strict=True)) if counts is not None else tuple((v, 1.0) for v in values)
    return Summary(
        math.fsum(count for _, count in pairs),
        math.fsum(value * count for value, count in pairs),
        min(value for value, _ in pairs),
        max(value for value, _ in pairs),
        _packed(pairs),
    )


def statistic_set(count: float, total: float, minimum: float, maximum: float) -> Summary:
    """The values are known only where there is but one."""
    known = count == 1 or minimum == maximum
    return Summary(count, total, minimum, maximum, ((minimum, count),) if known and count > 0 else None)


def merged(summaries: Iterable[Summary]) -> Summary | None:
    """All of them in one; None of none."""
    found = list(summaries)
    if len(found) < 2:
        return found[0] if found else None
    pairs: list[tuple[float, float]] | None = []
    for one in found:
        if one.pairs is None:
            pairs = None
            break
        assert pairs is not None
        pairs.extend(one.pairs)
    return Summary(
        math.fsum(s.count for s in found),
        math.fsum(s.sum for s in found),
        min(s.minimum for s in found),
        max(s.maximum for s in found),
        _packed(tuple(pairs)) if pairs is not None else None,
    )


def _packed(pairs: Pairs) -> Pairs:
    """Sorted, each value once; in bins where there are many."""
    exact = _counted(pairs)
    if len(exact) <= EXACT:
        return exact
    width = _WIDTH
    while True:
        binned = _counted(tuple((_bin(value, width), count) for value, count in exact))
        if len(binned) <= BINS:
            return binned
        width *= 2


def _counted(pairs: Pairs) -> Pairs:
    counts: dict[float, float] = {}
    for value, count in pairs:
        counts[value] = counts.get(value, 0.0) + count
    return tuple(sorted(counts.items()))


def _bin(value: float, width: float) -> float:
    """The middle of the value's bin. A middle is its own bin's, however often it is binned."""
    if value == 0 or not math.isfinite(value):
        return value
    exponent = min(round(math.log(abs(value)) / width) * width, 709.0)
    return math.copysign(math.exp(exponent), value)


@dataclass(frozen=True, slots=True)
class Point:
    """Something measured, to be put into the store.

    at -- epoch seconds. resolution -- 60, or 1: kept by the second for three hours.
    """

    metric: Metric
    at: float
    summary: Summary
    unit: str = "None"
    resolution: int = 60


def point(metric: Metric, at: float, value: float, unit: str = "None", *, resolution: int = 60) -> Point:
    return Point(metric, at, Summary(1.0, value, value, value, ((value, 1.0),)), unit, resolution)


@dataclass(frozen=True, slots=True)
class Query:
    """What state/metrics.read answers: periods of `period` seconds from `start` on, those without data left
    out. start and period are whole seconds; unit None: whatever units there are, together.
    """

    metric: Metric
    start: int
    end: int
    period: int
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    at: int
    """Where the period begins."""
    summary: Summary


@dataclass(frozen=True, slots=True)
class Listed:
    """A metric that has data. last -- its newest point's time."""

    series: int
    metric: Metric
    last: int
