"""Services: none yet, so lists are empty and each one described is missing. Their room.

Called by gateway/dispatch.
"""

from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages

_MAX_DESCRIBED = 10


async def list_services(call: Call, params: Params) -> Result:
    pages.read(call, params, "ListServices")
    arn = names.cluster_arn(params.get("cluster"), call.scope)
    await call.store.read(lambda tx: names.need_cluster(tx, arn))
    return {"serviceArns": []}


async def describe_services(call: Call, params: Params) -> Result:
    asked = params["services"]
    if not asked:
        raise names.invalid("Services cannot be empty.")
    if len(asked) > _MAX_DESCRIBED:
        raise names.invalid(f"Services can have at most {_MAX_DESCRIBED} items.")
    names.storable(params)
    cluster = names.cluster_name(params.get("cluster"), call.scope)
    arn = names.cluster_arn(cluster, call.scope)
    await call.store.read(lambda tx: names.need_cluster(tx, arn))
    arns = [
        name if name.startswith("arn:") else call.scope.arn("ecs", f"service/{cluster}/{name}")
        for name in dict.fromkeys(asked)
    ]
    return {"services": [], "failures": [names.missing(arn) for arn in arns]}
