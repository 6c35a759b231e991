"""Schedules: create, get, list, update, delete. Called by gateway/dispatch; control/schedules fires them."""

from collections.abc import Mapping
from typing import Any

from neargate.model import schedule as expressions
from neargate.model.event_schedule import DEFAULT_GROUP, EventSchedule, timed
from neargate.services.call import Call, Params, Result
from neargate.services.scheduler import names
from neargate.services.scheduler.target import read_target
from neargate.state.catalog_events import EVENT_SCHEDULE
from neargate.state.store import Tx


async def create_schedule(call: Call, params: Params) -> Result:
    made = _read(call, params, call.now())

    def body(tx: Tx) -> str:
        names.need_group(tx, call.scope, made.group)
        known = tx.get(EVENT_SCHEDULE, made.arn)
        if known is not None and made.token and known.token == made.token:
            return known.arn
        if known is not None:
            raise names.conflict(f"Schedule {made.name} already exists.")
        return tx.insert(EVENT_SCHEDULE, timed(made, made.created_at)).arn

    return {"ScheduleArn": await call.store.write(body)}


async def update_schedule(call: Call, params: Params) -> Result:
    """All of it anew: what is not given is as if it had never been."""

    def body(tx: Tx) -> str:
        old = names.need_schedule(tx, call, params)
        changed = _read(call, params, old.created_at)
        return tx.put(EVENT_SCHEDULE, timed(changed, call.now())).arn

    return {"ScheduleArn": await call.store.write(body)}


def _read(call: Call, params: Params, created_at: float) -> EventSchedule:
    expression, zone = params["ScheduleExpression"], params.get("ScheduleExpressionTimezone") or ""
    _check_expression(expression, zone)
    start, end = params.get("StartDate"), params.get("EndDate")
    if end is not None and end <= max(start or 0.0, call.now()):
        raise names.invalid("The EndDate must come after the StartDate, and after now.")
    group = params.get("GroupName") or DEFAULT_GROUP
    return EventSchedule(
        account=call.scope.account,
        region=call.scope.region,
        arn=names.schedule_arn(call.scope, group, params["Name"]),
        name=params["Name"],
        group=group,
        expression=expression,
        timezone=zone,
        target=read_target(call, params["Target"]),
        start_at=start,
        end_at=end,
        window=_window(params["FlexibleTimeWindow"]),
        enabled=params.get("State", "ENABLED") == "ENABLED",
        delete_after=params.get("ActionAfterCompletion") == "DELETE",
        description=params.get("Description") or "",
        kms_key=params.get("KmsKeyArn") or "",
        token=params.get("ClientToken") or "",
        created_at=created_at,
        modified_at=call.now(),
    )


def _check_expression(text: str, zone: str) -> None:
    try:
        expressions.zone_of(zone)
    except expressions.ScheduleError:
        raise names.invalid(f"Invalid ScheduleExpressionTimezone {zone}.") from None
    try:
        expressions.parse(text, zone)
    except expressions.ScheduleError as error:
        raise names.invalid(f"Invalid Schedule Expression {text}: {error}.") from None


def _window(given: Mapping[str, Any]) -> float:
    minutes: int | None = given.get("MaximumWindowInMinutes")
    if given["Mode"] == "FLEXIBLE":
        if minutes is None:
            raise names.invalid("MaximumWindowInMinutes is required for the flexible time window mode.")
        return 60.0 * minutes
    if minutes is not None:
        raise names.invalid("MaximumWindowInMinutes is not valid when the flexible time window is OFF.")
    return 0.0


async def get_schedule(call: Call, params: Params) -> Result:
    return _shown(await call.store.read(lambda tx: names.need_schedule(tx, call, params)))


def _shown(record: EventSchedule) -> Result:
    window: Result = {"Mode": "FLEXIBLE" if record.window else "OFF"}
    if record.window:
        window["MaximumWindowInMinutes"] = int(record.window // 60)
    optional = {
        "StartDate": record.start_at,
        "EndDate": record.end_at,
        "Description": record.description or None,
        "KmsKeyArn": record.kms_key or None,
    }
    return {
        "Arn": record.arn,
        "GroupName": record.group,
        "Name": record.name,
        "ScheduleExpression": record.expression,
        "ScheduleExpressionTimezone": record.timezone or "UTC",
        "State": _state(record),
        "CreationDate": record.created_at,
        "LastModificationDate": record.modified_at,
        "Target": record.target.given,
        "FlexibleTimeWindow": window,
        "ActionAfterCompletion": "DELETE" if record.delete_after else "NONE",
        **{name: value for name, value in optional.items() if value is not None},
    }


def _state(record: EventSchedule) -> str:
    return "ENABLED" if record.enabled else "DISABLED"


async def list_schedules(call: Call, params: Params) -> Result:
    group, prefix, state = params.get("GroupName"), params.get("NamePrefix") or "", params.get("State")

    def body(tx: Tx) -> list[EventSchedule]:
        if group:
            return tx.find(EVENT_SCHEDULE, "group", names.need_group(tx, call.scope, group).arn)
        return tx.all(EVENT_SCHEDULE, call.scope)

    found = [
        row
        for row in await call.store.read(body)
        if row.name.startswith(prefix) and state in (None, _state(row))
    ]
    return names.page(found, lambda row: row.arn, params, _listed, "Schedules")


def _listed(record: EventSchedule) -> Result:
    return {
        "Arn": record.arn,
        "Name": record.name,
        "GroupName": record.group,
        "State": _state(record),
        "CreationDate": record.created_at,
        "LastModificationDate": record.modified_at,
        "Target": {"Arn": record.target.arn},
    }


async def delete_schedule(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        tx.delete(EVENT_SCHEDULE, names.need_schedule(tx, call, params).arn)

    await call.store.write(body)
    return {}
