"""Capacity providers: FARGATE and FARGATE_SPOT always exist; a cluster names those that it uses.

Called by gateway/dispatch. The arithmetic of strategies is in model/capacity, used by run.py.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.capacity import PROVIDERS, check_providers, check_strategy
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import clusters, names, pages
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_MAX_DESCRIBED = 10


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
            raise _in_use(task.capacity_provider)
    for service in tx.find(SERVICE, "cluster", arn):
        for item in service.body.get("capacityProviderStrategy", ()):
            if item["capacityProvider"] in removed:
                raise _in_use(item["capacityProvider"])


def _in_use(provider: str) -> ApiError:
    return ApiError(
        "ResourceInUseException",
        f"The specified capacity provider {provider} is in use and cannot be removed.",
    )


async def describe_capacity_providers(call: Call, params: Params) -> Result:
    asked = [_name(text) for text in params.get("capacityProviders") or ()]
    page = pages.read(call, params, "DescribeCapacityProviders", most=_MAX_DESCRIBED, usual=_MAX_DESCRIBED)
    arn = names.cluster_arn(params["cluster"], call.scope) if params.get("cluster") else ""
    if arn:
        cluster = await call.store.read(lambda tx: names.need_cluster(tx, arn))
        known = cluster.capacity_providers
    else:
        known = PROVIDERS
    wanted = dict.fromkeys(asked or known)
    found = [name for name in wanted if name in known]
    if page.after and page.after not in found:
        raise names.invalid("Invalid token.")
    rest = found[found.index(page.after) + 1 :] if page.after else found
    result = page.answer("capacityProviders", [_shown(call, name) for name in rest], lambda p: str(p["name"]))
    result["failures"] = [names.missing(_arn(call, name)) for name in wanted if name not in known]
    return result


async def delete_capacity_provider(call: Call, params: Params) -> Result:
    """AWS's own can be taken from a cluster, but not deleted; there are no others."""
    name = _name(params["capacityProvider"])
    if name in PROVIDERS:
        raise names.client_error(
            f"The capacity provider {name} is reserved by AWS and cannot be deleted. Use"
            " PutClusterCapacityProviders to take it from a cluster."
        )
    raise names.client_error(
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again."
    )


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
