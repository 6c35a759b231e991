"""PutScheduledAction, DescribeScheduledActions, DeleteScheduledAction. Called by gateway/dispatch."""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import scaling_schedule
from neargate.model.scaling import ScheduledAction, part_id
from neargate.model.scaling_policy import invalid
from neargate.services.application_autoscaling import names
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCHEDULED_ACTION
from neargate.state.store import Tx

_MOST = 200
_LAST_MOMENT = 32_503_680_000.0
"""The year 3000."""


async def put_scheduled_action(call: Call, params: Params) -> Result:
    resource = names.resource_of(params)
    uuid, now = call.ids.uuid(), call.now()

    def body(tx: Tx) -> None:
        target = names.need_target(tx, call.scope, params)
        id = part_id(call.scope.account, call.scope.region, resource, params["ScheduledActionName"])
        old = tx.get(SCHEDULED_ACTION, id)
        if old is None and tx.count(SCHEDULED_ACTION, "target", SCALABLE_TARGET.id(target)) >= _MOST:
            raise ApiError(
                "LimitExceededException", f"A scalable target can have {_MOST} scheduled actions at most"
            )
        tx.put(SCHEDULED_ACTION, _made(call, params, old, uuid, now))

    await call.store.write(body)
    return {}


def _made(call: Call, params: Params, old: ScheduledAction | None, uuid: str, now: float) -> ScheduledAction:
    """The action with what is given; of an old one the rest stays, but for start and end, as on AWS."""
    text = params.get("Schedule") or (old.schedule if old else "")
    if not text:
        raise invalid("Schedule must be specified for a new scheduled action")
    zone = params.get("Timezone") or (old.timezone if old else "")
    scaling_schedule.check(text, zone)
    bounds = params.get("ScalableTargetAction")
    minimum, maximum = (names.capacity(bounds or {}, name) for name in ("MinCapacity", "MaxCapacity"))
    if bounds is None and old is not None:
        minimum, maximum = old.minimum, old.maximum
    if minimum is None and maximum is None:
        raise invalid("At least one of MinCapacity and MaxCapacity must be specified in ScalableTargetAction")
    names.check_bounds(minimum, maximum)
    start, end = (_moment(params, name) for name in ("StartTime", "EndTime"))
    if start is not None and end is not None and end <= start:
        raise invalid("EndTime must be later than StartTime")
    name, resource = params["ScheduledActionName"], params["ResourceId"]
    arn = f"scheduledAction:{uuid}:resource/ecs/{resource}:scheduledActionName/{name}"
    action = ScheduledAction(
        account=call.scope.account,
        region=call.scope.region,
        arn=old.arn if old else call.scope.arn("autoscaling", arn),
        name=name,
        resource_id=resource,
        schedule=text,
        timezone=zone,
        start_at=start,
        end_at=end,
        minimum=minimum,
        maximum=maximum,
        created_at=old.created_at if old else now,
    )
    return replace(action, due_at=scaling_schedule.due_after(action, now))


def _moment(params: Params, name: str) -> float | None:
    value = params.get(name)
    if value is not None and not 0 <= value <= _LAST_MOMENT:
        raise invalid(f"{name} must be between the years 1970 and 3000")
    return None if value is None else float(value)


async def describe_scheduled_actions(call: Call, params: Params) -> Result:
    names.check_scope(params)
    wanted = params.get("ScheduledActionNames")
    found = await call.store.read(lambda tx: names.found(tx, SCHEDULED_ACTION, call, params))
    chosen = [action for action in found if not wanted or action.name in wanted]
    return names.page(params, "ScheduledActions", chosen, SCHEDULED_ACTION.id, _shown)


def _shown(action: ScheduledAction) -> dict[str, Any]:
    bounds = {"MinCapacity": action.minimum, "MaxCapacity": action.maximum}
    shown = {
        **names.place(action),
        "ScheduledActionName": action.name,
        "ScheduledActionARN": action.arn,
        "Schedule": action.schedule,
        "Timezone": action.timezone or None,
        "StartTime": action.start_at,
        "EndTime": action.end_at,
        "ScalableTargetAction": {name: value for name, value in bounds.items() if value is not None},
        "CreationTime": action.created_at,
    }
    return {name: value for name, value in shown.items() if value is not None}


async def delete_scheduled_action(call: Call, params: Params) -> Result:
    resource, name = names.resource_of(params), params["ScheduledActionName"]
    id = part_id(call.scope.account, call.scope.region, resource, name)
    if not await call.store.write(lambda tx: tx.delete(SCHEDULED_ACTION, id)):
        raise names.missing("scheduled action", params, "scheduled action name", name)
    return {}
