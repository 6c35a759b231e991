"""Namespaces: HTTP, private and public DNS. Called by gateway/dispatch.

A public one has no domain registered and no servers on the internet: it is answered here only.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery import DEFAULT_SOA_TTL, Namespace, NamespaceType
from neargate.model.discovery_rules import bad, is_domain
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import (
    done,
    filters,
    need_namespace,
    page,
    read_tags,
    text,
    without_none,
)
from neargate.state.catalog import VPC
from neargate.state.catalog_discovery import CONNECT_ENDPOINT, DISCOVERY_SERVICE, NAMESPACE, in_scope
from neargate.state.store import Kind, Tx

_SERVICES: tuple[Kind[Any], ...] = (DISCOVERY_SERVICE, CONNECT_ENDPOINT)
_EXACT = frozenset({"EQ"})
_TEXT = frozenset({"EQ", "BEGINS_WITH"})
_FILTERS = {
    "TYPE": (lambda r: r.type, _TEXT),
    "NAME": (lambda r: r.name, _TEXT),
    "HTTP_NAME": (lambda r: r.http_name, _TEXT),
    "RESOURCE_OWNER": (lambda _: "SELF", _EXACT),
}


async def create_http_namespace(call: Call, params: Params) -> Result:
    return await _create(call, params, "HTTP")


async def create_private_dns_namespace(call: Call, params: Params) -> Result:
    return await _create(call, params, "DNS_PRIVATE")


async def create_public_dns_namespace(call: Call, params: Params) -> Result:
    return await _create(call, params, "DNS_PUBLIC")


async def _create(call: Call, params: Params, type: NamespaceType) -> Result:
    name, vpc = params["Name"], text(params.get("Vpc"), "Vpc")
    if type != "HTTP" and not is_domain(name):
        raise bad(f"Name {name} is not a domain name.")
    creator = text(params.get("CreatorRequestId"), "CreatorRequestId") or call.ids.uuid()
    id = f"ns-{call.ids.hex(16)}"
    arn = call.scope.arn("servicediscovery", f"namespace/{id}")
    record = Namespace(
        account=call.scope.account,
        region=call.scope.region,
        id=id,
        arn=arn,
        name=name,
        type=type,
        http_name=name,
        description=text(params.get("Description"), "Description") or None,
        vpc=vpc,
        hosted_zone_id="" if type == "HTTP" else f"Z{call.ids.hex(20).upper()}",
        soa_ttl=_soa_ttl(params) or DEFAULT_SOA_TTL,
        creator_request_id=creator,
        tags=read_tags(params.get("Tags"), arn),
        created_at=call.now(),
    )
    return {"OperationId": await call.store.write(lambda tx: _insert(call, tx, record))}


def _soa_ttl(params: Params) -> int | None:
    properties = params.get("Properties") or {}
    ttl: int | None = properties.get("DnsProperties", {}).get("SOA", {}).get("TTL")
    return ttl


def _insert(call: Call, tx: Tx, record: Namespace) -> str:
    """Make it, unless the request was here before; the operation's id."""
    for old in tx.find(NAMESPACE, "name", in_scope(call.scope, record.name)):
        if (old.type, old.vpc) != (record.type, record.vpc):
            continue
        if old.creator_request_id == record.creator_request_id:
            return old.operation
        fields = {"CreatorRequestId": old.creator_request_id, "NamespaceId": old.id}
        message = f"Namespace with name {record.name} already exists: {old.id}"
        raise ApiError("NamespaceAlreadyExists", message, fields=fields)
    if record.type == "DNS_PRIVATE":
        vpc = tx.get(VPC, record.vpc)
        if vpc is None or (vpc.account, vpc.region) != (record.account, record.region):
            message = f"The VPC {record.vpc} in region {record.region} that you provided is not valid."
            failure = ("CANNOT_CREATE_HOSTED_ZONE", message)
            return done(call, tx, "CREATE_NAMESPACE", {"NAMESPACE": record.id}, failure=failure).id
    if tx.count(NAMESPACE, "http-name", in_scope(call.scope, record.http_name)):
        record = replace(record, http_name=f"{record.name}-{record.id.removeprefix('ns-')}")
    operation = done(call, tx, "CREATE_NAMESPACE", {"NAMESPACE": record.id}).id
    tx.insert(NAMESPACE, replace(record, operation=operation))
    return operation


