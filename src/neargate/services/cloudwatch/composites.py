"""Composite alarms: made and changed; their state follows at once. Called by gateway/dispatch."""

from neargate.model.alarm import COMPOSITE, Alarm, alarm_arn
from neargate.model.alarm_rule import Rule, RuleError, parse
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.alarms import common, put_alarm
from neargate.services.cloudwatch.names import clash, missing, prose, refused, text
from neargate.state import alarm_states
from neargate.state.catalog_alarms import ALARM
from neargate.state.store import Tx

_MOST_LEVELS = 20


async def put_composite_alarm(call: Call, params: Params) -> Result:
    text_of_rule = params["AlarmRule"]
    prose(text_of_rule, "AlarmRule")
    try:
        rule = parse(text_of_rule)
    except RuleError as problem:
        raise refused(f"The alarm rule is invalid: {problem}") from None
    suppressor = text(params.get("ActionsSuppressor") or "", "ActionsSuppressor")
    wait, extension = (
        params.get("ActionsSuppressorWaitPeriod"),
        params.get("ActionsSuppressorExtensionPeriod"),
    )
    if suppressor and (wait is None or extension is None):
        name = "ActionsSuppressorWaitPeriod" if wait is None else "ActionsSuppressorExtensionPeriod"
        raise missing(name)
    if not suppressor and (wait is not None or extension is not None):
        raise clash("A wait or extension period is of an ActionsSuppressor, which is not specified.")
    if any(period is not None and period < 0 for period in (wait, extension)):
        raise refused("A wait or extension period must be at least 0 seconds.")
    alarm = Alarm(
        **common(call, params),
        kind=COMPOSITE,
        rule=text_of_rule,
        suppressor=suppressor,
        suppressor_wait=wait,
        suppressor_extension=extension,
    )

    def body(tx: Tx) -> None:
        _check_children(tx, call.scope, alarm, rule)
        new, _ = put_alarm(tx, alarm, call.now(), params.get("Tags"))
        alarm_states.recompute(tx, new, call.now())

    await call.store.write(body)
    return {}


def _check_children(tx: Tx, scope: Scope, alarm: Alarm, rule: Rule) -> None:
    wanted = [*rule.children, *([alarm.suppressor] if alarm.suppressor else [])]
    for name in wanted:
        if alarm_states.find(tx, scope, name) is None and not _is(name, alarm):
            raise refused(
                f"Could not save the composite alarm as alarms [{name}] in the alarm rule do not exist"
            )
    if _reaches(tx, scope, alarm, rule, set(), 0):
        raise refused("Could not save the composite alarm as there is a cycle in its alarm rule")


def _is(name: str, alarm: Alarm) -> bool:
    return name in (alarm.name, alarm.arn)


def _reaches(tx: Tx, scope: Scope, alarm: Alarm, rule: Rule, seen: set[str], level: int) -> bool:
    """Whether the rule comes to depend on the alarm itself."""
    for name in rule.children:
        if _is(name, alarm):
            return True
        arn = name if name.startswith("arn:") else alarm_arn(scope, name)
        child = tx.get(ALARM, arn)
        if child is None or child.kind != COMPOSITE or arn in seen:
            continue
        seen.add(arn)
        if level >= _MOST_LEVELS:
            raise refused(f"Composite alarms can be at most {_MOST_LEVELS} above each other")
        if _reaches(tx, scope, alarm, parse(child.rule), seen, level + 1):
            return True
    return False
