"""Capacity providers: FARGATE and FARGATE_SPOT always exist; a cluster names those that it uses.

Called by gateway/dispatch. The arithmetic of strategies is in model/capacity, used by run.py.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.capacity import PROVIDERS, check_providers, check_strategy
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import clusters, names
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.store import Tx


async def put_cluster_capacity_providers(call: Call, params: Params) -> Result:
    arn = names.cluster_arn(params["cluster"], call.scope)
    providers = check_providers(params["capacityProviders"])
    strategy = check_strategy(params["defaultCapacityProviderStrategy"], providers)

    def body(tx: Tx) -> Result:
        cluster = names.need_cluster(tx, arn)
        removed = set(cluster.capacity_providers) - set(providers)
        if removed:
            _check_unused(tx, arn, removed)
        cluster = replace(cluster, capacity_providers=providers, default_strategy=strategy)
        return {"cluster": clusters.shown(tx, tx.put(CLUSTER, cluster))}

    return await call.store.write(body)


def _check_unused(tx: Tx, arn: str, removed: set[str]) -> None:
    for task in tx.find(TASK, "desired", f"{arn}/RUNNING"):
        if task.capacity_provider in removed:
            raise ApiError(
                "ResourceInUseException",
                f"The specified capacity provider {task.capacity_provider} is in use and cannot be removed.",
            )


async def describe_capacity_providers(call: Call, params: Params) -> Result:
    asked = [_name(text) for text in params.get("capacityProviders") or ()]
    after, limit = _page(params)
    arn = names.cluster_arn(params["cluster"], call.scope) if params.get("cluster") else ""
    if arn:
        cluster = await call.store.read(lambda tx: names.need_cluster(tx, arn))
        known = cluster.capacity_providers
    else:
        known = PROVIDERS
    wanted = dict.fromkeys(asked or known)
    found = [name for name in wanted if name in known]
    rest = [name for name in found if not after or found.index(name) > _position(found, after)]
    result: Result = {
        "capacityProviders": [_shown(call, name) for name in rest[:limit]],
        "failures": [names.missing(_arn(call, name)) for name in wanted if name not in known],
    }
    if len(rest) > limit:
        result["nextToken"] = names.token(rest[limit - 1])
    return result


def _page(params: Params) -> tuple[str, int]:
    limit = params.get("maxResults")
    if limit is not None and not 1 <= limit <= 10:
        raise names.invalid("Invalid maxResults: it must be between 1 and 10.")
    return names.untoken(params.get("nextToken") or ""), limit or 10


def _position(found: list[str], after: str) -> int:
    if after not in found:
        raise names.invalid("Invalid token.")
    return found.index(after)


def _name(text: str) -> str:
    names.storable({"name": text})
    return text.rpartition("/")[2] if text.startswith("arn:") else text


def _arn(call: Call, name: str) -> str:
    return call.scope.arn("ecs", f"capacity-provider/{name}")


def _shown(call: Call, name: str) -> dict[str, Any]:
    return {
        "capacityProviderArn": _arn(call, name),
        "name": name,
        "status": "ACTIVE",
        "tags": [],
        "type": name,
    }
