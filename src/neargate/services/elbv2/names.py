"""What requests hold: names, ARNs, tags, markers; and the records they name. For services/elbv2 only."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.balancer import Listener, ListenerRule, LoadBalancer, TargetGroup
from neargate.model.record import Record, Scope
from neargate.services import paging
from neargate.services.call import Params, Result
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, LOAD_BALANCER, TARGET_GROUP
from neargate.state.store import Kind, Tx

R = TypeVar("R", bound=Record)
T = TypeVar("T")
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,32}(?<!-)", re.ASCII)
_MAX_TAGS: Final = 50
_MAX_NAME: Final = 32
PAGE: Final = 400
_LABELS: Final = {
    "loadbalancer": "load balancer",
    "listener": "listener",
    "listener-rule": "listener rule",
    "targetgroup": "target group",
}
_RESOURCES: Final = {
    "loadbalancer": re.compile(r"loadbalancer/(?:app|net)/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}"),
    "listener": re.compile(r"listener/(?:app|net)/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}/[0-9a-f]{16}"),
    "listener-rule": re.compile(
        r"listener-rule/(?:app|net)/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}/[0-9a-f]{16}/[0-9a-f]{16}"
    ),
    "targetgroup": re.compile(r"targetgroup/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}"),
}


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def not_configurable(message: str) -> ApiError:
    return ApiError("InvalidConfigurationRequest", message)


def unbuilt(what: str) -> ApiError:
    """Something that AWS has and neargate has not."""
    return not_configurable(f"{what} not built into neargate.")


def name_of(params: Params, what: str) -> str:
    """The name of a thing to be made. what -- `load balancer` or `target group`."""
    name: str = params["Name"]
    label = f"The {what} name" if what == "load balancer" else f"{what.capitalize()} name"
    if not name:
        raise invalid(f"{label} cannot be empty")
    if len(name) > _MAX_NAME:
        raise invalid(f"{label} '{name}' cannot be longer than '{_MAX_NAME}' characters")
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise invalid(
            f"{label} '{name}' can only contain characters that are alphanumeric characters or hyphens(-)"
        )
    if not _NAME.fullmatch(name):
        raise invalid(f"{label} '{name}' cannot begin or end with a hyphen(-)")
    return name


def check_arn(scope: Scope, kind: str, arn: str) -> str:
    """Raise ValidationError unless it is an ARN of that kind, of the caller's account and region."""
    prefix = scope.arn("elasticloadbalancing", "")
    if not arn.startswith(prefix) or not _RESOURCES[kind].fullmatch(arn.removeprefix(prefix)):
        raise invalid(f"'{arn}' is not a valid {_LABELS[kind]} ARN")
    return arn


def kind_of(arn: str) -> str | None:
    """Which kind of thing an ARN names."""
    resource = arn.split(":", 5)[-1]
    return next((kind for kind, pattern in _RESOURCES.items() if pattern.fullmatch(resource)), None)


def _need(tx: Tx, scope: Scope, kind: str, store: Kind[R], arn: str, code: str, message: str) -> R:
    found = tx.get(store, check_arn(scope, kind, arn))
    if found is None:
        raise ApiError(code, message)
    return found


def need_balancer(tx: Tx, scope: Scope, arn: str) -> LoadBalancer:
    message = f"Load balancer '{arn}' not found"
    return _need(tx, scope, "loadbalancer", LOAD_BALANCER, arn, "LoadBalancerNotFound", message)


def need_listener(tx: Tx, scope: Scope, arn: str) -> Listener:
    return _need(tx, scope, "listener", LISTENER, arn, "ListenerNotFound", "One or more listeners not found")


def need_rule(tx: Tx, scope: Scope, arn: str) -> ListenerRule:
    return _need(
        tx, scope, "listener-rule", LISTENER_RULE, arn, "RuleNotFound", "One or more rules not found"
    )


def need_group(tx: Tx, scope: Scope, arn: str) -> TargetGroup:
    message = f"Target group '{arn}' not found"
    return _need(tx, scope, "targetgroup", TARGET_GROUP, arn, "TargetGroupNotFound", message)


def scope_of(record: Record) -> Scope:
    return Scope(record.account, record.region)


def name_index(scope: Scope, name: str) -> str:
    """Index value of a balancer's or a target group's name."""
    return f"{scope.account}/{scope.region}/{name}"


def read_tags(
    given: Iterable[Mapping[str, str]] | None, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags: dict[str, str] = {}
    for item in given or ():
        key, value = item["Key"], item.get("Value") or ""
        if not key or key.lower().startswith("aws:"):
            raise invalid(f"The tag key '{key}' is not valid")
        if key in tags:
            raise ApiError("DuplicateTagKeys", f"Tag key was specified more than once: {key}")
        tags[key] = value
    merged = {**(old or {}), **tags}
    if len(merged) > _MAX_TAGS:
        raise ApiError("TooManyTags", f"A resource can have {_MAX_TAGS} tags at most")
    return merged


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def page(
    params: Params,
    member: str,
    rows: Sequence[T],
    key: Callable[[T], str],
    show: Callable[[T], dict[str, Any]],
) -> Result:
    """A page of a list, by Marker and PageSize, in the order of `key`."""
    marker, size = params.get("Marker"), params.get("PageSize") or PAGE
    after = paging.place(marker, lambda: invalid(f"Marker '{params['Marker']}' is not valid"))
    shown, more = paging.page(rows, key, after, size, show)
    return {member: shown} | ({"NextMarker": more} if more else {})
