"""PutMetricData: callers' own points. Called by gateway/dispatch; all of a request or nothing is kept."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.metric import Metric, Point, Summary, statistic_set, summary
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import clash, invalid, missing, read_dimensions, text
from neargate.state import metrics

_MOST_DATA, _MOST_VALUES = 1000, 150
_LARGEST = 2.0**360
_FUTURE, _PAST = 2 * 3600.0, 14 * 86_400.0
_KINDS = ("Value", "Values", "StatisticValues")


async def put_metric_data(call: Call, params: Params) -> Result:
    namespace = text(params["Namespace"], "Namespace")
    if namespace.startswith("AWS/"):
        raise invalid("The value AWS/ for parameter Namespace is invalid.")
    data = [(datum, "MetricData") for datum in params.get("MetricData") or ()]
    for number, entity in enumerate(params.get("EntityMetricData") or (), 1):
        where = f"EntityMetricData.member.{number}.MetricData"
        data += [(datum, where) for datum in entity.get("MetricData") or ()]
    if not data:
        raise missing("MetricData")
    if len(data) > _MOST_DATA:
        raise invalid(f"The collection MetricData must not have a size greater than {_MOST_DATA}.")
    now = call.now()
    points = [
        _point(call, namespace, datum, f"{where}.member.{place}", now)
        for place, (datum, where) in enumerate(data, 1)
    ]
    await call.metrics.write(lambda tx: metrics.put(tx, points))
    return {}


def _point(call: Call, namespace: str, datum: Mapping[str, Any], where: str, now: float) -> Point:
    dimensions = read_dimensions(datum.get("Dimensions"), f"{where}.Dimensions")
    owner = Metric(
        call.scope.account,
        call.scope.region,
        namespace,
        text(datum["MetricName"], f"{where}.MetricName"),
        tuple(sorted(dimensions)),
    )
    at = datum.get("Timestamp", now)
    if at > now + _FUTURE:
        raise invalid(
            f"The parameter {where}.Timestamp must specify a time no more than two hours in the future."
        )
    if at < now - _PAST:
        raise invalid(
            f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past."
        )
    resolution = datum.get("StorageResolution", 60)
    if resolution not in (1, 60):
        raise invalid(f"The parameter {where}.StorageResolution must be 1 or 60.")
    return Point(owner, at, _summary(datum, where), datum.get("Unit", "None"), resolution)


def _summary(datum: Mapping[str, Any], where: str) -> Summary:
    given = [f"{where}.{kind}" for kind in _KINDS if datum.get(kind) not in (None, [])]
    if not given:
        raise missing(f"{where}.Value")
    if len(given) > 1:
        raise clash(
            f"The parameters {given[0]} and {given[1]} are mutually exclusive and you have specified both."
        )
    if "Value" in datum:
        return summary([_number(datum["Value"], given[0])])
    if given[0].endswith("Values") and not given[0].endswith("StatisticValues"):
        return _of_values(datum["Values"], datum.get("Counts"), where)
    return _of_set(datum["StatisticValues"], given[0])


def _of_values(values: Sequence[float], counts: Sequence[float] | None, where: str) -> Summary:
    if len(values) > _MOST_VALUES:
        raise invalid(f"The collection {where}.Values must not have a size greater than {_MOST_VALUES}.")
    counts = counts or [1.0] * len(values)
    if len(counts) != len(values):
        raise invalid(f"The parameters {where}.Values and {where}.Counts must be of the same size.")
    for place, (value, count) in enumerate(zip(values, counts, strict=True), 1):
        _number(value, f"{where}.Values.member.{place}")
        if _number(count, f"{where}.Counts.member.{place}") <= 0:
            raise invalid(f"The parameter {where}.Counts.member.{place} must be greater than 0.")
    return summary([float(value) for value in values], [float(count) for count in counts])


def _of_set(given: Mapping[str, float], where: str) -> Summary:
    count, total, low, high = (
        _number(given[name], f"{where}.{name}") for name in ("SampleCount", "Sum", "Minimum", "Maximum")
    )
    if count <= 0:
        raise invalid(f"The parameter {where}.SampleCount must be greater than 0.")
    if low > high:
        raise clash(f"The parameter {where}.Maximum must be greater than {where}.Minimum.")
    return statistic_set(count, total, low, high)


def _number(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise invalid(f"The value {value} for parameter {where} is invalid.")
    if abs(value) > _LARGEST:
        raise invalid(f"The value {value} for parameter {where} is out of the range -2^360 to 2^360.")
    return float(value)
