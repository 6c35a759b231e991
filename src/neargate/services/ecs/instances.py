"""Container instances and their attributes: an account on Fargate has none.

Called by gateway/dispatch.
"""

from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages


async def _check_cluster(call: Call, params: Params) -> None:
    arn = names.cluster_arn(params.get("cluster"), call.scope)
    await call.store.read(lambda tx: names.need_cluster(tx, arn))


async def list_container_instances(call: Call, params: Params) -> Result:
    pages.read(call, params, "ListContainerInstances")
    await _check_cluster(call, params)
    return {"containerInstanceArns": []}


async def describe_container_instances(call: Call, params: Params) -> Result:
    asked = params["containerInstances"]
    if not asked:
        raise names.invalid("Container instances cannot be empty.")
    if len(asked) > 100:
        raise names.invalid("Container instances can have at most 100 items.")
    names.storable(params)
    cluster = names.cluster_name(params.get("cluster"), call.scope)
    await _check_cluster(call, params)
    arns = [
        id if id.startswith("arn:") else call.scope.arn("ecs", f"container-instance/{cluster}/{id}")
        for id in dict.fromkeys(asked)
    ]
    return {"containerInstances": [], "failures": [names.missing(arn) for arn in arns]}


async def list_attributes(call: Call, params: Params) -> Result:
    """Attributes are of container instances."""
    pages.read(call, params, "ListAttributes")
    await _check_cluster(call, params)
    return {"attributes": []}
