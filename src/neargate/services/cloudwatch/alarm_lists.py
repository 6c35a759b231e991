"""Alarms as lists, of all or of a metric, and their history. Called by gateway/dispatch."""

import heapq
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from neargate.model.alarm import COMPOSITE, METRIC, Alarm, AlarmHistory, alarm_arn
from neargate.model.alarm_rule import parse
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.alarm_render import shown_alarm
from neargate.services.cloudwatch.alarms import need_alarm
from neargate.services.cloudwatch.names import clash, read_dimensions, text, token, untoken
from neargate.state.alarm_states import find
from neargate.state.catalog_alarms import ALARM, ALARM_HISTORY
from neargate.state.store import Tx

_PAGE = 50
_HISTORY_PAGE = 100
_AT_ONCE = 500
"""Lines of history in memory."""


async def describe_alarms(call: Call, params: Params) -> Result:
    names = [text(name, "AlarmNames") for name in params.get("AlarmNames") or ()]
    prefix = params.get("AlarmNamePrefix")
    if names and prefix:
        raise clash("AlarmNames and AlarmNamePrefix are mutually exclusive.")
    for name in ("AlarmNamePrefix", "ChildrenOfAlarmName", "ParentsOfAlarmName", "ActionPrefix"):
        text(params.get(name) or "", name)
    family = params.get("ChildrenOfAlarmName") or params.get("ParentsOfAlarmName")
    others = [n for n in ("AlarmNames", "AlarmNamePrefix", "StateValue", "ActionPrefix") if params.get(n)]
    if family and others:
        raise clash(f"Children or parents of an alarm cannot be combined with {others[0]}.")
    # Without AlarmTypes AWS tells of metric alarms only, even where composite ones are named.
    kinds = frozenset(params.get("AlarmTypes") or ((METRIC, COMPOSITE) if family else (METRIC,)))
    after = untoken(params.get("NextToken"), str) or ""

    def body(tx: Tx) -> list[Alarm]:
        found = _family(tx, call, params) if family else _named(tx, call, names)
        return [it for it in found if it.arn > after and it.kind in kinds and _wanted(it, params)]

    found = sorted(await call.store.scan(body), key=lambda alarm: alarm.arn)
    most = params.get("MaxRecords") or _PAGE
    shown = found[:most]
    answer: Result = {
        "MetricAlarms": [_brief(it, params) for it in shown if it.kind == METRIC],
        "CompositeAlarms": [_brief(it, params) for it in shown if it.kind == COMPOSITE],
    }
    return {**answer, "NextToken": token(shown[-1].arn)} if len(found) > most else answer


def _named(tx: Tx, call: Call, names: list[str]) -> list[Alarm]:
    if not names:
        return tx.all(ALARM, call.scope)
    found = (tx.get(ALARM, alarm_arn(call.scope, name)) for name in dict.fromkeys(names))
    return [alarm for alarm in found if alarm is not None]


def _family(tx: Tx, call: Call, params: Params) -> list[Alarm]:
    """Children: the alarms that a composite one names; parents: the composite ones that name an alarm."""
    child = params.get("ParentsOfAlarmName")
    if child is not None:
        alarm = need_alarm(tx, call, child)
        composites = tx.find(ALARM, "composite", f"{call.scope.account}/{call.scope.region}")
        return [it for it in composites if {alarm.name, alarm.arn} & set(parse(it.rule).children)]
    parent = need_alarm(tx, call, params["ChildrenOfAlarmName"])
    if parent.kind != COMPOSITE:
        return []
    found = (find(tx, call.scope, name) for name in parse(parent.rule).children)
    return list({alarm.arn: alarm for alarm in found if alarm is not None}.values())


def _wanted(alarm: Alarm, params: Params) -> bool:
    if not alarm.name.startswith(params.get("AlarmNamePrefix") or ""):
        return False
    if params.get("StateValue") not in (None, alarm.state):
        return False
    prefix = params.get("ActionPrefix")
    actions = (*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_actions)
    return prefix is None or any(arn.startswith(prefix) for arn in actions)


def _brief(alarm: Alarm, params: Params) -> dict[str, Any]:
    """Of parents AWS tells the names only."""
    if params.get("ParentsOfAlarmName"):
        return {"AlarmName": alarm.name, "AlarmArn": alarm.arn}
    return shown_alarm(alarm)


async def describe_alarms_for_metric(call: Call, params: Params) -> Result:
    namespace, name = text(params["Namespace"], "Namespace"), text(params["MetricName"], "MetricName")
    dimensions = sorted(read_dimensions(params.get("Dimensions"), "Dimensions"))
    where = f"{call.scope.account}/{call.scope.region}/{namespace}/{name}"
    found = await call.store.read(lambda tx: tx.find(ALARM, "metric", where))
    statistic = params.get("Statistic") or params.get("ExtendedStatistic")
    shown = [
        shown_alarm(alarm)
        for alarm in found
        if sorted(alarm.dimensions) == dimensions
        and statistic in (None, alarm.statistic)
        and params.get("Period") in (None, alarm.period)
        and params.get("Unit") in (None, alarm.unit)
    ]
    return {"MetricAlarms": shown}


async def describe_alarm_history(call: Call, params: Params) -> Result:
    name = params.get("AlarmName")
    kinds = frozenset(params.get("AlarmTypes") or (METRIC,) if name is None else (METRIC, COMPOSITE))
    after = untoken(params.get("NextToken"), str)
    ascending = params.get("ScanBy") == "TimestampAscending"
    scope = call.scope
    index, value = ("scope", f"{scope.account}/{scope.region}")
    if name is not None:
        index, value = "alarm", alarm_arn(scope, text(name, "AlarmName"))

    most = params.get("MaxRecords") or _HISTORY_PAGE

    def body(tx: Tx) -> list[AlarmHistory]:
        """A page, and one more if there is: an alarm that turns all the time has a long history."""
        lines = _lines(tx, index, value, after if ascending and after else "")
        wanted = (it for it in lines if _within(it, params, kinds))
        if ascending:
            return list(islice(wanted, most + 1))
        before = (it for it in wanted if after is None or it.id < after)
        return heapq.nlargest(most + 1, before, key=lambda it: it.id)

    found = await call.store.scan(body)
    answer: Result = {"AlarmHistoryItems": [_line(it) for it in found[:most]]}
    return {**answer, "NextToken": token(found[most - 1].id)} if len(found) > most else answer


def _lines(tx: Tx, index: str, value: str, after: str) -> Iterator[AlarmHistory]:
    while part := tx.find(ALARM_HISTORY, index, value, after=after, limit=_AT_ONCE):
        yield from part
        after = part[-1].id


def _within(line: AlarmHistory, params: Params, kinds: frozenset[str]) -> bool:
    if line.alarm_kind not in kinds or params.get("HistoryItemType") not in (None, line.type):
        return False
    first, last = params.get("StartDate", line.at), params.get("EndDate", line.at)
    return bool(first <= line.at <= last)


def _line(line: AlarmHistory) -> dict[str, Any]:
    return {
        "AlarmName": line.alarm_name,
        "AlarmType": line.alarm_kind,
        "Timestamp": line.at,
        "HistoryItemType": line.type,
        "HistorySummary": line.summary,
        "HistoryData": json.dumps(line.data),
    }
