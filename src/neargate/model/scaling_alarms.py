"""The two alarms of a target tracking policy, as AWS makes them. Pure.

Called by services/application_autoscaling; control/alarms evaluates them, control/autoscaling acts on them.
"""

from collections.abc import Sequence
from typing import Any, Final

from neargate.model.alarm import Alarm, DataQuery, MetricStat, alarm_arn
from neargate.model.metric_math import MathError
from neargate.model.metric_queries import check
from neargate.model.metric_statistics import statistic
from neargate.model.record import Scope
from neargate.model.scaling import ScalingPolicy, Tracking
from neargate.model.scaling_policy import ALB_REQUESTS, PREDEFINED, invalid, read_label, returned

_LOW: Final = 0.9
"""The low alarm's threshold, as a part of the target: between them nothing is scaled."""
_HIGH_SECONDS, _LOW_SECONDS = 180, 900
_PERIOD: Final = 60


def alarms_of(
    policy: ScalingPolicy, tracking: Tracking, uuids: tuple[str, str], now: float
) -> tuple[Alarm, Alarm]:
    """(high, low); uuids -- the ends of their names."""
    metric = _metric(tracking, policy)
    period = metric.get("period", _PERIOD)
    names = [
        f"TargetTracking-{policy.resource_id}-Alarm{side}-{uuid}"
        for side, uuid in zip(("High", "Low"), uuids, strict=True)
    ]
    scope = Scope(policy.account, policy.region)
    common: dict[str, Any] = {
        **metric,
        "account": policy.account,
        "region": policy.region,
        "description": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}.",
        "configured_at": now,
        "state_updated_at": now,
        "state_transitioned_at": now,
        "treat_missing": "missing",
    }
    high = Alarm(
        **common,
        arn=alarm_arn(scope, names[0]),
        name=names[0],
        comparison="GreaterThanThreshold",
        threshold=tracking.target,
        evaluation_periods=_HIGH_SECONDS // _PERIOD,
        alarm_actions=(policy.arn,),
    )
    low = Alarm(
        **common,
        arn=alarm_arn(scope, names[1]),
        name=names[1],
        comparison="LessThanThreshold",
        # 63 of 70, not 63.00000000000001
        threshold=float(f"{tracking.target * _LOW:.12g}"),
        evaluation_periods=_LOW_SECONDS // period,
        alarm_actions=(policy.arn,) if tracking.scale_in else (),
    )
    return high, low


def _metric(tracking: Tracking, policy: ScalingPolicy) -> dict[str, Any]:
    """The members of an alarm that say what it looks at."""
    if tracking.predefined == ALB_REQUESTS:
        balancer, group = read_label(tracking.resource_label)
        return {
            "namespace": "AWS/ApplicationELB",
            "metric_name": "RequestCountPerTarget",
            "dimensions": (("TargetGroup", group), ("LoadBalancer", balancer)),
            "statistic": "Sum",
            "period": _PERIOD,
        }
    if tracking.predefined:
        name, period = PREDEFINED[tracking.predefined]
        _, cluster, service = policy.resource_id.split("/")
        return {
            "namespace": "AWS/ECS",
            "metric_name": name,
            "dimensions": (("ClusterName", cluster), ("ServiceName", service)),
            "statistic": "Average",
            "unit": "Percent",
            "period": period,
        }
    given = tracking.customized
    if given.get("Metrics"):
        return {"metrics": _queries(given["Metrics"])}
    return {
        "namespace": given["Namespace"],
        "metric_name": given["MetricName"],
        "dimensions": _dimensions(given),
        "statistic": given["Statistic"],
        "unit": given.get("Unit"),
        "period": _PERIOD,
    }


def _queries(given: Sequence[dict[str, Any]]) -> tuple[DataQuery, ...]:
    """Raise ValidationException for an expression or a statistic that cannot be evaluated."""
    queries = tuple(_query(query) for query in given)
    for query in queries:
        if query.metric is not None and statistic(query.metric.stat) is None:
            raise invalid(f"There is no statistic {query.metric.stat[:100]}: {query.id}")
    try:
        check(queries, alarm=True)
    except MathError as error:
        raise invalid(str(error)) from None
    return queries


def _query(given: dict[str, Any]) -> DataQuery:
    stat = given.get("MetricStat")
    metric = None
    if stat:
        metric = MetricStat(
            namespace=stat["Metric"].get("Namespace", ""),
            name=stat["Metric"].get("MetricName", ""),
            dimensions=_dimensions(stat["Metric"]),
            stat=stat["Stat"],
            period=_PERIOD,
            unit=stat.get("Unit"),
        )
    return DataQuery(
        id=given["Id"],
        metric=metric,
        expression=given.get("Expression") or "",
        label=given.get("Label"),
        period=None if metric else _PERIOD,
        returned=returned(given),
    )


def _dimensions(given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((item["Name"], item["Value"]) for item in given.get("Dimensions") or ())