async def get_namespace(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[Namespace, int]:
        namespace = need_namespace(tx, call.scope, params["Id"])
        return namespace, tx.count(DISCOVERY_SERVICE, "namespace", namespace.id)

    namespace, services = await call.store.read(body)
    creator = {"CreatorRequestId": namespace.creator_request_id}
    return {"Namespace": _shown(namespace, services) | creator}


def _shown(namespace: Namespace, services: int) -> dict[str, Any]:
    properties: dict[str, Any] = {"HttpProperties": {"HttpName": namespace.http_name}}
    if namespace.type == "HTTP":
        properties["DnsProperties"] = {"SOA": {}}
    else:
        zone = {"HostedZoneId": namespace.hosted_zone_id, "SOA": {"TTL": namespace.soa_ttl}}
        properties["DnsProperties"] = zone
    return without_none(
        {
            "Id": namespace.id,
            "Arn": namespace.arn,
            "ResourceOwner": namespace.account,
            "Name": namespace.name,
            "Type": namespace.type,
            "Description": namespace.description,
            "ServiceCount": services,
            "Properties": properties,
            "CreateDate": namespace.created_at,
        }
    )


async def list_namespaces(call: Call, params: Params) -> Result:
    wanted = filters(params.get("Filters"), _FILTERS)

    def body(tx: Tx) -> tuple[list[Namespace], dict[str, int]]:
        found = [namespace for namespace in tx.all(NAMESPACE, call.scope) if wanted(namespace)]
        return found, {n.id: tx.count(DISCOVERY_SERVICE, "namespace", n.id) for n in found}

    found, services = await call.store.read(body)
    token, limit = params.get("NextToken"), params.get("MaxResults")
    return page(found, lambda n: n.id, token, limit, lambda n: _shown(n, services[n.id]), "Namespaces")


async def update_http_namespace(call: Call, params: Params) -> Result:
    return await _update(call, params, "HTTP")


async def update_private_dns_namespace(call: Call, params: Params) -> Result:
    return await _update(call, params, "DNS_PRIVATE")


async def update_public_dns_namespace(call: Call, params: Params) -> Result:
    return await _update(call, params, "DNS_PUBLIC")


async def _update(call: Call, params: Params, type: NamespaceType) -> Result:
    change = params["Namespace"]
    description, ttl = text(change.get("Description"), "Description"), _soa_ttl(change)

    def body(tx: Tx) -> str:
        namespace = need_namespace(tx, call.scope, params["Id"])
        if namespace.type != type:
            raise bad(f"Namespace {namespace.id} is of the type {namespace.type}.")
        if "Description" in change:
            namespace = replace(namespace, description=description or None)
        if ttl is not None:
            namespace = replace(namespace, soa_ttl=ttl)
        tx.put(NAMESPACE, namespace)
        return done(call, tx, "UPDATE_NAMESPACE", {"NAMESPACE": namespace.id}).id

    return {"OperationId": await call.store.write(body)}


async def delete_namespace(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> str:
        namespace = need_namespace(tx, call.scope, params["Id"])
        # On AWS what ECS services offer by Service Connect are services of the namespace.
        if any(tx.count(kind, "namespace", namespace.id) for kind in _SERVICES):
            message = "Namespace has associated services; delete the services before deleting the namespace"
            raise ApiError("ResourceInUse", message)
        tx.delete(NAMESPACE, namespace.id)
        return done(call, tx, "DELETE_NAMESPACE", {"NAMESPACE": namespace.id}).id

    return {"OperationId": await call.store.write(body)}
