"""Services and what belongs to them by name or ARN: their deployments, revisions, task sets.

Called by the modules of services in this room. Raises AWS's errors.
"""

import re

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.service import Service, TaskSet
from neargate.model.service_rules import check_name
from neargate.services.call import Call, Params
from neargate.services.ecs import names
from neargate.state.catalog_services import SERVICE, TASK_SET
from neargate.state.store import Tx

_TASK_SET_ID = re.compile(r"ecs-svc/[0-9]{1,20}")


def not_found() -> ApiError:
    return ApiError("ServiceNotFoundException", "Service not found.")


def service_arn(text: str, cluster: str, scope: Scope) -> str:
    """ARN of a service by its name or ARN, old short ones as well. `cluster` is the named cluster's name."""
    if text.startswith("arn:"):
        text = names.resource(text, scope, "service", not_found())
    else:
        text = text.removeprefix("service/")
    where, _, name = text.rpartition("/")
    if where and where != cluster:
        raise names.invalid(f"Identifier is for {where[:300]}. Your cluster is {cluster}")
    return scope.arn("ecs", f"service/{cluster}/{check_name(name)}")


def asked_service(call: Call, params: Params, member: str = "service") -> str:
    """ARN of the service that a request names, with its cluster."""
    return service_arn(params[member], names.cluster_name(params.get("cluster"), call.scope), call.scope)


def cluster_of(arn: str) -> str:
    """ARN of the cluster of a service, a task set and so on."""
    return arn.rpartition(":")[0] + ":cluster/" + arn.split("/")[1]


def known(tx: Tx, arn: str) -> Service:
    """A service whatever its status. Raises ServiceNotFoundException."""
    service = tx.get(SERVICE, arn)
    if service is None:
        names.need_cluster(tx, cluster_of(arn))
        raise not_found()
    return service


def need_service(tx: Tx, arn: str) -> Service:
    """A service that is not INACTIVE. Raises ServiceNotFoundException."""
    service = known(tx, arn)
    if service.status == "INACTIVE":
        raise not_found()
    return service


def need_active(tx: Tx, arn: str) -> Service:
    """An ACTIVE service. Raises ServiceNotActiveException for one that was deleted."""
    service = known(tx, arn)
    if service.status != "ACTIVE":
        raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
    return service


def task_set_arn(text: str, service: str, scope: Scope) -> str:
    """ARN of a task set of a service (its ARN), by id or ARN."""
    place = service.split("/", 1)[1]
    if text.startswith("arn:"):
        rest = names.resource(text, scope, "task-set", _no_task_set())
        if not rest.startswith(f"{place}/"):
            raise _no_task_set()
        text = rest[len(place) + 1 :]
    if not _TASK_SET_ID.fullmatch(text):
        raise _no_task_set()
    return scope.arn("ecs", f"task-set/{place}/{text}")


def _no_task_set() -> ApiError:
    return ApiError("TaskSetNotFoundException", "The specified task set was not found.")


def need_task_set(tx: Tx, arn: str) -> TaskSet:
    found = tx.get(TASK_SET, arn)
    if found is None:
        raise _no_task_set()
    return found
