"""GetMetricStatistics: periods of one metric. Called by gateway/dispatch."""

from typing import Any

from neargate.model.metric import Bucket, Metric, Query
from neargate.model.metric_statistics import statistic
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import (
    check_extended,
    check_period,
    check_statistic,
    clash,
    invalid,
    read_dimensions,
    text,
)
from neargate.services.cloudwatch.periods import rounded
from neargate.state import metrics

_MOST = 1440


async def get_metric_statistics(call: Call, params: Params) -> Result:
    basic = [check_statistic(name, "Statistics") for name in params.get("Statistics") or ()]
    extended = [check_extended(name, "ExtendedStatistics") for name in params.get("ExtendedStatistics") or ()]
    if not basic and not extended:
        raise clash("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
    period = check_period(params["Period"], "Period")
    start, end = rounded(params["StartTime"], params["EndTime"], period, call.now())
    if start >= end:
        raise invalid("The parameter StartTime must be less than the parameter EndTime.")
    wanted = -(-(end - start) // period)
    if wanted > _MOST:
        raise clash(
            f"You have requested up to {wanted:,} datapoints, which exceeds the limit of {_MOST:,}. You may"
            " reduce the datapoints requested by increasing Period, or decreasing the time range."
        )
    owner = Metric(
        call.scope.account,
        call.scope.region,
        text(params["Namespace"], "Namespace"),
        text(params["MetricName"], "MetricName"),
        tuple(sorted(read_dimensions(params.get("Dimensions"), "Dimensions"))),
    )
    query = Query(owner, start, end, period, params.get("Unit"))
    found = await call.metrics.scan(lambda tx: metrics.read_units(tx, query))
    points = [_shown(unit, bucket, basic, extended) for unit, bucket in found]
    return {"Label": owner.name, "Datapoints": [point for point in points if point is not None]}


def _shown(unit: str, bucket: Bucket, basic: list[str], extended: list[str]) -> dict[str, Any] | None:
    """None where no statistic that was asked for is known."""
    values: dict[str, float] = {}
    for name in (*basic, *extended):
        of = statistic(name)
        value = of(bucket.summary) if of is not None else None
        if value is not None:
            values[name] = value
    if not values:
        return None
    shown: dict[str, Any] = {"Timestamp": float(bucket.at), "Unit": unit}
    shown |= {name: values[name] for name in basic if name in values}
    others = {name: values[name] for name in extended if name in values}
    return {**shown, "ExtendedStatistics": others} if others else shown
