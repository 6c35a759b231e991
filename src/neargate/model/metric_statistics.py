"""A statistic of a Summary by its name: Average, p99, tm90, TM(10%:90%), PR(:100) … Pure.

Called by services/cloudwatch (the API) and model/alarm_evaluation.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache

from neargate.model.metric import Pairs, Summary

BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
Statistic = Callable[[Summary], float | None]
"""None where the summary cannot tell: its values are not known, or none is in the range."""

_SIMPLE: dict[str, Statistic] = {
    "SampleCount": lambda s: s.count,
    "Average": lambda s: s.sum / s.count if s.count else None,
    "Sum": lambda s: s.sum,
    "Minimum": lambda s: s.minimum,
    "Maximum": lambda s: s.maximum,
}
_NUMBER = r"\d+(?:\.\d+)?"
_SHORT = re.compile(rf"(p|tm|wm|tc|ts)({_NUMBER})")
_LONG = re.compile(rf"(TM|WM|TC|TS|PR)\(({_NUMBER}%?)?:({_NUMBER}%?)?\)")


def statistic(name: str) -> Statistic | None:
    """None if there is no such statistic."""
    return _SIMPLE.get(name) or _extended(name)


def percentile_of(name: str) -> float | None:
    """99.0 for p99; None for what is no percentile."""
    found = _SHORT.fullmatch(name)
    return float(found[2]) if found and found[1] == "p" and float(found[2]) <= 100 else None


@lru_cache(256)
def _extended(name: str) -> Statistic | None:
    if name == "IQM":
        return lambda s: _mean(_cut(s, 25.0, 75.0))
    short = _SHORT.fullmatch(name)
    if short:
        return _short(short[1], float(short[2]))
    long = _LONG.fullmatch(name)
    return _long(long[1], long[2], long[3]) if long else None


def _short(kind: str, percent: float) -> Statistic | None:
    if percent > 100:
        return None
    if kind == "p":
        return lambda s: None if s.pairs is None else percentile(s.pairs, percent)
    return _ranged(kind.upper(), lambda s: (_cut(s, 0.0, percent), _clamped(s, 0.0, percent)))


def _long(kind: str, low: str | None, high: str | None) -> Statistic | None:
    if low is None and high is None:
        return None
    relative = [bound.endswith("%") for bound in (low, high) if bound is not None]
    if len(set(relative)) > 1 or (kind == "PR" and relative[0]):
        return None  # both bounds are percentages, or none is; PR is about values
    bottom = float(low.rstrip("%")) if low else None
    top = float(high.rstrip("%")) if high else None
    if bottom is not None and top is not None and bottom >= top:
        return None
    if relative[0]:
        first, last = bottom or 0.0, 100.0 if top is None else top
        if last > 100:
            return None
        return _ranged(kind, lambda s: (_cut(s, first, last), _clamped(s, first, last)))
    least = -math.inf if bottom is None else bottom
    most = math.inf if top is None else top
    return _ranged(kind, lambda s: (_within(s, least, most), _held(s, least, most)))


def _ranged(kind: str, parts: Callable[[Summary], tuple[Pairs | None, Pairs | None]]) -> Statistic:
    """parts -- the values in the range; and all values, those outside moved to its edges."""

    def value(summary: Summary) -> float | None:
        inside, moved = parts(summary)
        if inside is None or moved is None:
            return None
        if kind == "TM":
            return _mean(inside)
        if kind == "WM":
            return _mean(moved)
        if kind == "TC":
            return math.fsum(count for _, count in inside)
        if kind == "TS":
            return math.fsum(value * count for value, count in inside)
        return 100.0 * math.fsum(count for _, count in inside) / summary.count if summary.count else None

    return value


def percentile(pairs: Pairs, percent: float) -> float | None:
    """The value at a rank, linearly between the two nearest."""
    total = math.fsum(count for _, count in pairs)
    if total <= 0:
        return None
    rank = percent / 100.0 * (total - 1) if total > 1 else 0.0
    passed = 0.0
    for place, (value, count) in enumerate(pairs):
        if rank <= passed + count - 1 or place == len(pairs) - 1:
            return value
        if rank < passed + count:
            following = pairs[place + 1][0]
            return value + (following - value) * (rank - (passed + count - 1))
        passed += count
    raise AssertionError("unreachable")


def _cut(summary: Summary, low: float, high: float) -> Pairs | None:
    """The values between two percentages of the ranks."""
    if summary.pairs is None:
        return None
    first, last = summary.count * low / 100.0, summary.count * high / 100.0
    kept: list[tuple[float, float]] = []
    passed = 0.0
    for value, count in summary.pairs:
        inside = min(passed + count, last) - max(passed, first)
        if inside > 0:
            kept.append((value, inside))
        passed += count
    return tuple(kept)


def _clamped(summary: Summary, low: float, high: float) -> Pairs | None:
    if not summary.pairs:
        return summary.pairs
    bottom, top = percentile(summary.pairs, low), percentile(summary.pairs, high)
    if bottom is None or top is None:
        return ()
    return _held(summary, bottom, top)


def _within(summary: Summary, low: float, high: float) -> Pairs | None:
    if summary.pairs is None:
        return None
    return tuple((value, count) for value, count in summary.pairs if low <= value <= high)


def _held(summary: Summary, low: float, high: float) -> Pairs | None:
    if summary.pairs is None:
        return None
    return tuple((min(max(value, low), high), count) for value, count in summary.pairs)


def _mean(pairs: Pairs | None) -> float | None:
    if not pairs:
        return None
    total = math.fsum(count for _, count in pairs)
    return math.fsum(value * count for value, count in pairs) / total if total > 0 else None
