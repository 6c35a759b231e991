"""GetMetricData: several metrics, and expressions over them. Called by gateway/dispatch."""

from collections.abc import Sequence
from typing import Any

from neargate.model import metric_queries
from neargate.model.alarm import DataQuery
from neargate.model.metric_labels import filled
from neargate.model.metric_math import MathError
from neargate.model.metric_values import Series
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import bad_token, refused, token, untoken
from neargate.services.cloudwatch.periods import rounded
from neargate.services.cloudwatch.queries import read_queries
from neargate.state.metric_source import StoredSource
from neargate.state.store import Tx

_MOST_QUERIES = 500
_MOST_POINTS = 100_800


async def get_metric_data(call: Call, params: Params) -> Result:
    given = params["MetricDataQueries"]
    if not given:
        raise refused("The collection MetricDataQueries must not be empty.")
    if len(given) > _MOST_QUERIES:
        raise refused(f"The collection MetricDataQueries must not have a size greater than {_MOST_QUERIES}.")
    queries = read_queries(call, given, "MetricDataQueries")
    periods = [query.metric.period for query in queries if query.metric is not None]
    start, end = rounded(
        params["StartTime"],
        params["EndTime"],
        min(periods, default=metric_queries.DEFAULT_PERIOD),
        call.now(),
    )
    if params["StartTime"] >= params["EndTime"]:
        raise refused("The parameter EndTime must be greater than StartTime.")
    most = params.get("MaxDatapoints") or _MOST_POINTS
    if not 1 <= most <= _MOST_POINTS:
        raise refused(f"The parameter MaxDatapoints must be between 1 and {_MOST_POINTS}.")
    row, point = _position(params.get("NextToken"))

    descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"

    def body(tx: Tx) -> Result:
        """All of it on a thread: there may be half a million points to sort and to make labels of."""
        found = metric_queries.run(queries, StoredSource(tx, call.scope, start, end))
        return _page(_results(queries, found, descending), row, point, most)

    try:
        metric_queries.check(queries)
        return await call.metrics.scan(body)
    except MathError as problem:
        raise refused(str(problem)) from None


def _position(given: str | None) -> tuple[int, int]:
    """The row and its point at which a page begins."""
    found = untoken(given, list) or [0, 0]
    if len(found) != 2 or not all(type(part) is int and 0 <= part < 2**31 for part in found):
        raise bad_token()
    return found[0], found[1]


_Row = tuple[str, str, list[tuple[int, float]]]
"""Id, label and points in the order asked for."""


def _results(queries: Sequence[DataQuery], found: dict[str, list[Series]], descending: bool) -> list[_Row]:
    rows: list[_Row] = []
    for query in queries:
        for series in found.get(query.id, ()):
            points = sorted(series.points.items(), reverse=descending)
            rows.append((query.id, _label(query, series), points))
    return rows


def _label(query: DataQuery, series: Series) -> str:
    if query.label is not None:
        return filled(query.label, series)
    return series.label if query.metric is not None or series.properties else query.id


def _page(rows: Sequence[_Row], row: int, point: int, most: int) -> Result:
    """At most so many points, from a point of a row on. A row that goes on is PartialData."""
    shown: list[dict[str, Any]] = []
    left = most
    while row < len(rows):
        id, label, points = rows[row]
        part = points[point : point + left]
        left -= len(part)
        point += len(part)
        if part or not points:
            shown.append(_shown(id, label, part, complete=point >= len(points)))
        if point < len(points):
            break
        row, point = row + 1, 0
    answer: Result = {"MetricDataResults": shown, "Messages": []}
    return {**answer, "NextToken": token([row, point])} if row < len(rows) else answer


def _shown(id: str, label: str, points: Sequence[tuple[int, float]], *, complete: bool) -> dict[str, Any]:
    return {
        "Id": id,
        "Label": label,
        "Timestamps": [float(at) for at, _ in points],
        "Values": [value for _, value in points],
        "StatusCode": "Complete" if complete else "PartialData",
    }
