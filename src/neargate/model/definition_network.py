"""Network mode and port mappings of a task definition. Pure; called by definition."""

import re
from typing import Any

from neargate.model.definition_containers import refuse

Json = dict[str, Any]
_PORT_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_MAX_RANGES = 100
# Member -> how AWS words its refusal with awsvpc.
_NOT_WITH_AWSVPC = {
    "links": "Links are not supported when networkMode=awsvpc.",
    "hostname": "hostname is not supported on container when networkMode=awsvpc.",
    "extraHosts": "Extra hosts are not supported on container when networkMode=awsvpc",
    "dnsServers": "DNS servers are not supported on container when networkMode=awsvpc",
    "dnsSearchDomains": "DNS search domains are not supported on container when networkMode=awsvpc",
    "disableNetworking": "Disable Networking is not supported on container when networkMode=awsvpc",
}

_PROXY_NEEDS = {
    "ProxyIngressPort": "Ingress port",
    "ProxyEgressPort": "Egress port",
    "AppPorts": "Application ports",
}


def check_network(body: Json) -> None:
    if body.get("networkMode") == "awsvpc":
        for container in body["containerDefinitions"]:
            for member, message in _NOT_WITH_AWSVPC.items():
                if container.get(member):
                    refuse(message)
    for container in body["containerDefinitions"]:
        _check_mappings(container, body.get("networkMode"))
    _check_unique(body)
    if "proxyConfiguration" in body:
        _check_proxy(body)


def _check_proxy(body: Json) -> None:
    """App Mesh's proxy: one of the containers, and the ports that it needs to know."""
    proxy = body["proxyConfiguration"]
    if body.get("networkMode") != "awsvpc":
        refuse("APPMESH proxy configuration is only supported in networkMode=awsvpc")
    if all(container["name"] != proxy["containerName"] for container in body["containerDefinitions"]):
        refuse(f"Proxy container [{proxy['containerName'][:300]}] does not exist")
    given = {item.get("name") for item in proxy.get("properties", ()) if item.get("value")}
    for name, what in _PROXY_NEEDS.items():
        if name not in given:
            refuse(f"{what} not found")


def _check_mappings(container: Json, mode: str | None) -> None:
    ranges = 0
    for port in container["portMappings"]:
        single, span = port.get("containerPort"), port.get("containerPortRange")
        if single is not None and span is not None:
            refuse("cannot specify both single port and port range")
        if single is None and span is None:
            refuse(f"Container port is not specified in a port mapping of container '{container['name']}'.")
        if single is not None and not 1 <= single <= 65535:
            refuse(f"Invalid container port {single}: it must be between 1 and 65535.")
        if single is not None and mode == "awsvpc" and port["hostPort"] != single:
            refuse("When networkMode=awsvpc, the host ports and container ports in port mappings must match.")
        if not 0 <= port.get("hostPort", 0) <= 65535:
            refuse(f"Invalid host port {port['hostPort']}: it must be between 0 and 65535.")
        if span is not None:
            ranges += 1
            port_range(container["name"], span)
            if port.get("hostPort"):
                refuse("cannot specify both single port and port range")
        if port.get("name") is not None and not _PORT_NAME.fullmatch(port["name"]):
            refuse(
                f"Invalid port mapping name '{port['name'][:100]}': up to 64 lower-case letters, numbers,"
                " underscores and hyphens are allowed, not starting with a hyphen."
            )
        if port.get("appProtocol") is not None and port["protocol"] != "tcp":
            refuse("appProtocol is only supported with protocol tcp")
    if ranges > _MAX_RANGES:
        refuse(f"The maximum number of port ranges per container is {_MAX_RANGES}")


def port_range(container: str, text: str) -> tuple[int, int]:
    """First and last port of `8000-8010`. Raises ClientException."""
    match = _RANGE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) < int(match[2]) <= 65535:
        refuse(f"Invalid 'containerPortRange' setting for container '{container}'.")
    return int(match[1]), int(match[2])


def _check_unique(body: Json) -> None:
    """Names over the whole task; with one interface for all, ports as well (by protocol)."""
    names: set[str] = set()
    taken: list[tuple[str, str, int, int]] = []
    shared = body.get("networkMode") in ("awsvpc", "host")
    for container in body["containerDefinitions"]:
        for port in container["portMappings"]:
            if port.get("name") in names:
                refuse("port mapping name is already used")
            if port.get("name"):
                names.add(port["name"])
            span = port.get("containerPortRange")
            low, high = port_range(container["name"], span) if span else (port["containerPort"],) * 2
            place = "" if shared else container["name"]
            for other, protocol, first, last in taken:
                if (other, protocol) == (place, port["protocol"]) and low <= last and first <= high:
                    refuse("container port is used multiple times in task")
            taken.append((place, port["protocol"], low, high))
