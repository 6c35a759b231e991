"""What requests hold: groups, paging tokens; and the service's errors. For services/scheduler only."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.event_schedule import DEFAULT_GROUP, EventSchedule, ScheduleGroup
from neargate.model.record import Record, Scope
from neargate.services import paging
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_events import EVENT_SCHEDULE, EVENT_SCHEDULE_GROUP
from neargate.state.store import Tx

R = TypeVar("R", bound=Record)
_PAGE = 100


def invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def missing(message: str) -> ApiError:
    return ApiError("ResourceNotFoundException", message)


def conflict(message: str) -> ApiError:
    return ApiError("ConflictException", message)


def group_arn(scope: Scope, name: str) -> str:
    return scope.arn("scheduler", f"schedule-group/{name}")


def schedule_arn(scope: Scope, group: str, name: str) -> str:
    return scope.arn("scheduler", f"schedule/{group}/{name}")


def need_group(tx: Tx, scope: Scope, name: str) -> ScheduleGroup:
    """The default group is there always, whether or not anything of it is stored."""
    arn = group_arn(scope, name)
    found = tx.get(EVENT_SCHEDULE_GROUP, arn)
    if found is None and name == DEFAULT_GROUP:
        return ScheduleGroup(account=scope.account, region=scope.region, arn=arn, name=name)
    if found is None:
        raise missing(f"Schedule group {name} does not exist.")
    return found


def need_schedule(tx: Tx, call: Call, params: Params) -> EventSchedule:
    group = params.get("GroupName") or DEFAULT_GROUP
    need_group(tx, call.scope, group)
    found = tx.get(EVENT_SCHEDULE, schedule_arn(call.scope, group, params["Name"]))
    if found is None:
        raise missing(f"Schedule {params['Name']} does not exist.")
    return found


def page(
    rows: Sequence[R],
    key: Callable[[R], str],
    params: Params,
    show: Callable[[R], dict[str, Any]],
    member: str,
) -> Result:
    """A page of rows in the order of their keys, and where the next begins."""
    after = paging.place(params.get("NextToken"), lambda: invalid("The NextToken is invalid."))
    shown, more = paging.page(rows, key, after, params.get("MaxResults") or _PAGE, show)
    return {member: shown} | ({"NextToken": more} if more else {})
