"""The functions of metric maths. Pure; FUNCTIONS is what model/metric_values.evaluate calls by name.

Of an array, SUM, AVG, MIN, MAX, STDDEV make one series; of one series, a number. Not built, as there is
nothing here that they could ask: ANOMALY_DETECTION_BAND, INSIGHT_RULE_METRIC, DB_PERF_INSIGHTS, LAMBDA.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from neargate.model.metric_math import MathError
from neargate.model.metric_values import Context, Function, Series, Value, attempt, each, kept, listed, number

_MOST_POINTS = 100_800


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    middle = _mean(values)
    return math.sqrt(_mean([(value - middle) ** 2 for value in values]))


def _reducer(name: str, reduce: Callable[[Sequence[float]], float]) -> Function:
    def function(context: Context, arguments: tuple[Value, ...]) -> Value:
        (of,) = _arguments(name, arguments, 1)
        if isinstance(of, Series):
            found = attempt(reduce, list(of.points.values())) if of.points else None
            # A number of nothing is no data: a series without points.
            return replace(of, points={}) if found is None else found
        return _across(listed(of, name), reduce, name)

    return function


def _across(of: list[Series], reduce: Callable[[Sequence[float]], float], label: str) -> Series:
    gathered: dict[int, list[float]] = {}
    for series in of:
        for at, value in series.points.items():
            gathered.setdefault(at, []).append(value)
    points = kept((at, attempt(reduce, gathered[at])) for at in sorted(gathered))
    return Series(points, max((series.period for series in of), default=60), label)


def _arguments(name: str, given: tuple[Value, ...], least: int, most: int | None = None) -> tuple[Value, ...]:
    if not least <= len(given) <= (most or least):
        wanted = f"{least}" if most in (None, least) else f"{least} to {most}"
        raise MathError(f"{name} takes {wanted} argument(s), not {len(given)}")
    return given


def _mapper(name: str, change: Callable[[float], float | None]) -> Function:
    return lambda context, arguments: each(_arguments(name, arguments, 1)[0], change, name)


def _series_mapper(name: str, change: Callable[[Series], Series]) -> Function:
    """Of each series of an array."""

    def function(context: Context, arguments: tuple[Value, ...]) -> Value:
        (of,) = _arguments(name, arguments, 1)
        return change(of) if isinstance(of, Series) else [change(one) for one in listed(of, name)]

    return function


def _steps(change: Callable[[float, int], float]) -> Callable[[Series], Series]:
    """A point from each and the one before; change -- of the difference, and the seconds between them."""

    def changed(series: Series) -> Series:
        made: dict[int, float] = {}
        before: tuple[int, float] | None = None
        for at, value in series.points.items():
            if before is not None:
                made[at] = change(value - before[1], at - before[0])
            before = (at, value)
        return replace(series, points=made)

    return changed


def _running_sum(series: Series) -> Series:
    made: dict[int, float] = {}
    total = 0.0
    for at, value in series.points.items():
        total += value
        made[at] = total
    return replace(series, points=made)


def _of_moment(part: Callable[[datetime], int]) -> Callable[[Series], Series]:
    def changed(series: Series) -> Series:
        return replace(
            series, points={at: float(part(datetime.fromtimestamp(at, UTC))) for at in series.points}
        )

    return changed


def _timeline(context: Context, period: int) -> range:
    line = range(context.start, context.end, max(period, 1))
    if len(line) > _MOST_POINTS:
        raise MathError(f"The result would have more than {_MOST_POINTS} data points")
    context.spend(len(line))  # before they are made
    return line


def _fill(context: Context, arguments: tuple[Value, ...]) -> Value:
    of, filler = _arguments("FILL", arguments, 2)
    filled = [_filled(context, series, filler) for series in listed(of, "FILL")]
    return filled if isinstance(of, list) else filled[0]


def _filled(context: Context, series: Series, filler: Value) -> Series:
    line = _timeline(context, series.period)
    known = series.points
    if isinstance(filler, float):
        return replace(series, points={at: known.get(at, filler) for at in line})
    if isinstance(filler, Series):
        found = {at: known.get(at, filler.points.get(at)) for at in line}
        return replace(series, points=kept(found.items()))
    if filler == "REPEAT":
        return replace(series, points=_repeated(known, line))
    if filler == "LINEAR":
        return replace(series, points=_interpolated(known, line))
    raise MathError("FILL fills with a number, a time series, REPEAT or LINEAR")


def _repeated(known: Mapping[int, float], line: range) -> dict[int, float]:
    made: dict[int, float] = {}
    last: float | None = None
    for at in line:
        last = known.get(at, last)
        if last is not None:
            made[at] = last
    return made


def _interpolated(known: Mapping[int, float], line: range) -> dict[int, float]:
    made: dict[int, float] = {}
    before: int | None = None
    for at in line:
        if at not in known:
            continue
        if before is not None:
            slope = (known[at] - known[before]) / (at - before)
            made.update({t: known[before] + slope * (t - before) for t in range(before, at, line.step)})
        made[at] = known[at]
        before = at
    return made


def _if(context: Context, arguments: tuple[Value, ...]) -> Value:
    condition, *ways = _arguments("IF", arguments, 2, 3)
    if isinstance(condition, float):
        if condition:
            return ways[0]
        if len(ways) > 1:
            return ways[1]
        raise MathError("IF of a number needs a value for either case")
    if not isinstance(condition, Series):
        raise MathError("The condition of IF is a number or one time series")

    def chosen(at: int, way: Value) -> float | None:
        if isinstance(way, Series):
            return way.points.get(at)
        return number(way, "IF")

    made: dict[int, float] = {}
    for at, value in condition.points.items():
        way = ways[0] if value else (ways[1] if len(ways) > 1 else None)
        result = None if way is None else chosen(at, way)
        if result is not None:
            made[at] = result
    return Series(made, condition.period, condition.label)


def _time_series(context: Context, arguments: tuple[Value, ...]) -> Value:
    (value,) = _arguments("TIME_SERIES", arguments, 1)
    constant = number(value, "TIME_SERIES")
    line = _timeline(context, context.period)
    return Series(dict.fromkeys(line, constant), context.period, f"{constant}")


def _metrics(context: Context, arguments: tuple[Value, ...]) -> Value:
    part = _arguments("METRICS", arguments, 0, 1)
    if part and not isinstance(part[0], str):
        raise MathError("METRICS takes a text in quotes")
    return context.metrics(str(part[0]) if part else "")


def _search(context: Context, arguments: tuple[Value, ...]) -> Value:
    expression, stat, *period = _arguments("SEARCH", arguments, 2, 3)
    if not isinstance(expression, str) or not isinstance(stat, str):
        raise MathError("SEARCH takes two texts in quotes and a period")
    return context.search(expression, stat, int(number(period[0], "SEARCH")) if period else None)


def _edge(name: str, place: int) -> Function:
    def function(context: Context, arguments: tuple[Value, ...]) -> Value:
        of = listed(_arguments(name, arguments, 1)[0], name)
        return of[place] if of else []

    return function


def _slice(context: Context, arguments: tuple[Value, ...]) -> Value:
    of, *bounds = _arguments("SLICE", arguments, 2, 3)
    first, *last = (int(number(bound, "SLICE")) for bound in bounds)
    return listed(of, "SLICE")[first : last[0] if last else None]


def _sort(context: Context, arguments: tuple[Value, ...]) -> Value:
    of, by, way, *most = _arguments("SORT", arguments, 3, 4)
    reduce = _SORTS.get(by) if isinstance(by, str) else None
    if reduce is None or way not in ("ASC", "DESC"):
        raise MathError("SORT takes AVG, MIN, MAX or SUM, and ASC or DESC")
    filled = [series for series in listed(of, "SORT") if series.points]
    ordered = sorted(filled, key=lambda s: reduce(list(s.points.values())), reverse=way == "DESC")
    return ordered[: max(0, int(number(most[0], "SORT")))] if most else ordered


def _period(context: Context, arguments: tuple[Value, ...]) -> Value:
    (of,) = _arguments("PERIOD", arguments, 1)
    if not isinstance(of, Series):
        raise MathError("PERIOD takes one time series")
    return float(of.period)


def _metric_count(context: Context, arguments: tuple[Value, ...]) -> Value:
    return float(len(listed(_arguments("METRIC_COUNT", arguments, 1)[0], "METRIC_COUNT")))


def _datapoint_count(context: Context, arguments: tuple[Value, ...]) -> Value:
    (of,) = _arguments("DATAPOINT_COUNT", arguments, 1)
    if not isinstance(of, Series):
        raise MathError("DATAPOINT_COUNT takes one time series")
    return float(len(of.points))


def _remove_empty(context: Context, arguments: tuple[Value, ...]) -> Value:
    of = listed(_arguments("REMOVE_EMPTY", arguments, 1)[0], "REMOVE_EMPTY")
    return [series for series in of if series.points]


_SORTS: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": _mean,
    "MIN": min,
    "MAX": max,
    "SUM": math.fsum,
}
_MOMENTS: dict[str, Callable[[datetime], int]] = {
    "EPOCH": lambda at: int(at.timestamp()),
    "MINUTE": lambda at: at.minute,
    "HOUR": lambda at: at.hour,
    "DAY": lambda at: at.isoweekday(),
    "DATE": lambda at: at.day,
    "MONTH": lambda at: at.month,
    "YEAR": lambda at: at.year,
}
FUNCTIONS: dict[str, Function] = {
    **{name: _reducer(name, reduce) for name, reduce in {**_SORTS, "STDDEV": _deviation}.items()},
    "ABS": _mapper("ABS", abs),
    "CEIL": _mapper("CEIL", lambda v: float(math.ceil(v))),
    "FLOOR": _mapper("FLOOR", lambda v: float(math.floor(v))),
    "LOG": _mapper("LOG", math.log),
    "LOG10": _mapper("LOG10", math.log10),
    "RATE": _series_mapper("RATE", _steps(lambda difference, seconds: difference / seconds)),
    "DIFF": _series_mapper("DIFF", _steps(lambda difference, seconds: difference)),
    "DIFF_TIME": _series_mapper("DIFF_TIME", _steps(lambda difference, seconds: float(seconds))),
    "RUNNING_SUM": _series_mapper("RUNNING_SUM", _running_sum),
    **{name: _series_mapper(name, _of_moment(part)) for name, part in _MOMENTS.items()},
    "FILL": _fill,
    "IF": _if,
    "TIME_SERIES": _time_series,
    "METRICS": _metrics,
    "SEARCH": _search,
    "FIRST": _edge("FIRST", 0),
    "LAST": _edge("LAST", -1),
    "SLICE": _slice,
    "SORT": _sort,
    "PERIOD": _period,
    "METRIC_COUNT": _metric_count,
    "DATAPOINT_COUNT": _datapoint_count,
    "REMOVE_EMPTY": _remove_empty,
}
