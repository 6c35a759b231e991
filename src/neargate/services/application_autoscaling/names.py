"""What requests hold: which target is meant, texts, tags, pages. Raises AWS's errors.

Used by the other modules of services/application_autoscaling only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.scaling import DIMENSION, NAMESPACE, ScalableTarget, target_id
from neargate.model.scaling_policy import invalid
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state.catalog_scaling import SCALABLE_TARGET
from neargate.state.store import Kind, Tx

T = TypeVar("T")
_RESOURCE = re.compile(r"service/[A-Za-z0-9_-]{1,255}/[A-Za-z0-9_-]{1,255}")
_MOST_RESULTS: Final = 50
MOST_CAPACITY: Final = 2**31 - 1


def not_found(message: str) -> ApiError:
    return ApiError("ObjectNotFoundException", message)


def resource_of(params: Params) -> str:
    """The resource id of the ECS service that a request is about."""
    namespace, resource = params["ServiceNamespace"], params["ResourceId"]
    if not params["ScalableDimension"].startswith(f"{namespace}:"):
        raise invalid("Unsupported service namespace, resource type or scalable dimension")
    if namespace != NAMESPACE:
        raise invalid(
            f"Unsupported service namespace, resource type or scalable dimension: {namespace} is not scaled"
            f" here, only {NAMESPACE} with the dimension {DIMENSION} is"
        )
    if not _RESOURCE.fullmatch(resource):
        raise invalid(
            f"Unsupported service namespace, resource type or scalable dimension: the resource id of an ECS"
            f" service is service/<cluster name>/<service name>, not {resource[:300]}"
        )
    return str(resource)


def need_target(tx: Tx, scope: Scope, params: Params) -> ScalableTarget:
    target = tx.get(SCALABLE_TARGET, target_id(scope.account, scope.region, params["ResourceId"]))
    if target is None:
        raise not_found(f"No scalable target registered for {_place(params)}")
    return target


def missing(what: str, params: Params, label: str, name: str) -> ApiError:
    """`No scaling policy found for …`."""
    return not_found(f"No {what} found for {_place(params)}, {label}: {name}")


def _place(params: Params) -> str:
    return (
        f"service namespace: {params['ServiceNamespace']}, resource ID: {params['ResourceId']},"
        f" scalable dimension: {params['ScalableDimension']}"
    )


def place(record: Any) -> dict[str, str]:
    """The three members by which every answer says what it is about."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": record.resource_id,
        "ScalableDimension": DIMENSION,
    }


def capacity(params: Mapping[str, Any], name: str) -> int | None:
    value = params.get(name)
    if value is not None and not 0 <= value <= MOST_CAPACITY:
        raise invalid(f"{name} must be between 0 and {MOST_CAPACITY}")
    return None if value is None else int(value)


def check_bounds(minimum: int | None, maximum: int | None) -> None:
    if minimum is not None and maximum is not None and minimum > maximum:
        raise invalid("Maximum capacity cannot be less than minimum capacity")


def found(tx: Tx, kind: Kind[Any], call: Call, params: Params) -> list[Any]:
    """Records of a kind that a Describe operation is about: of one target, or of all of the caller's."""
    if params["ServiceNamespace"] != NAMESPACE or params.get("ScalableDimension", DIMENSION) != DIMENSION:
        return []
    resource = params.get("ResourceId")
    if resource is None:
        return list(tx.all(kind, call.scope))
    return list(tx.find(kind, "target", target_id(call.scope.account, call.scope.region, resource)))


def check_scope(params: Params) -> None:
    """A Describe operation takes a dimension only together with its resource."""
    dimension = params.get("ScalableDimension")
    if dimension and not dimension.startswith(f"{params['ServiceNamespace']}:"):
        raise invalid("Unsupported service namespace, resource type or scalable dimension")
    if dimension and params.get("ResourceId") is None and params.get("ResourceIds") is None:
        raise invalid("ResourceId must be specified together with ScalableDimension")


def page(
    params: Params, name: str, records: Sequence[T], id: Callable[[T], str], show: Callable[[T], Any]
) -> dict[str, Any]:
    """A page of records in the order of their ids, and a token if there are more."""
    limit = params.get("MaxResults")
    if limit is not None and not 1 <= limit <= _MOST_RESULTS:
        raise invalid(f"MaxResults must be between 1 and {_MOST_RESULTS}")
    refused = ApiError("InvalidNextTokenException", "The next token is not valid.")
    after = paging.place(params.get("NextToken"), lambda: refused)
    shown, more = paging.page(records, id, after, limit or _MOST_RESULTS, show)
    return {name: shown} | ({"NextToken": more} if more else {})
