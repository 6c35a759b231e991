"""Tags of clusters, services, task sets, tasks and task definitions, by ARN.

Called by gateway/dispatch.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.service import Service, TaskSet
from neargate.model.task import Cluster, Task, TaskDefinition
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, render
from neargate.state.catalog import CLUSTER, TASK, TASK_DEFINITION
from neargate.state.catalog_services import SERVICE, TASK_SET
from neargate.state.store import Kind, Tx

_KINDS: dict[str, Kind[Any]] = {
    "cluster": CLUSTER,
    "service": SERVICE,
    "task": TASK,
    "task-definition": TASK_DEFINITION,
    "task-set": TASK_SET,
}
Tagged = Cluster | Service | Task | TaskDefinition | TaskSet


def _find(tx: Tx, call: Call, arn: str) -> tuple[Kind[Any], Tagged]:
    parts = arn.split(":", 5)
    kind = _KINDS.get(parts[5].partition("/")[0]) if len(parts) == 6 and parts[2] == "ecs" else None
    if kind is None:
        raise names.invalid(
            f"Invalid resource ARN: {arn[:300]} is no cluster, service, task set, task or task definition."
        )
    names.storable({"arn": arn})
    record = tx.get(kind, arn) if (parts[3], parts[4]) == (call.scope.region, call.scope.account) else None
    if record is None and kind is CLUSTER:
        raise names.cluster_not_found()
    if record is None:
        raise names.invalid(f"The specified {kind.name} is not found. Specify the ARN of one that exists.")
    if isinstance(record, Cluster) and record.status != "ACTIVE":
        raise ApiError("ClusterNotFoundException", "The referenced cluster was inactive.")
    if isinstance(record, Service) and record.status == "INACTIVE":
        raise names.invalid("The specified service is inactive. Specify an active service and try again.")
    return kind, record


async def tag_resource(call: Call, params: Params) -> Result:
    tags = names.read_tags(params["tags"])
    return await _change(call, params["resourceArn"], lambda old: {**old, **tags})


async def untag_resource(call: Call, params: Params) -> Result:
    keys = set(params["tagKeys"])
    if any(key.lower().startswith("aws:") for key in keys):
        raise names.invalid("aws: prefixed tag key names are not allowed for external use.")
    change: Callable[[dict[str, str]], dict[str, str]] = lambda old: {  # noqa: E731
        k: v for k, v in old.items() if k not in keys
    }
    return await _change(call, params["resourceArn"], change)


async def _change(call: Call, arn: str, change: Callable[[dict[str, str]], dict[str, str]]) -> Result:
    def body(tx: Tx) -> None:
        kind, record = _find(tx, call, arn)
        tags = change(record.tags)
        names.check_tag_count(tags)
        tx.put(kind, replace(record, tags=tags))

    await call.store.write(body)
    return {}


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    _, record = await call.store.read(lambda tx: _find(tx, call, params["resourceArn"]))
    return {"tags": render.tag_list(record.tags)}
