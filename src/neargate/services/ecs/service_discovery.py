"""The service discovery that a service names: namespaces and registries of AWS Cloud Map exist.

Called by service_workload.py, service_lists.py and clusters.py. The records are those of
services/servicediscovery.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.discovery import Namespace, bare_id
from neargate.model.record import Scope
from neargate.services.call import Call
from neargate.services.ecs import names
from neargate.state.catalog_discovery import CONNECT_ENDPOINT, DISCOVERY_SERVICE, NAMESPACE, in_scope
from neargate.state.store import Tx

_NAME = re.compile(r"[!-~]{1,1024}")


def namespace(tx: Tx, scope: Scope, text: str) -> Namespace:
    """By name or ARN. Raises NamespaceNotFoundException."""
    found = tx.get(NAMESPACE, bare_id(text)) if text.startswith("arn:") else None
    if not text.startswith("arn:"):
        named = tx.find(NAMESPACE, "name", in_scope(scope, text), limit=1)
        found = named[0] if named else None
    if found is None or (found.account, found.region) != (scope.account, scope.region):
        raise ApiError("NamespaceNotFoundException", f"The specified namespace was not found: {text[:300]}")
    return found


def default_namespace(tx: Tx, call: Call, text: str) -> str:
    """ARN of a cluster's namespace. As on AWS, one that is named but not there is made, for HTTP."""
    scope = call.scope
    if text.startswith("arn:") or tx.count(NAMESPACE, "name", in_scope(scope, text)):
        return namespace(tx, scope, text).arn
    if not _NAME.fullmatch(text):
        raise names.invalid(
            f"Invalid namespace name '{text[:300]}': up to 1024 visible characters are allowed."
        )
    id = f"ns-{call.ids.hex(16)}"
    made = Namespace(
        account=scope.account,
        region=scope.region,
        id=id,
        arn=scope.arn("servicediscovery", f"namespace/{id}"),
        name=text,
        type="HTTP",
        http_name=text if not tx.count(NAMESPACE, "http-name", in_scope(scope, text)) else f"{text}-{id[3:]}",
        tags={"AmazonECSManaged": "true"},
        created_at=call.now(),
    )
    return tx.insert(NAMESPACE, made).arn


def check_offers(tx: Tx, space: Namespace, offers: Sequence[Mapping[str, Any]], service: str) -> None:
    """Raise InvalidParameterException unless what a service offers by Service Connect is free in the
    namespace."""
    taken = [e for e in tx.find(CONNECT_ENDPOINT, "namespace", space.id) if e.service_arn != service]
    names_taken = {e.discovery_name for e in taken}
    aliases_taken = {(e.dns_name, e.port) for e in taken}
    for offer in offers:
        name = offer["discoveryName"]
        if name in names_taken:
            raise names.invalid(f"The discoveryName {name} is already used in the namespace {space.name}.")
        for alias in offer.get("clientAliases", ()):
            dns, port = alias.get("dnsName") or f"{name}.{space.name}", alias["port"]
            if (dns, port) in aliases_taken:
                raise names.invalid(
                    f"The client alias {dns}:{port} is already used in the namespace {space.name}."
                )


def check_registries(tx: Tx, scope: Scope, registries: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameterException unless all exist and take what is asked of them."""
    for item in registries:
        arn = item["registryArn"]
        found = tx.get(DISCOVERY_SERVICE, bare_id(arn)) if arn.startswith("arn:") else None
        if (
            found is None
            or found.arn != arn
            or (found.account, found.region) != (scope.account, scope.region)
        ):
            raise names.invalid(f"The service registry {arn[:300]} does not exist.")
        ports = any(kind == "SRV" for kind, _ in found.records)
        if ports and item.get("port") is None and item.get("containerPort") is None:
            raise names.invalid(
                "Either port, or containerName and containerPort, must be specified for a service registry"
                " with SRV records."
            )
        if not ports and item.get("containerPort") is not None:
            raise names.invalid(
                "The values specified for serviceRegistries do not require a value for 'containerPort'."
            )
