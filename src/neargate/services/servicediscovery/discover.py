"""DiscoverInstances: what applications themselves call to find each other. Called by gateway/dispatch.

Clients put `data-` before the endpoint's host for these two; services/cell/names lets tasks (and, with
host_names, this machine) find the door by that name.
"""

import random
from collections.abc import Mapping

from neargate.kit.errors import ApiError
from neargate.model.discovery import HEALTHY, DiscoveryService, Instance, Namespace
from neargate.model.discovery_rules import chosen, health_of
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE, NAMESPACE, in_scope
from neargate.state.store import Tx

_MOST = 100
_random = random.SystemRandom()


def _need(tx: Tx, call: Call, params: Params) -> tuple[Namespace, DiscoveryService]:
    owner = params.get("OwnerAccount", call.scope.account)
    name, service_name = params["NamespaceName"], params["ServiceName"]
    namespaces = tx.find(NAMESPACE, "http-name", in_scope(call.scope, name))
    if not namespaces or owner != call.scope.account:
        raise ApiError("NamespaceNotFound", f"Namespace not found: {name}")
    namespace = namespaces[0]
    for service in tx.find(DISCOVERY_SERVICE, "name", f"{namespace.id}/{service_name.lower()}"):
        if service.name == service_name:
            return namespace, service
    raise ApiError("ServiceNotFound", f"Service not found: {service_name}")


async def discover_instances(call: Call, params: Params) -> Result:
    query, optional = params.get("QueryParameters") or {}, params.get("OptionalParameters") or {}
    wanted = params.get("HealthStatus", HEALTHY)

    def body(tx: Tx) -> tuple[Namespace, DiscoveryService, list[Instance]]:
        namespace, service = _need(tx, call, params)
        return namespace, service, tx.find(INSTANCE, "service", service.id)

    namespace, service, all_of_it = await call.store.read(body)
    found = [instance for instance in all_of_it if _has(instance, query)]
    found = [instance for instance in found if _has(instance, optional)] or found
    found = chosen(service, found, wanted)
    _random.shuffle(found)
    return {
        "Instances": [
            {
                "InstanceId": instance.id,
                "NamespaceName": namespace.http_name,
                "ServiceName": service.name,
                "HealthStatus": health_of(service, instance),
                "Attributes": instance.attributes,
            }
            for instance in found[: params.get("MaxResults", _MOST)]
        ],
        "InstancesRevision": service.revision,
    }


def _has(instance: Instance, wanted: Mapping[str, str]) -> bool:
    return all(instance.attributes.get(name) == value for name, value in wanted.items())


async def discover_instances_revision(call: Call, params: Params) -> Result:
    _, service = await call.store.read(lambda tx: _need(tx, call, params))
    return {"InstancesRevision": service.revision}
