"""The service discovery that a service names: namespaces and registries of AWS Cloud Map exist.

Called by service_workload.py and service_lists.py. The records are those of services/servicediscovery.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.discovery import Namespace, bare_id
from neargate.model.record import Scope
from neargate.services.ecs import names
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, NAMESPACE, in_scope
from neargate.state.store import Tx


def namespace(tx: Tx, scope: Scope, text: str) -> Namespace:
    """By name or ARN. Raises NamespaceNotFoundException."""
    found = tx.get(NAMESPACE, bare_id(text)) if text.startswith("arn:") else None
    if not text.startswith("arn:"):
        named = tx.find(NAMESPACE, "name", in_scope(scope, text), limit=1)
        found = named[0] if named else None
    if found is None or (found.account, found.region) != (scope.account, scope.region):
        raise ApiError("NamespaceNotFoundException", f"The specified namespace was not found: {text[:300]}")
    return found


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
