"""Rules: put, describe, list, enable, disable, delete. Called by gateway/dispatch; targets are in targets.py.

A rule with a schedule knows when it is due next: control/schedules waits for that.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import schedule
from neargate.model.event import DEFAULT_BUS, Rule, rule_arn
from neargate.model.event_pattern import PatternError, compiled
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_RULE
from neargate.state.store import Tx

_MAX_RULES = 300


async def put_rule(call: Call, params: Params) -> Result:
    """Make a rule, or put another in its place: its targets and tags stay."""
    pattern, expression = params.get("EventPattern"), params.get("ScheduleExpression")
    if not pattern and not expression:
        raise names.invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if pattern:
        check_pattern(pattern)
    if expression:
        _check_schedule(expression)
    tags = names.read_tags(params.get("Tags"), {})

    def body(tx: Tx) -> Rule:
        old, bus = names.find_rule(tx, call, params["Name"], params.get("EventBusName"))
        if expression and bus != DEFAULT_BUS:
            raise names.invalid("ScheduleExpression is supported only on the default event bus.")
        if old is None and tx.count(EVENT_RULE, "bus", _bus_value(call, bus)) >= _MAX_RULES:
            raise names.too_many()
        new = Rule(
            account=call.scope.account,
            region=call.scope.region,
            arn=rule_arn(call.scope.account, call.scope.region, bus, params["Name"]),
            name=params["Name"],
            bus=bus,
            description=params.get("Description") or "",
            pattern=pattern or None,
            schedule=expression or None,
            state=params.get("State") or "ENABLED",
            role_arn=params.get("RoleArn") or "",
            created_by=call.scope.account,
            targets=old.targets if old else (),
            tags=old.tags if old else tags,
            created_at=call.now(),
        )
        return tx.put(EVENT_RULE, _timed(old, new, call.now()))

    return {"RuleArn": (await call.store.write(body)).arn}


def _bus_value(call: Call, bus: str) -> str:
    return f"{call.scope.account}/{call.scope.region}/{bus}"


def check_pattern(text: str) -> None:
    try:
        compiled(text)
    except PatternError as error:
        raise ApiError(
            "InvalidEventPatternException", f"Event pattern is not valid. Reason: {error}"
        ) from None


def _check_schedule(text: str) -> None:
    try:
        if not isinstance(schedule.parse(text, agreeing=True), schedule.At):
            return
    except schedule.ScheduleError:
        pass
    raise names.invalid("Parameter ScheduleExpression is not valid.")


def _timed(old: Rule | None, new: Rule, now: float) -> Rule:
    """With the moment at which it is due. A schedule that stays goes on counting from where it began."""
    if new.schedule is None or not new.enabled:
        return replace(new, next_at=None)
    if old is not None and old.schedule == new.schedule and old.next_at is not None:
        return replace(new, next_at=old.next_at, created_at=old.created_at)
    due = schedule.parse(new.schedule).next_after(now, new.created_at)
    return replace(new, next_at=due)


async def describe_rule(call: Call, params: Params) -> Result:
    rule = await call.store.read(
        lambda tx: names.need_rule(tx, call, params["Name"], params.get("EventBusName"))
    )
    return {**_shown(rule), "CreatedBy": rule.created_by}


def _shown(rule: Rule) -> dict[str, Any]:
    return {
        "Name": rule.name,
        "Arn": rule.arn,
        "State": rule.state,
        "EventBusName": rule.bus,
        **names.present(
            EventPattern=rule.pattern,
            ScheduleExpression=rule.schedule,
            Description=rule.description,
            RoleArn=rule.role_arn,
        ),
    }


async def list_rules(call: Call, params: Params) -> Result:
    prefix = params.get("NamePrefix") or ""

    def body(tx: Tx) -> list[Rule]:
        bus = names.need_bus(tx, call.scope, names.bus_name(params.get("EventBusName"), call.scope))
        return tx.find(EVENT_RULE, "bus", _bus_value(call, bus.name))

    found = [rule for rule in await call.store.read(body) if rule.name.startswith(prefix)]
    return names.page(found, lambda rule: rule.name, params, _shown, "Rules")


async def list_rule_names_by_target(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> list[Rule]:
        bus = names.need_bus(tx, call.scope, names.bus_name(params.get("EventBusName"), call.scope))
        return tx.find(EVENT_RULE, "bus", _bus_value(call, bus.name))

    wanted = params["TargetArn"]
    found = [r for r in await call.store.read(body) if any(t.arn == wanted for t in r.targets)]
    answer = names.page(found, lambda rule: rule.name, params, _shown, "RuleNames")
    return {**answer, "RuleNames": [shown["Name"] for shown in answer["RuleNames"]]}


async def enable_rule(call: Call, params: Params) -> Result:
    return await _switch(call, params, "ENABLED")


async def disable_rule(call: Call, params: Params) -> Result:
    return await _switch(call, params, "DISABLED")


async def _switch(call: Call, params: Params, state: str) -> Result:
    def body(tx: Tx) -> None:
        rule = names.need_rule(tx, call, params["Name"], params.get("EventBusName"))
        tx.put(EVENT_RULE, _timed(rule, replace(rule, state=state), call.now()))

    await call.store.write(body)
    return {}


async def delete_rule(call: Call, params: Params) -> Result:
    """One that is not there is as well deleted."""

    def body(tx: Tx) -> None:
        rule, _ = names.find_rule(tx, call, params["Name"], params.get("EventBusName"))
        if rule is None:
            return
        if rule.targets:
            raise names.invalid("Rule can't be deleted since it has targets.")
        tx.delete(EVENT_RULE, rule.arn)

    await call.store.write(body)
    return {}
