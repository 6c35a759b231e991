"""Records of service discovery (AWS Cloud Map): namespaces, services, their instances, operations.

Written by services/servicediscovery and control/discovery; model/zones makes DNS of them.
"""

from typing import Any, Literal

from neargate.model.record import Record

NamespaceType = Literal["DNS_PRIVATE", "DNS_PUBLIC", "HTTP"]
HEALTHY, UNHEALTHY, UNKNOWN = "HEALTHY", "UNHEALTHY", "UNKNOWN"

INIT_HEALTH = "AWS_INIT_HEALTH_STATUS"
IPV4, IPV6, PORT = "AWS_INSTANCE_IPV4", "AWS_INSTANCE_IPV6", "AWS_INSTANCE_PORT"
CNAME, ALIAS, EC2_ID = "AWS_INSTANCE_CNAME", "AWS_ALIAS_DNS_NAME", "AWS_EC2_INSTANCE_ID"

DEFAULT_SOA_TTL = 15
"""For how long a resolver may keep that there is no such name."""


class Namespace(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    arn: str
    name: str
    type: NamespaceType
    http_name: str
    """What DiscoverInstances knows it by: the name, with something behind it where that is taken."""
    description: str | None = None
    vpc: str = ""
    hosted_zone_id: str = ""
    soa_ttl: int = DEFAULT_SOA_TTL
    creator_request_id: str = ""
    operation: str = ""
    """The operation that made it: what a repeated request is answered."""
    tags: dict[str, str] = {}
    created_at: float = 0.0


class DiscoveryService(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    arn: str
    name: str
    namespace_id: str
    type: Literal["HTTP", "DNS_HTTP"]
    description: str | None = None
    routing: Literal["MULTIVALUE", "WEIGHTED"] = "MULTIVALUE"
    records: tuple[tuple[str, int], ...] = ()
    """(type, TTL) of the DNS records that an instance gets."""
    health_check: dict[str, Any] = {}
    """A Route 53 health check, as it was asked for. None is run here."""
    custom_health: bool = False
    """Somebody else says by UpdateInstanceCustomHealthStatus how its instances are."""
    creator_request_id: str = ""
    revision: int = 1
    """Grows with each instance that comes, goes or changes, not with their health."""
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    created_at: float = 0.0


class Instance(Record, frozen=True, kw_only=True, omit_defaults=True):
    service_id: str
    id: str
    attributes: dict[str, str] = {}
    health: str = HEALTHY
    """Of a custom health check; without one nobody asks."""
    creator_request_id: str = ""
    registered_at: float = 0.0
    task_arn: str = ""
    """The task that control/discovery registered it for; empty for those of RegisterInstance."""


class Operation(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a change was: all of them are over when they are answered, but may be asked for."""

    id: str
    type: str
    status: Literal["SUCCESS", "FAIL"] = "SUCCESS"
    targets: dict[str, str] = {}
    """NAMESPACE, SERVICE, INSTANCE -> id."""
    error_code: str = ""
    error_message: str = ""
    at: float = 0.0


def instance_key(service_id: str, instance_id: str) -> str:
    return f"{service_id}/{instance_id}"


def bare_id(given: str) -> str:
    """The id out of an id or an ARN."""
    return given.rpartition("/")[2] if given.startswith("arn:") else given
