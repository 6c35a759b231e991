"""Metric alarms: made, changed, deleted; actions switched on and off; a state set by hand.

Called by gateway/dispatch. control/alarms evaluates what is written here; composite alarms are in composites.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.kit import inner_json
from neargate.kit.errors import ApiError
from neargate.model import metric_queries
from neargate.model.alarm import COMPOSITE, METRIC, Alarm, alarm_arn
from neargate.model.alarm_evaluation import COMPARISONS, TREATMENTS, period_of
from neargate.model.metric_math import MathError
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.alarm_render import configuration
from neargate.services.cloudwatch.names import (
    check_extended,
    check_period,
    clash,
    invalid,
    missing,
    not_found,
    prose,
    read_dimensions,
    read_tags,
    refused,
    text,
)
from neargate.services.cloudwatch.queries import read_queries
from neargate.state import alarm_states
from neargate.state.catalog_alarms import ALARM, note
from neargate.state.store import Tx

_PERIODS = (10, 20, 30)
_DAY, _WEEK = 86_400, 7 * 86_400
_MOST_QUERIES = 10
_NOT_BUILT = (
    "ThresholdMetricId",
    "EvaluationCriteria",
    "EvaluationWindow",
    "WarmUpConfiguration",
    "EvaluationInterval",
)
_OF_METRIC = ("MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic")


async def put_metric_alarm(call: Call, params: Params) -> Result:
    for name in _NOT_BUILT:
        if params.get(name) is not None:
            raise invalid(f"The parameter {name} is not built into neargate.")
    alarm = _metric_alarm(call, params)

    def body(tx: Tx) -> None:
        put_alarm(tx, alarm, call.now(), params.get("Tags"))

    await call.store.write(body)
    return {}


def put_alarm(
    tx: Tx, alarm: Alarm, now: float, tags: Sequence[Mapping[str, str]] | None
) -> tuple[Alarm, Alarm | None]:
    """Write an alarm in place of one of its name, whose state it keeps; the new one and the old."""
    old = tx.get(ALARM, alarm.arn)
    if old is None:
        new = replace(alarm, state_updated_at=now, state_transitioned_at=now, tags=read_tags(tags))
    elif old.kind != alarm.kind:
        raise refused(f"An alarm of the type {old.kind} exists with the name {alarm.name}.")
    else:
        new = replace(
            alarm,
            state=old.state,
            reason=old.reason,
            reason_data=old.reason_data,
            state_updated_at=old.state_updated_at,
            state_transitioned_at=old.state_transitioned_at,
            tags=old.tags,
        )
    tx.put(ALARM, new)
    done = "Update" if old is not None else "Create"
    data = {"version": "1.0", "type": done, f"{done.lower()}dAlarm": configuration(new)}
    note(tx, new, now, "ConfigurationUpdate", f'Alarm "{new.name}" {done.lower()}d', data)
    return new, old


def common(call: Call, params: Params) -> dict[str, Any]:
    """What metric and composite alarms both have."""
    name = text(params["AlarmName"], "AlarmName")
    scope = call.scope
    return {
        "account": scope.account,
        "region": scope.region,
        "arn": alarm_arn(scope, name),
        "name": name,
        "description": prose(params.get("AlarmDescription"), "AlarmDescription"),
        "actions_enabled": params.get("ActionsEnabled", True),
        "ok_actions": _actions(params, "OKActions"),
        "alarm_actions": _actions(params, "AlarmActions"),
        "insufficient_actions": _actions(params, "InsufficientDataActions"),
        "configured_at": call.now(),
    }


def _actions(params: Params, name: str) -> tuple[str, ...]:
    given = tuple(text(arn, name) for arn in params.get(name) or ())
    for arn in given:
        if not arn.startswith("arn:") or arn.count(":") < 5:
            raise refused(f"Invalid arn syntax: {arn}")
    return given


def _metric_alarm(call: Call, params: Params) -> Alarm:
    for name in ("EvaluationPeriods", "ComparisonOperator", "Threshold"):
        if params.get(name) is None:
            raise missing(name)
    comparison, threshold = params["ComparisonOperator"], params["Threshold"]
    if comparison not in COMPARISONS:
        raise invalid(f"The operator {comparison} is of anomaly detection, which is not built into neargate.")
    if not math.isfinite(threshold):
        raise invalid(f"The value {threshold} for parameter Threshold is invalid.")
    treat = _one_of(params, "TreatMissingData", TREATMENTS)
    low = _one_of(params, "EvaluateLowSampleCountPercentile", ("evaluate", "ignore"))
    source = _of_queries(call, params) if params.get("Metrics") else _of_metric(params)
    alarm = Alarm(
        **common(call, params),
        **source,
        kind=METRIC,
        evaluation_periods=params["EvaluationPeriods"],
        datapoints_to_alarm=params.get("DatapointsToAlarm"),
        threshold=threshold,
        comparison=comparison,
        treat_missing=treat,
        low_samples=low,
    )
    _check_length(alarm)
    return alarm


def _one_of(params: Params, name: str, allowed: Sequence[str]) -> str | None:
    value = params.get(name)
    if value is not None and value not in allowed:
        text(value, name)
        raise refused(f"Option {value} is not supported for {name}: it must be one of {', '.join(allowed)}.")
    return value


def _of_metric(params: Params) -> dict[str, Any]:
    for name in ("MetricName", "Namespace", "Period"):
        if params.get(name) is None:
            raise missing(name)
    basic, extended = params.get("Statistic"), params.get("ExtendedStatistic")
    if (basic is None) == (extended is None):
        raise clash("Exactly one of Statistic and ExtendedStatistic must be specified.")
    return {
        "namespace": text(params["Namespace"], "Namespace"),
        "metric_name": text(params["MetricName"], "MetricName"),
        "dimensions": read_dimensions(params.get("Dimensions"), "Dimensions"),
        "statistic": basic if extended is None else check_extended(extended, "ExtendedStatistic"),
        "period": check_period(params["Period"], "Period", _PERIODS),
        "unit": params.get("Unit"),
    }


def _of_queries(call: Call, params: Params) -> dict[str, Any]:
    given = [name for name in _OF_METRIC if params.get(name)]
    if given:
        raise clash(f"The parameters Metrics and {given[0]} are mutually exclusive.")
    queries = read_queries(call, params["Metrics"], "Metrics")
    if len(queries) > _MOST_QUERIES:
        raise refused(f"The collection Metrics must not have a size greater than {_MOST_QUERIES}.")
    if sum(query.returned for query in queries) != 1:
        raise refused("Exactly one of the Metrics must have ReturnData set to true.")
    for query in queries:
        for period in (query.period, query.metric.period if query.metric else None):
            if period is not None:
                check_period(period, "Metrics.Period", _PERIODS)
    if not any(query.metric for query in queries) and all(query.period is None for query in queries):
        raise refused("An expression over no metric needs a Period.")
    try:
        metric_queries.check(queries, alarm=True)
    except MathError as problem:
        raise refused(str(problem)) from None
    return {"metrics": queries}


def _check_length(alarm: Alarm) -> None:
    most, period = alarm.evaluation_periods, period_of(alarm)
    if not 1 <= (alarm.datapoints_to_alarm or 1) <= most:
        raise refused("DatapointsToAlarm must be at least 1 and at most EvaluationPeriods.")
    span, limit = ("seven days", _WEEK) if period >= 3600 else ("a day", _DAY)
    if most * period > limit:
        raise refused(
            f"Metrics cannot be checked across more than {span}"
            f" (EvaluationPeriods * Period must be <= {limit})."
        )


async def delete_alarms(call: Call, params: Params) -> Result:
    """Of a list with more than one composite alarm nothing is deleted, as with AWS."""
    names = [text(name, "AlarmNames") for name in params["AlarmNames"]]

    def body(tx: Tx) -> None:
        found = [need_alarm(tx, call, name) for name in dict.fromkeys(names)]
        if len(found) > 1 and any(alarm.kind == COMPOSITE for alarm in found):
            raise refused("A composite alarm must be deleted by itself.")
        for alarm in found:
            tx.delete(ALARM, alarm.arn)
            data = {"version": "1.0", "type": "Delete", "deletedAlarm": configuration(alarm)}
            note(tx, alarm, call.now(), "ConfigurationUpdate", f'Alarm "{alarm.name}" deleted', data)
            alarm_states.follow(tx, alarm, call.now())

    await call.store.write(body)
    return {}


def need_alarm(tx: Tx, call: Call, name: str) -> Alarm:
    found = tx.get(ALARM, alarm_arn(call.scope, name))
    if found is None:
        raise not_found(f"The alarm {name} does not exist.")
    return found


async def enable_alarm_actions(call: Call, params: Params) -> Result:
    return await _switch(call, params["AlarmNames"], enabled=True)


async def disable_alarm_actions(call: Call, params: Params) -> Result:
    return await _switch(call, params["AlarmNames"], enabled=False)


async def _switch(call: Call, names: Sequence[str], *, enabled: bool) -> Result:
    """Names of no alarm are passed over, as with AWS."""
    arns = [alarm_arn(call.scope, text(name, "AlarmNames")) for name in names]

    def body(tx: Tx) -> None:
        for arn in arns:
            alarm = tx.get(ALARM, arn)
            if alarm is not None and alarm.actions_enabled != enabled:
                put_alarm(
                    tx, replace(alarm, actions_enabled=enabled, configured_at=call.now()), call.now(), None
                )

    await call.store.write(body)
    return {}


async def set_alarm_state(call: Call, params: Params) -> Result:
    name, reason = text(params["AlarmName"], "AlarmName"), params["StateReason"]
    prose(reason, "StateReason")
    data = _json(prose(params.get("StateReasonData"), "StateReasonData") or "")

    def body(tx: Tx) -> None:
        alarm = need_alarm(tx, call, name)
        alarm_states.turn(tx, alarm, params["StateValue"], reason, data, call.now())

    await call.store.write(body)
    return {}


def _json(given: str) -> str:
    try:
        inner_json.read(given or "{}")
    except ValueError:
        raise ApiError("InvalidFormat", "The parameter StateReasonData must be valid JSON.") from None
    return given
