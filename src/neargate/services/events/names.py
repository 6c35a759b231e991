"""What requests hold: buses, rules, tags, paging tokens; and EventBridge's errors.

For services/events only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.event import DEFAULT_BUS, EventBus, Rule, bus_id, rule_arn
from neargate.model.record import Record, Scope
from neargate.services import paging
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_events import EVENT_BUS, EVENT_RULE
from neargate.state.store import Tx

R = TypeVar("R", bound=Record)
_MAX_TAGS = 50
_PAGE = 100


def invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def missing(message: str) -> ApiError:
    return ApiError("ResourceNotFoundException", message)


def too_many() -> ApiError:
    return ApiError("LimitExceededException", "The requested resource exceeds the maximum number allowed.")


def bus_name(given: str | None, scope: Scope) -> str:
    """The name in a bus's name or ARN."""
    if not given:
        return DEFAULT_BUS
    if given.startswith("arn:"):
        name = given.partition(":event-bus/")[2]
        if bus_id(scope.account, scope.region, name) != given:
            raise missing(f"Event bus {given[:300]} does not exist.")
        return name
    return given


def find_bus(tx: Tx, scope: Scope, name: str) -> EventBus | None:
    """The default bus is there always, whether or not anything of it is stored."""
    arn = bus_id(scope.account, scope.region, name)
    found = tx.get(EVENT_BUS, arn)
    if found is None and name == DEFAULT_BUS:
        return EventBus(account=scope.account, region=scope.region, arn=arn, name=name)
    return found


def need_bus(tx: Tx, scope: Scope, name: str) -> EventBus:
    bus = find_bus(tx, scope, name)
    if bus is None:
        raise missing(f"Event bus {name[:300]} does not exist.")
    return bus


def find_rule(tx: Tx, call: Call, name: str, given_bus: str | None) -> tuple[Rule | None, str]:
    """The rule and its bus's name. Raise ResourceNotFoundException if there is no such bus."""
    bus = need_bus(tx, call.scope, bus_name(given_bus, call.scope)).name
    return tx.get(EVENT_RULE, rule_arn(call.scope.account, call.scope.region, bus, name)), bus


def need_rule(tx: Tx, call: Call, name: str, given_bus: str | None) -> Rule:
    rule, bus = find_rule(tx, call, name, given_bus)
    if rule is None:
        raise missing(f"Rule {name} does not exist on EventBus {bus}.")
    return rule


def read_tags(given: Sequence[Mapping[str, str]] | None, old: Mapping[str, str]) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags = dict(old)
    for item in given or ():
        if item["Key"].lower().startswith("aws:"):
            raise invalid("Tag keys must not begin with aws:.")
        tags[item["Key"]] = item["Value"]
    if len(tags) > _MAX_TAGS:
        raise too_many()
    return tags


def page(
    rows: Sequence[R],
    key: Callable[[R], str],
    params: Params,
    show: Callable[[R], dict[str, Any]],
    member: str,
) -> Result:
    """A page of rows in the order of their keys, and where the next begins."""
    after = paging.place(params.get("NextToken"), lambda: invalid("The NextToken is invalid."))
    shown, more = paging.page(rows, key, after, params.get("Limit") or _PAGE, show)
    return {member: shown} | ({"NextToken": more} if more else {})


def present(**members: Any) -> Result:
    """The members that have a value."""
    return {name: value for name, value in members.items() if value not in (None, "", {}, ())}
