"""What a service asks of its tasks, held against their definition: balancers, registries, Service Connect.

Pure. Called by services/ecs for CreateService, UpdateService and CreateTaskSet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from neargate.model.definition_network import port_range
from neargate.model.service_rules import refuse, unsupported

Json = dict[str, Any]
Items = Sequence[Mapping[str, Any]]
_MAX_BALANCERS: Final = 5
_MAX_PORT: Final = 65535
_DISCOVERY_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")
_DNS_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,126}")
_SHIFTING: Final = ("BLUE_GREEN", "LINEAR", "CANARY")
_LOG_DRIVERS: Final = ("awslogs", "splunk", "awsfirelens")


def load_balancers(given: Items, definition: Mapping[str, Any], strategy: str) -> list[Json]:
    """loadBalancers as they are kept. Raises InvalidParameterException with AWS's words."""
    if len(given) > _MAX_BALANCERS:
        refuse(f"load balancers can have at most {_MAX_BALANCERS} items.")
    made = [_balancer(item, definition, strategy) for item in given]
    groups = [(item["targetGroupArn"], item["containerName"], item["containerPort"]) for item in made]
    if len(set(groups)) != len(groups):
        refuse("Each load balancer must name another target group or another container port.")
    return made


def _balancer(given: Mapping[str, Any], definition: Mapping[str, Any], strategy: str) -> Json:
    group, classic = given.get("targetGroupArn"), given.get("loadBalancerName")
    if group and classic:
        refuse("loadBalancerName and targetGroupArn cannot both be specified.")
    if classic:
        refuse("Classic Load Balancers are not supported with Fargate.")
    if not group:
        refuse("targetGroupArn must be specified for a load balancer.")
    name, port = given.get("containerName"), given.get("containerPort")
    if not name or port is None:
        refuse("containerName and containerPort must be specified for a load balancer.")
    check_port(definition, name, port)
    made: Json = {"targetGroupArn": group, "containerName": name, "containerPort": port}
    advanced = {key: value for key, value in (given.get("advancedConfiguration") or {}).items() if value}
    if advanced:
        made["advancedConfiguration"] = advanced
    if strategy in _SHIFTING:
        for member in ("alternateTargetGroupArn", "productionListenerRule"):
            if not advanced.get(member):
                refuse(
                    f"advancedConfiguration.{member} must be specified for a load balancer when the"
                    f" deployment strategy is {strategy}."
                )
        if advanced["alternateTargetGroupArn"] == group:
            refuse("alternateTargetGroupArn must be another target group than targetGroupArn.")
    return made


def check_port(definition: Mapping[str, Any], name: str, port: int) -> None:
    container = next((c for c in definition["containerDefinitions"] if c["name"] == name), None)
    if container is None:
        refuse(f"The container {name[:300]} does not exist in the task definition.")
    if not any(low <= port <= high for low, high in _ports(container)):
        refuse(f"The container {name[:300]} did not have a container port {port} defined.")


def _ports(container: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    for mapping in container["portMappings"]:
        span = mapping.get("containerPortRange")
        yield port_range(container["name"], span) if span else (mapping["containerPort"],) * 2


def service_registries(given: Items, definition: Mapping[str, Any]) -> list[Json]:
    if len(given) > 1:
        refuse("service registries can have at most 1 items.")
    made: list[Json] = []
    for item in given:
        if not item.get("registryArn"):
            refuse("registryArn must be specified for a service registry.")
        name, container_port, port = (item.get(k) for k in ("containerName", "containerPort", "port"))
        if (name is None) != (container_port is None):
            refuse("containerName and containerPort of a service registry must be specified together.")
        if name is not None and container_port is not None:
            if port is not None:
                refuse("Specify either containerName and containerPort, or port, for a service registry.")
            check_port(definition, name, container_port)
        if port is not None and not 1 <= port <= _MAX_PORT:
            refuse(f"The port of a service registry must be between 1 and {_MAX_PORT}.")
        made.append({key: value for key, value in item.items() if value is not None})
    return made


def service_connect(given: Mapping[str, Any], definition: Mapping[str, Any], default_namespace: str) -> Json:
    """serviceConnectConfiguration with its namespace and names spelt out."""
    if not given["enabled"]:
        return {"enabled": False}
    namespace = given.get("namespace") or default_namespace
    if not namespace:
        refuse(
            "Namespace is missing. Specify one in serviceConnectConfiguration or as the cluster's default."
        )
    services = [_connected(item, definition) for item in given.get("services") or ()]
    _check_connected(services)
    made: Json = {"enabled": True, "namespace": namespace, "services": services}
    log = given.get("logConfiguration")
    if log:
        if log["logDriver"] not in _LOG_DRIVERS:
            refuse(f"Invalid logDriver {log['logDriver']}: Service Connect takes {', '.join(_LOG_DRIVERS)}.")
        made["logConfiguration"] = log
    if given.get("accessLogConfiguration"):
        if not log:
            refuse("accessLogConfiguration requires a logConfiguration in serviceConnectConfiguration.")
        made["accessLogConfiguration"] = given["accessLogConfiguration"]
    if given.get("containerConfigurations"):
        made["containerConfigurations"] = given["containerConfigurations"]
    return made


def _connected(given: Mapping[str, Any], definition: Mapping[str, Any]) -> Json:
    name = given["portName"]
    mappings = [p for c in definition["containerDefinitions"] for p in c["portMappings"]]
    if not any(mapping.get("name") == name for mapping in mappings):
        refuse(
            f"portName({name[:100]}) does not refer to any named PortMapping in the container definitions."
        )
    if given.get("tls"):
        unsupported(
            "TLS of Service Connect is not available: there is no private certificate authority here."
        )
    discovery = given.get("discoveryName") or name
    if not _DISCOVERY_NAME.fullmatch(discovery):
        refuse(
            f"Invalid discoveryName '{discovery[:100]}': up to 64 lower-case letters, numbers, underscores"
            " and hyphens are allowed, not starting with a hyphen."
        )
    aliases = given.get("clientAliases") or ()
    if len(aliases) > 1:
        refuse(f"{len(aliases)} clientAliases exceeds the max limit of 1.")
    for alias in aliases:
        if alias.get("testTrafficRules"):
            unsupported("testTrafficRules of Service Connect are not available.")
        if not 1 <= alias["port"] <= _MAX_PORT:
            refuse(f"The port of a client alias must be between 1 and {_MAX_PORT}.")
        if alias.get("dnsName") and not _DNS_NAME.fullmatch(alias["dnsName"]):
            refuse(f"The DNS name that you provided is invalid: {alias['dnsName'][:200]}")
    override = given.get("ingressPortOverride")
    if override is not None and not 1 <= override <= _MAX_PORT:
        refuse(f"ingressPortOverride must be between 1 and {_MAX_PORT}.")
    return {**{key: value for key, value in given.items() if value is not None}, "discoveryName": discovery}


def _check_connected(services: Sequence[Json]) -> None:
    for member in ("portName", "discoveryName"):
        names = [service[member] for service in services]
        if len(set(names)) != len(names):
            refuse(f"Each service of serviceConnectConfiguration must have another {member}.")
