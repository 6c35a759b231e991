"""MetricDataQueries of requests, read and shown again: for GetMetricData and for alarms over expressions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.alarm import DataQuery, MetricStat
from neargate.services.call import Call
from neargate.services.cloudwatch.names import (
    check_period,
    check_statistic,
    invalid,
    missing,
    prose,
    read_dimensions,
    refused,
    shown_dimensions,
    text,
)

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


def read_queries(call: Call, given: Sequence[Mapping[str, Any]], parameter: str) -> tuple[DataQuery, ...]:
    queries = tuple(_query(call, it, f"{parameter}.member.{place}") for place, it in enumerate(given, 1))
    if len({query.id for query in queries}) < len(queries):
        raise refused(f"The values for parameter id in {parameter} are not unique.")
    return queries


def _query(call: Call, given: Mapping[str, Any], where: str) -> DataQuery:
    id = given["Id"]
    if not _ID.fullmatch(id):
        text(id, f"{where}.Id")
        raise refused(f"The value {id} for parameter {where}.Id is not matching ^[a-z][a-zA-Z0-9_]*$.")
    stat, expression = given.get("MetricStat"), given.get("Expression")
    if (stat is None) == (expression is None):
        raise refused(
            f"Exactly one of the parameters {where}.MetricStat and {where}.Expression must be specified."
        )
    if given.get("AccountId") not in (None, call.scope.account):
        raise invalid(f"The account of {where}.AccountId is not linked.")
    period = given.get("Period")
    if period is not None:
        check_period(period, f"{where}.Period")
    return DataQuery(
        id=id,
        metric=None if stat is None else _metric_stat(stat, f"{where}.MetricStat"),
        expression=prose(expression, f"{where}.Expression") or "",
        label=prose(given.get("Label"), f"{where}.Label"),
        period=period,
        returned=given.get("ReturnData", True),
    )


def _metric_stat(given: Mapping[str, Any], where: str) -> MetricStat:
    metric = given["Metric"]
    for name in ("Namespace", "MetricName"):
        if metric.get(name) is None:
            raise missing(f"{where}.Metric.{name}")
    return MetricStat(
        namespace=text(metric["Namespace"], f"{where}.Metric.Namespace"),
        name=text(metric["MetricName"], f"{where}.Metric.MetricName"),
        dimensions=read_dimensions(metric.get("Dimensions"), f"{where}.Metric.Dimensions"),
        stat=check_statistic(given["Stat"], f"{where}.Stat"),
        period=check_period(given["Period"], f"{where}.Period"),
        unit=given.get("Unit"),
    )


def shown_query(query: DataQuery) -> dict[str, Any]:
    shown: dict[str, Any] = {"Id": query.id, "ReturnData": query.returned}
    if query.metric is None:
        shown["Expression"] = query.expression
    else:
        shown["MetricStat"] = _shown_stat(query.metric)
    for name, value in (("Label", query.label), ("Period", query.period)):
        if value is not None:
            shown[name] = value
    return shown


def _shown_stat(stat: MetricStat) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Metric": {
            "Namespace": stat.namespace,
            "MetricName": stat.name,
            "Dimensions": shown_dimensions(stat.dimensions),
        },
        "Period": stat.period,
        "Stat": stat.stat,
    }
    return {**shown, "Unit": stat.unit} if stat.unit is not None else shown
