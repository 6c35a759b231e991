"""Services of a namespace: the DNS records and the health check that their instances get.

Called by gateway/dispatch.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery import DiscoveryService, Namespace
from neargate.model.discovery_rules import bad, check_instance, check_service, is_domain, records_of
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import (
    done,
    filters,
    need_namespace,
    need_service,
    page,
    read_tags,
    text,
    without_none,
)
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE
from neargate.state.store import Tx

_EXACT = frozenset({"EQ"})


async def create_service(call: Call, params: Params) -> Result:
    given = _namespace_id(params)

    def body(tx: Tx) -> tuple[DiscoveryService, int]:
        namespace = need_namespace(tx, call.scope, given)
        made = _made(call, params, namespace)
        old = _of_that_name(tx, namespace, made.name)
        if old is None:
            return tx.insert(DISCOVERY_SERVICE, made), 0
        if params.get("CreatorRequestId") and old.creator_request_id == made.creator_request_id:
            return old, tx.count(INSTANCE, "service", old.id)
        raise ApiError(
            "ServiceAlreadyExists",
            f"Service with name {made.name} already exists: {old.id}",
            fields={
                "CreatorRequestId": old.creator_request_id,
                "ServiceId": old.id,
                "ServiceArn": old.arn,
            },
        )

    service, instances = await call.store.write(body)
    return {"Service": _detailed(service, instances)}


def _namespace_id(params: Params) -> str:
    """It may stand in either of two places."""
    outer, inner = params.get("NamespaceId"), (params.get("DnsConfig") or {}).get("NamespaceId")
    if outer and inner and outer != inner:
        raise bad("NamespaceId and DnsConfig.NamespaceId differ.")
    if not outer and not inner:
        raise bad("Service namespace id cannot be null")
    return str(outer or inner)


def _made(call: Call, params: Params, namespace: Namespace) -> DiscoveryService:
    dns = params.get("DnsConfig")
    records = records_of(dns["DnsRecords"]) if dns and (dns["DnsRecords"] or namespace.type != "HTTP") else ()
    if dns and params.get("Type") == "HTTP":
        raise bad("DnsConfig cannot be specified for a service of the type HTTP.")
    if namespace.type != "HTTP" and not is_domain(f"{params['Name']}.{namespace.name}"):
        raise bad(f"{params['Name']}.{namespace.name} is not a domain name.")
    id = f"srv-{call.ids.hex(16)}"
    arn = call.scope.arn("servicediscovery", f"service/{id}")
    service = DiscoveryService(
        account=call.scope.account,
        region=call.scope.region,
        id=id,
        arn=arn,
        name=params["Name"],
        namespace_id=namespace.id,
        type="DNS_HTTP" if records else "HTTP",
        description=text(params.get("Description"), "Description") or None,
        routing=(dns or {}).get("RoutingPolicy", "MULTIVALUE"),
        records=records,
        health_check=_health_check(params.get("HealthCheckConfig")),
        custom_health=params.get("HealthCheckCustomConfig") is not None,
        creator_request_id=text(params.get("CreatorRequestId"), "CreatorRequestId") or call.ids.uuid(),
        tags=read_tags(params.get("Tags"), arn),
        created_at=call.now(),
    )
    check_service(service, namespace.type)
    return service


def _health_check(given: dict[str, Any] | None) -> dict[str, Any]:
    if not given:
        return {}
    path = text(given.get("ResourcePath"), "ResourcePath")
    return {"FailureThreshold": 1, **given, **({"ResourcePath": path} if path else {})}


def _of_that_name(tx: Tx, namespace: Namespace, name: str) -> DiscoveryService | None:
    """Where DNS is asked, names that differ only by case are one."""
    for old in tx.find(DISCOVERY_SERVICE, "name", f"{namespace.id}/{name.lower()}"):
        if old.name == name or namespace.type != "HTTP":
            return old
    return None


def _shown(service: DiscoveryService, instances: int) -> dict[str, Any]:
    dns: dict[str, Any] = {}
    if service.records:
        dns["RoutingPolicy"] = service.routing
        dns["DnsRecords"] = [{"Type": kind, "TTL": ttl} for kind, ttl in service.records]
        dns["NamespaceId"] = service.namespace_id
    return without_none(
        {
            "Id": service.id,
            "Arn": service.arn,
            "ResourceOwner": service.account,
            "CreatedByAccount": service.account,
            "Name": service.name,
            "Type": service.type,
            "Description": service.description,
            "InstanceCount": instances,
            "DnsConfig": dns or None,
            "HealthCheckConfig": service.health_check or None,
            "HealthCheckCustomConfig": {"FailureThreshold": 1} if service.custom_health else None,
            "CreateDate": service.created_at,
        }
    )


def _detailed(service: DiscoveryService, instances: int) -> dict[str, Any]:
    more = {"NamespaceId": service.namespace_id, "CreatorRequestId": service.creator_request_id}
    return _shown(service, instances) | more


async def get_service(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[DiscoveryService, int]:
        service = need_service(tx, call.scope, params["Id"])
        return service, tx.count(INSTANCE, "service", service.id)

    return {"Service": _detailed(*await call.store.read(body))}


async def list_services(call: Call, params: Params) -> Result:
    wanted = filters(
        params.get("Filters"),
        {
            "NAMESPACE_ID": (lambda r: r.namespace_id, _EXACT),
            "RESOURCE_OWNER": (lambda _: "SELF", _EXACT),
        },
    )

    def body(tx: Tx) -> tuple[list[DiscoveryService], dict[str, int]]:
        found = [service for service in tx.all(DISCOVERY_SERVICE, call.scope) if wanted(service)]
        return found, {service.id: tx.count(INSTANCE, "service", service.id) for service in found}

    found, instances = await call.store.read(body)
    token, limit = params.get("NextToken"), params.get("MaxResults")
    return page(found, lambda s: s.id, token, limit, lambda s: _shown(s, instances[s.id]), "Services")


async def update_service(call: Call, params: Params) -> Result:
    change = params["Service"]

    def body(tx: Tx) -> str:
        service = need_service(tx, call.scope, params["Id"])
        namespace = need_namespace(tx, call.scope, service.namespace_id)
        if namespace.type == "HTTP":
            raise bad("A service of an HTTP namespace cannot be updated.")
        tx.put(DISCOVERY_SERVICE, _changed(tx, service, namespace, change))
        return done(call, tx, "UPDATE_SERVICE", {"SERVICE": service.id}).id

    return {"OperationId": await call.store.write(body)}


def _changed(
    tx: Tx, service: DiscoveryService, namespace: Namespace, change: dict[str, Any]
) -> DiscoveryService:
    """TTLs and the Route 53 health check; what the request leaves out is taken away."""
    dns = change.get("DnsConfig")
    records = records_of(dns["DnsRecords"]) if dns else ()
    known = {kind for kind, _ in service.records}
    if not {kind for kind, _ in records} <= known:
        raise bad("The types of a service's DNS records cannot be changed.")
    if records != service.records and not records and service.type == "DNS_HTTP":
        raise bad("The DNS records of a service cannot be taken away: delete the service.")
    changed = replace(
        service,
        description=text(change.get("Description"), "Description") or None,
        records=records,
        health_check=_health_check(change.get("HealthCheckConfig")),
    )
    check_service(changed, namespace.type)
    for instance in tx.find(INSTANCE, "service", service.id):
        check_instance(changed, instance.id, instance.attributes)
    return changed


async def delete_service(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        service = need_service(tx, call.scope, params["Id"])
        if tx.count(INSTANCE, "service", service.id):
            message = (
                "Service contains registered instances; delete the instances before deleting the service"
            )
            raise ApiError("ResourceInUse", message)
        tx.delete(DISCOVERY_SERVICE, service.id)

    await call.store.write(body)
    return {}
