"""What a scaling policy's configuration may say, read into rules. Pure; raises AWS's ValidationException.

Called by services/application_autoscaling. The alarms of a target tracking policy are in scaling_alarms.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.model.scaling import DEFAULT_COOLDOWN, Step, Steps, Tracking

ALB_REQUESTS: Final = "ALBRequestCountPerTarget"
PREDEFINED: Final = {
    "ECSServiceAverageCPUUtilization": ("CPUUtilization", 60),
    "ECSServiceAverageMemoryUtilization": ("MemoryUtilization", 60),
    "ECSServiceAverageCPUUtilizationHighResolution": ("CPUUtilization", 20),
    "ECSServiceAverageMemoryUtilizationHighResolution": ("MemoryUtilization", 20),
}
"""Metrics of AWS/ECS, and their period in seconds."""
_LABEL = re.compile(r"(app/[A-Za-z0-9-]{1,32}/[0-9a-f]{16})/(targetgroup/[A-Za-z0-9-]{1,32}/[0-9a-f]{16})")
_QUERY_ID = re.compile(r"[a-z][A-Za-z0-9_]{0,254}")
_MOST_STEPS: Final = 20
_MOST: Final = 2**31 - 1
_LEAST_TARGET, _MOST_TARGET = 2.0**-360, 2.0**360
Config = Mapping[str, Any]


def invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def read_steps(config: Config) -> Steps:
    """The rule of a StepScalingPolicyConfiguration."""
    kind = config.get("AdjustmentType")
    if not kind:
        raise invalid("AdjustmentType is required for a step scaling policy")
    given = config.get("StepAdjustments") or ()
    if not given:
        raise invalid("At least one step adjustment must be specified")
    if len(given) > _MOST_STEPS:
        raise ApiError(
            "LimitExceededException", f"A step scaling policy can have {_MOST_STEPS} step adjustments at most"
        )
    magnitude = config.get("MinAdjustmentMagnitude")
    if magnitude is not None and kind != "PercentChangeInCapacity":
        raise invalid(
            "MinAdjustmentMagnitude is only supported with the adjustment type PercentChangeInCapacity"
        )
    steps = tuple(sorted((_step(step, kind) for step in given), key=_lower))
    _check_intervals(steps)
    return Steps(
        adjustment_type=kind,
        steps=steps,
        min_magnitude=None if magnitude is None else _whole(magnitude, "MinAdjustmentMagnitude", least=1),
        cooldown=_cooldown(config, "Cooldown"),
        aggregation=config.get("MetricAggregationType") or "Average",
    )


def _step(given: Config, kind: str) -> Step:
    lower, upper = (_bound(given, f"MetricInterval{side}Bound") for side in ("Lower", "Upper"))
    if lower is None and upper is None:
        raise invalid("Both lower and upper bounds of a step adjustment cannot be left unspecified")
    if lower is not None and upper is not None and lower >= upper:
        raise invalid("The upper bound of a step adjustment must be greater than its lower bound")
    least = 0 if kind == "ExactCapacity" else -_MOST
    return Step(
        lower=lower,
        upper=upper,
        adjustment=_whole(given["ScalingAdjustment"], "ScalingAdjustment", least=least),
    )


def _bound(given: Config, name: str) -> float | None:
    value = given.get(name)
    if value is not None and not math.isfinite(value):
        raise invalid(f"{name} must be a finite number")
    return None if value is None else float(value)


def _lower(step: Step) -> float:
    return -math.inf if step.lower is None else step.lower


def _check_intervals(steps: Sequence[Step]) -> None:
    for before, after in pairwise(steps):
        end = math.inf if before.upper is None else before.upper
        if end > _lower(after):
            raise invalid("Step adjustment intervals cannot overlap")
        if end < _lower(after):
            raise invalid("Step adjustment intervals cannot have gaps between them")
    if steps[0].lower is not None and steps[0].lower < 0:
        raise invalid(
            "If one step adjustment has a negative lower bound, there must be a step adjustment with an"
            " unspecified lower bound"
        )
    if steps[-1].upper is not None and steps[-1].upper > 0:
        raise invalid(
            "If one step adjustment has a positive upper bound, there must be a step adjustment with an"
            " unspecified upper bound"
        )


def read_tracking(config: Config) -> Tracking:
    """The rule of a TargetTrackingScalingPolicyConfiguration."""
    target = config["TargetValue"]
    if not math.isfinite(target) or not _LEAST_TARGET <= target <= _MOST_TARGET:
        raise invalid("TargetValue must be a positive number in the range of 2^-360 to 2^360")
    predefined = config.get("PredefinedMetricSpecification")
    customized = config.get("CustomizedMetricSpecification")
    if bool(predefined) == bool(customized):
        raise invalid(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified"
        )
    kind, label = _predefined(predefined) if predefined else ("", "")
    if customized:
        _check_customized(customized)
    return Tracking(
        target=float(target),
        predefined=kind,
        resource_label=label,
        customized=dict(customized or {}),
        out_cooldown=_cooldown(config, "ScaleOutCooldown"),
        in_cooldown=_cooldown(config, "ScaleInCooldown"),
        scale_in=not config.get("DisableScaleIn"),
    )


def _predefined(given: Config) -> tuple[str, str]:
    kind, label = given["PredefinedMetricType"], given.get("ResourceLabel") or ""
    if kind != ALB_REQUESTS and kind not in PREDEFINED:
        raise invalid(f"The predefined metric type {kind} is not supported for the service namespace ecs")
    if kind == ALB_REQUESTS and not label:
        raise invalid(f"ResourceLabel is required for the predefined metric type {ALB_REQUESTS}")
    if kind != ALB_REQUESTS and label:
        raise invalid(f"ResourceLabel is only supported for the predefined metric type {ALB_REQUESTS}")
    if label:
        read_label(label)
    return kind, label


def read_label(label: str) -> tuple[str, str]:
    """(`app/<name>/<id>`, `targetgroup/<name>/<id>`) of a resource label."""
    match = _LABEL.fullmatch(label)
    if match is None:
        raise invalid(
            f"Invalid resource label: {label[:300]}. It must be of the form"
            " app/<load-balancer-name>/<load-balancer-id>/targetgroup/<target-group-name>/<target-group-id>"
        )
    return match[1], match[2]


def _check_customized(given: Config) -> None:
    queries = given.get("Metrics")
    simple = [name for name in ("MetricName", "Namespace", "Statistic") if given.get(name)]
    if not queries:
        if len(simple) < 3:
            raise invalid(
                "A customized metric specification needs MetricName, Namespace and Statistic, or Metrics"
            )
        return
    if simple or given.get("Dimensions") or given.get("Unit"):
        raise invalid(
            "Metrics cannot be specified together with MetricName, Namespace, Dimensions, Statistic, Unit"
        )
    ids = [query["Id"] for query in queries]
    if any(not _QUERY_ID.fullmatch(id) for id in ids):
        raise invalid(
            "The Id of a metric data query is letters, numbers and underscores, and begins in lower case"
        )
    if len(set(ids)) != len(ids):
        raise invalid("The Id of each metric data query must be unique")
    if any(bool(query.get("Expression")) == bool(query.get("MetricStat")) for query in queries):
        raise invalid("Each metric data query must have either Expression or MetricStat, but not both")
    if sum(1 for query in queries if returned(query)) != 1:
        raise invalid("Exactly one metric data query must have ReturnData set to true")


def returned(query: Config) -> bool:
    """ReturnData, true where it is not said."""
    return query.get("ReturnData") is not False


def _cooldown(config: Config, name: str) -> int:
    given = config.get(name)
    return DEFAULT_COOLDOWN if given is None else _whole(given, name, least=0)


def _whole(value: int, name: str, *, least: int) -> int:
    if not least <= value <= _MOST:
        raise invalid(f"{name} must be between {least} and {_MOST}")
    return int(value)
