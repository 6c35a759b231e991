"""Alarms as DescribeAlarms shows them, and as their history tells of them. For services/cloudwatch only."""

from typing import Any

from neargate.model.alarm import COMPOSITE, Alarm
from neargate.model.metric_statistics import BASIC
from neargate.services.cloudwatch.names import shown_dimensions
from neargate.services.cloudwatch.queries import shown_query


def shown_alarm(alarm: Alarm) -> dict[str, Any]:
    state: dict[str, Any] = {
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        "StateReasonData": alarm.reason_data or None,
        "StateUpdatedTimestamp": alarm.state_updated_at,
        "StateTransitionedTimestamp": alarm.state_transitioned_at,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured_at,
    }
    if alarm.kind == COMPOSITE and alarm.suppressed_by:
        state["ActionsSuppressedBy"] = alarm.suppressed_by
        state["ActionsSuppressedReason"] = f"Actions are suppressed by {alarm.suppressor}"
    return {**_configuration(alarm), **_told(state)}


def _configuration(alarm: Alarm) -> dict[str, Any]:
    told = {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmDescription": alarm.description,
        "ActionsEnabled": alarm.actions_enabled,
        "OKActions": list(alarm.ok_actions),
        "AlarmActions": list(alarm.alarm_actions),
        "InsufficientDataActions": list(alarm.insufficient_actions),
    }
    return _told({**told, **(_composite(alarm) if alarm.kind == COMPOSITE else _metric(alarm))})


def _composite(alarm: Alarm) -> dict[str, Any]:
    return {
        "AlarmRule": alarm.rule,
        "ActionsSuppressor": alarm.suppressor or None,
        "ActionsSuppressorWaitPeriod": alarm.suppressor_wait,
        "ActionsSuppressorExtensionPeriod": alarm.suppressor_extension,
    }


def _metric(alarm: Alarm) -> dict[str, Any]:
    basic = alarm.statistic in BASIC
    watched: dict[str, Any] = (
        {"Metrics": [shown_query(query) for query in alarm.metrics]}
        if alarm.metrics
        else {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "Statistic": alarm.statistic if basic else None,
            "ExtendedStatistic": None if basic else alarm.statistic,
            "Dimensions": shown_dimensions(alarm.dimensions),
            "Period": alarm.period,
            "Unit": alarm.unit,
        }
    )
    return {
        **watched,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints_to_alarm,
        "Threshold": alarm.threshold,
        "ComparisonOperator": alarm.comparison,
        "TreatMissingData": alarm.treat_missing,
        "EvaluateLowSampleCountPercentile": alarm.low_samples,
    }


def _told(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def configuration(alarm: Alarm) -> dict[str, Any]:
    """As history has it: the same members, their names beginning small."""
    return {"type": alarm.kind, **_small(_configuration(alarm))}


def _small(value: Any) -> Any:
    if isinstance(value, dict):
        return {_small_name(name): _small(inner) for name, inner in value.items()}
    return [_small(item) for item in value] if isinstance(value, list) else value


def _small_name(name: str) -> str:
    return "okActions" if name == "OKActions" else name[:1].lower() + name[1:]
