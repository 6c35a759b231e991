"""Records of load balancing: balancers, listeners, rules, target groups, targets, certificates.

services/elbv2 and services/acm write what callers ask for; control/services registers tasks and shifts
weights; services/cell hands all of it to the node's data plane and writes what its health checks say.
"""

from typing import Any

from neargate.model.record import Record
from neargate.model.task import Part


class BalancerZone(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A balancer's foothold in one zone: an address of a subnet, held like a task's interface."""

    zone: str
    subnet_id: str
    address: str
    interface_id: str


class LoadBalancer(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    """`loadbalancer/app/<name>/<16 hex>` or `loadbalancer/net/…`."""
    name: str
    kind: str = "application"
    """application or network."""
    scheme: str = "internet-facing"
    vpc_id: str
    zones: tuple[BalancerZone, ...]
    security_groups: tuple[str, ...] = ()
    dns_name: str
    state: str = "provisioning"
    """provisioning, active, active_impaired, failed."""
    state_reason: str = ""
    """Why it is impaired."""
    ip_address_type: str = "ipv4"
    attributes: dict[str, str] = {}
    """Only those that were set; model/balancer_rules_attributes has all of them, with defaults."""
    private_link_rules: str = "on"
    """Whether security groups are for PrivateLink too: on or off. Only told again."""
    tags: dict[str, str] = {}
    created_at: float = 0.0


class Listener(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    balancer_arn: str
    port: int
    protocol: str
    """HTTP, HTTPS; TCP, TLS, UDP, TCP_UDP."""
    certificates: tuple[str, ...] = ()
    """ARNs of ACM certificates; the first is the default one, the others are found by SNI."""
    ssl_policy: str = ""
    alpn_policy: str = ""
    actions: tuple[dict[str, Any], ...]
    """Default actions, in AWS's member names; a forward always has its ForwardConfig spelt out."""
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    rule_tags: dict[str, str] = {}
    """Of its default rule."""
    created_at: float = 0.0


class ListenerRule(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    listener_arn: str
    priority: int
    conditions: tuple[dict[str, Any], ...]
    """In AWS's member names; the old `Values` are spelt out as the field's own configuration."""
    actions: tuple[dict[str, Any], ...]
    tags: dict[str, str] = {}
    created_at: float = 0.0


class HealthCheck(Part, frozen=True, kw_only=True, omit_defaults=True):
    protocol: str = "HTTP"
    """HTTP, HTTPS, TCP."""
    port: str = "traffic-port"
    enabled: bool = True
    path: str = "/"
    interval: int = 30
    """Seconds."""
    timeout: int = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: str = "200"
    """HTTP codes, or gRPC codes in a group of protocol version GRPC."""


class TargetGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    """`targetgroup/<name>/<16 hex>`."""
    name: str
    protocol: str
    protocol_version: str = ""
    """HTTP1, HTTP2, GRPC; empty for TCP and its like."""
    port: int
    vpc_id: str
    target_type: str = "ip"
    health_check: HealthCheck = HealthCheck()
    attributes: dict[str, str] = {}
    balancer_arns: tuple[str, ...] = ()
    """Balancers whose listeners or rules lead here; kept right by services/elbv2 with each of its writes."""
    woken_at: float | None = None
    """When a request last found no target in a group that scales to zero."""
    last_request_at: float | None = None
    """About when traffic was last seen, of a group that scales to zero."""
    tags: dict[str, str] = {}
    created_at: float = 0.0


class Target(Record, frozen=True, kw_only=True, omit_defaults=True):
    group_arn: str
    address: str
    port: int
    zone: str = ""
    task_arn: str = ""
    """The task behind it, if a service registered it."""
    state: str = "initial"
    """initial, healthy, unhealthy, draining. (unused and unavailable are what DescribeTargetHealth makes of a
    group that no balancer uses, or whose checks are off.)"""
    reason: str = ""
    """AWS's reason code, e.g. Target.ResponseCodeMismatch."""
    description: str = ""
    registered_at: float = 0.0
    changed_at: float = 0.0
    draining_at: float | None = None
    """Since when it gets no new requests; gone after the group's deregistration delay."""


def target_id(group_arn: str, address: str, port: int) -> str:
    return f"{group_arn}/{address}:{port}"


class Certificate(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    certificate: str
    """PEM."""
    chain: str = ""
    key: bytes
    """PEM of the private key, sealed."""
    domain: str = ""
    names: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    """What DescribeCertificate shows of it: serial, issuer, algorithm, validity."""
    tags: dict[str, str] = {}
    imported_at: float = 0.0
    created_at: float = 0.0
