"""Labels of series: `${LAST}`, `${PROP('Dim.ServiceName')}` and their like in a label's text. Pure.

Called by services/cloudwatch.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache

from neargate.model.metric_values import Series

_PART = re.compile(r"\$\{([A-Z]+|PROP\('([^']{1,300})'\))\}")
_VALUES: dict[str, Callable[[Sequence[float]], float]] = {
    "MIN": min,
    "MAX": max,
    "SUM": sum,
    "AVG": lambda values: sum(values) / len(values),
    "FIRST": lambda values: values[0],
    "LAST": lambda values: values[-1],
}


def filled(label: str, series: Series) -> str:
    """A label's text with what it asks for; what is not known stays as it is written."""
    of_points = cache(lambda name: _of_points(name, series))  # a label may ask for the same very often

    def part(match: re.Match[str]) -> str:
        if match[2] is not None:
            return series.properties.get(match[2], match[0])
        if match[1] == "LABEL":
            return series.label
        if match[1] == "DATAPOINT":
            return match[0]
        return of_points(match[1]) or match[0]

    return _PART.sub(part, label)


def _of_points(name: str, series: Series) -> str | None:
    values = list(series.points.values())
    if name in _VALUES:
        return f"{_VALUES[name](values):.6g}" if values else "--"
    if name.endswith("TIME") and name.removesuffix("TIME") in ("FIRST", "LAST", "MIN", "MAX"):
        if not values:
            return "--"
        moments = list(series.points)
        wanted = _VALUES[name.removesuffix("TIME")](values)
        at = moments[0 if name == "FIRSTTIME" else -1 if name == "LASTTIME" else values.index(wanted)]
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return None
