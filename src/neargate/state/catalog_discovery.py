"""Kinds of records of service discovery, with their indexes. Imported by services/ and control/."""

from neargate.model.discovery import DiscoveryService, Instance, Namespace, Operation, instance_key
from neargate.model.record import Scope
from neargate.model.service_connect import ConnectEndpoint, endpoint_key
from neargate.state.catalog import minute
from neargate.state.store import Kind


def in_scope(scope: Scope, name: str) -> str:
    """Index value of a name within an account and region."""
    return f"{scope.account}/{scope.region}/{name}"


NAMESPACE = Kind(
    "discovery-namespace",
    Namespace,
    lambda r: r.id,
    {
        "name": lambda r: in_scope(Scope(r.account, r.region), r.name),
        "http-name": lambda r: in_scope(Scope(r.account, r.region), r.http_name),
    },
)
DISCOVERY_SERVICE = Kind(
    "discovery-service",
    DiscoveryService,
    lambda r: r.id,
    {
        "namespace": lambda r: r.namespace_id,
        # DNS knows no letter case, DiscoverInstances does.
        "name": lambda r: f"{r.namespace_id}/{r.name.lower()}",
    },
)
INSTANCE = Kind(
    "discovery-instance",
    Instance,
    lambda r: instance_key(r.service_id, r.id),
    {
        "service": lambda r: r.service_id,
        "task": lambda r: r.task_arn or None,
    },
)
CONNECT_ENDPOINT = Kind(
    "connect-endpoint",
    ConnectEndpoint,
    lambda r: endpoint_key(r.namespace_id, r.discovery_name),
    {"namespace": lambda r: r.namespace_id, "service": lambda r: r.service_arn},
)
OPERATION = Kind("discovery-operation", Operation, lambda r: r.id, {"minute": lambda r: minute(r.at)})
