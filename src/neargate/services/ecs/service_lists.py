"""Services described and listed.

Called by gateway/dispatch. They are polled by every client that waits for a deployment, so they read little:
records by their id, tasks only as counts.
"""

from neargate.kit.errors import ApiError
from neargate.model.service import Service
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages, service_discovery, service_names, service_render
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_MAX_DESCRIBED = 10
_USUAL = 10


async def describe_services(call: Call, params: Params) -> Result:
    asked = params["services"]
    if not asked:
        raise names.invalid("Services cannot be empty.")
    if len(asked) > _MAX_DESCRIBED:
        raise names.invalid(f"Services can have at most {_MAX_DESCRIBED} items.")
    names.storable(params)
    cluster = names.cluster_name(params.get("cluster"), call.scope)
    arns = list(dict.fromkeys(_arn(call, cluster, text) for text in asked))
    tags = "TAGS" in (params.get("include") or ())

    def body(tx: Tx) -> Result:
        found = [tx.get(SERVICE, arn) for arn in arns]
        if None in found:  # a service that is there vouches for its cluster
            names.need_cluster(tx, call.scope.arn("ecs", f"cluster/{cluster}"))
        return {
            "services": [service_render.service(tx, s, tags=tags) for s in found if s is not None],
            "failures": [names.missing(arn) for arn, s in zip(arns, found, strict=True) if s is None],
        }

    return await call.store.read(body)


def _arn(call: Call, cluster: str, text: str) -> str:
    """What cannot be the name of a service of this cluster is missing, not an error."""
    try:
        return service_names.service_arn(text, cluster, call.scope)
    except ApiError:
        return text if text.startswith("arn:") else call.scope.arn("ecs", f"service/{cluster}/{text}")


async def list_services(call: Call, params: Params) -> Result:
    page = pages.read(call, params, "ListServices", usual=_USUAL)
    arn = names.cluster_arn(params.get("cluster"), call.scope)
    none = (
        params.get("launchType") not in (None, "FARGATE")
        or params.get("schedulingStrategy") == "DAEMON"
        or params.get("resourceManagementType") == "ECS"
    )

    def body(tx: Tx) -> list[str]:
        names.need_cluster(tx, arn)
        return [] if none else tx.ids(SERVICE, "active", arn, after=page.after, limit=page.limit + 1)

    return page.listed("serviceArns", await call.store.read(body))


async def list_services_by_namespace(call: Call, params: Params) -> Result:
    """Of every cluster, those that use Service Connect in the namespace."""
    names.storable({"namespace": params["namespace"]})
    page = pages.read(call, params, "ListServicesByNamespace", usual=_USUAL)

    def body(tx: Tx) -> list[str]:
        arn = service_discovery.namespace(tx, call.scope, params["namespace"]).arn
        services = tx.all(SERVICE, call.scope, after=page.after)
        return [s.arn for s in services if s.status == "ACTIVE" and _connects(s, arn)]

    return page.listed("serviceArns", await call.store.scan(body))


def _connects(service: Service, namespace: str) -> bool:
    connect = service.body.get("serviceConnectConfiguration", {})
    return bool(connect.get("enabled")) and connect["namespace"] == namespace
