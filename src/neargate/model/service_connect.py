"""Service Connect: what a service offers to the others of its namespace, and who answers there. Pure.

control/service_connect writes the records; services/cell hands them to the node's data plane, and their names
to the tasks that may use them; model/envoy_connect makes Envoy's resources of them.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.model import addresses
from neargate.model.discovery import HEALTHY, UNHEALTHY, bare_id
from neargate.model.discovery_tasks import first_health
from neargate.model.record import Record
from neargate.model.service import Service
from neargate.model.task import Part, Task, TaskDefinition

HTTP_PROTOCOLS = ("http", "http2", "grpc")
_IDLE_HTTP, _IDLE_TCP, _PER_REQUEST = 300, 3600, 15
"""Seconds, as AWS has them."""
_TEST_HEADER = "x-amzn-ecs-blue-green-test"
_ALL = 100.0
_PARTS = 10_000


class ConnectTarget(Part, frozen=True, kw_only=True, omit_defaults=True):
    address: str
    port: int
    task_arn: str
    weight: int = 1
    """Against the others, while a deployment shifts traffic."""


class ConnectEndpoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One `services` entry of a serviceConnectConfiguration: a name and port that clients use, on an address
    of its own."""

    namespace_id: str
    discovery_name: str
    service_arn: str
    port_name: str
    dns_name: str
    """What clients call it: the alias's, or `<discoveryName>.<namespace>`."""
    port: int
    protocol: str = ""
    """http, http2, grpc; empty for TCP."""
    idle_seconds: int = _IDLE_HTTP
    """0: never."""
    request_seconds: int = _PER_REQUEST
    """0: no bound; of HTTP only."""
    test_header: str = ""
    """A request with it is test traffic, of a deployment that shifts traffic."""
    test_value: str | None = None
    """None: whatever the header says."""
    address: str = ""
    targets: tuple[ConnectTarget, ...] = ()
    test_targets: tuple[ConnectTarget, ...] = ()
    """Who answers test traffic; nobody but while a deployment wants it."""


def endpoint_key(namespace_id: str, discovery_name: str) -> str:
    return f"{namespace_id}/{discovery_name}"


def namespace_of(body: Mapping[str, Any]) -> str:
    """Id of the namespace whose names a service's tasks may use; empty without Service Connect."""
    connect = body.get("serviceConnectConfiguration") or {}
    return bare_id(connect["namespace"]) if connect.get("enabled") else ""


def offered(service: Service, definition: TaskDefinition, namespace_name: str) -> Iterator[ConnectEndpoint]:
    """What the service is to offer, without address and targets."""
    connect = service.body.get("serviceConnectConfiguration") or {}
    for item in connect.get("services") or ():
        mapping = _mapping(definition, item["portName"])
        if mapping is None:
            continue
        protocol = mapping.get("appProtocol") or ""
        alias: Mapping[str, Any] = next(iter(item.get("clientAliases") or ()), {})
        timeout = item.get("timeout") or {}
        header = (alias.get("testTrafficRules") or {}).get("header") or {}
        yield ConnectEndpoint(
            account=service.account,
            region=service.region,
            namespace_id=namespace_of(service.body),
            discovery_name=item["discoveryName"],
            service_arn=service.arn,
            port_name=item["portName"],
            dns_name=alias.get("dnsName") or f"{item['discoveryName']}.{namespace_name}",
            port=alias.get("port") or mapping["containerPort"],
            protocol=protocol if protocol in HTTP_PROTOCOLS else "",
            idle_seconds=timeout.get("idleTimeoutSeconds", _IDLE_HTTP if protocol else _IDLE_TCP),
            test_header=header.get("name") or _TEST_HEADER,
            test_value=(header.get("value") or {}).get("exact"),
            request_seconds=timeout.get("perRequestTimeoutSeconds", _PER_REQUEST),
        )


def _mapping(definition: TaskDefinition, port_name: str) -> Mapping[str, Any] | None:
    containers = definition.body["containerDefinitions"]
    mappings = [m for container in containers for m in container.get("portMappings") or ()]
    return next((m for m in mappings if m.get("name") == port_name and "containerPort" in m), None)


def targets(
    endpoint: ConnectEndpoint, tasks: Iterable[Task], definitions: Mapping[str, TaskDefinition]
) -> tuple[ConnectTarget, ...]:
    """Who answers: tasks that run and are well; where none is well, all that run."""
    found: list[tuple[bool, ConnectTarget]] = []
    for task in sorted(tasks, key=lambda task: task.arn):
        definition = definitions.get(task.definition_arn)
        mapping = _mapping(definition, endpoint.port_name) if definition is not None else None
        if mapping is None or not task.private_ip:
            continue
        if task.last_status == "RUNNING" and task.desired_status == "RUNNING":
            health = task.health if task.health in (HEALTHY, UNHEALTHY) else first_health(definition)
            target = ConnectTarget(address=task.private_ip, port=mapping["containerPort"], task_arn=task.arn)
            found.append((health == HEALTHY, target))
    return tuple(target for well, target in found if well) or tuple(target for _, target in found)


def shifted(
    found: Sequence[ConnectTarget], green: Collection[str], percent: float
) -> tuple[ConnectTarget, ...]:
    """Targets as a deployment that shifts traffic wants them: its own get a percent of it.

    green -- ARNs of its tasks. Where nobody of those is there that all traffic is for, everybody is.
    """
    own = [target for target in found if target.task_arn in green]
    others = [target for target in found if target.task_arn not in green]
    if not own or not others:
        return tuple(found)
    if percent <= 0 or percent >= _ALL:
        return tuple(own if percent > 0 else others)
    weighted = [(own, percent), (others, _ALL - percent)]
    return tuple(
        replace(target, weight=max(1, round(_PARTS * share / _ALL / len(group))))
        for group, share in weighted
        for target in group
    )


def free_address(vpc_cidr: str, taken: Collection[str]) -> str | None:
    """Of the last part of the VPC, which has no subnet; None if all are taken."""
    network = ipaddress.IPv4Network(vpc_cidr)
    prefix = ipaddress.IPv4Network(addresses.default_subnets(vpc_cidr)[0]).prefixlen
    *_, last = network.subnets(new_prefix=prefix)
    return next((str(address) for address in last.hosts() if str(address) not in taken), None)
