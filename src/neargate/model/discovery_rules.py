"""What Cloud Map lets be: domain names, DNS settings of a service, attributes of an instance; health. Pure.

Called by services/servicediscovery and model/zones. Raises ApiError with Cloud Map's code.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.discovery import (
    ALIAS,
    CNAME,
    EC2_ID,
    HEALTHY,
    INIT_HEALTH,
    IPV4,
    IPV6,
    PORT,
    UNHEALTHY,
    UNKNOWN,
    DiscoveryService,
    Instance,
)

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_COMBINATIONS = (("A",), ("AAAA",), ("A", "AAAA"), ("SRV",), ("CNAME",))
_MAX_ATTRIBUTES, _MAX_SIZE = 30, 5000
_MAX_NAME = 253


def bad(message: str) -> ApiError:
    return ApiError("InvalidInput", message)


def is_domain(name: str) -> bool:
    """A name that DNS can carry, whatever its letters' case."""
    lower = name.lower()
    return len(name) <= _MAX_NAME and all(_LABEL.fullmatch(label) for label in lower.split("."))


def records_of(given: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
    """The DNS records of a request, in its order: clients hold what they read against what they asked."""
    records = tuple((record["Type"], record["TTL"]) for record in given)
    if tuple(sorted(kind for kind, _ in records)) not in _COMBINATIONS:
        raise bad("DnsRecords can be A, AAAA, A and AAAA, SRV, or CNAME.")
    return records


def check_service(service: DiscoveryService, namespace_type: str) -> None:
    """A new service, or one about to be changed."""
    kinds = {kind for kind, _ in service.records}
    if service.records and namespace_type == "HTTP":
        raise bad("DnsConfig cannot be specified for a service of an HTTP namespace.")
    if service.health_check and service.custom_health:
        raise bad("HealthCheckConfig and HealthCheckCustomConfig exclude each other.")
    if service.health_check and namespace_type == "DNS_PRIVATE":
        raise bad("HealthCheckConfig is not supported for services of a private DNS namespace.")
    if service.health_check.get("Type") == "TCP" and "ResourcePath" in service.health_check:
        raise bad("ResourcePath must not be specified for a health check of type TCP.")
    if "CNAME" in kinds and service.routing != "WEIGHTED":
        raise bad("The routing policy of a service with a CNAME record must be WEIGHTED.")
    if "CNAME" in kinds and service.health_check:
        raise bad("HealthCheckConfig cannot be specified for a service with a CNAME record.")


def check_instance(service: DiscoveryService, instance_id: str, attributes: Mapping[str, str]) -> None:
    """The attributes that an instance of the service is to have."""
    _check_size(attributes)
    _check_values(attributes)
    kinds = {kind for kind, _ in service.records}
    if ALIAS in attributes:
        return _check_alias(service, kinds, attributes)
    if EC2_ID in attributes:
        # There are no EC2 instances here whose address could be looked up.
        raise bad(f"{EC2_ID} names no instance of this account.")
    for kind, attribute in (("A", IPV4), ("AAAA", IPV6), ("CNAME", CNAME)):
        if kind in kinds and attribute not in attributes:
            raise bad(f"{attribute} is required for a service with a record of type {kind}.")
    if "SRV" in kinds:
        if PORT not in attributes:
            raise bad(f"{PORT} is required for a service with a record of type SRV.")
        if IPV4 not in attributes and IPV6 not in attributes:
            raise bad(f"{IPV4} or {IPV6} is required for a service with a record of type SRV.")
        if not is_domain(instance_id):
            raise bad(f"InstanceId {instance_id} cannot be part of the name in a record of type SRV.")
    if service.health_check and PORT not in attributes:
        raise bad(f"{PORT} is required for a service with a health check.")


def _check_size(attributes: Mapping[str, str]) -> None:
    own = [key for key in attributes if not key.startswith("AWS_")]
    if len(own) > _MAX_ATTRIBUTES:
        raise bad(f"An instance can have at most {_MAX_ATTRIBUTES} custom attributes.")
    if sum(len(key) + len(value) for key, value in attributes.items()) > _MAX_SIZE:
        raise bad(f"The attributes of an instance can have at most {_MAX_SIZE} characters in all.")


def _check_values(attributes: Mapping[str, str]) -> None:
    for attribute, version in ((IPV4, 4), (IPV6, 6)):
        value = attributes.get(attribute)
        if value is not None and not _is_address(value, version):
            raise bad(f"{attribute} is {value!r}: it must be an IPv{version} address.")
    port = attributes.get(PORT)
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535):
        raise bad(f"{PORT} is {port!r}: it must be 0 to 65535.")
    for attribute in (CNAME, ALIAS):
        value = attributes.get(attribute)
        if value is not None and not is_domain(value.removesuffix(".")):
            raise bad(f"{attribute} is {value!r}: it must be a domain name.")
    status = attributes.get(INIT_HEALTH)
    if status is not None and status not in (HEALTHY, UNHEALTHY):
        raise bad(f"{INIT_HEALTH} is {status!r}: it must be HEALTHY or UNHEALTHY.")


def _is_address(value: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(value).version == version
    except ValueError:
        return False


def _check_alias(service: DiscoveryService, kinds: set[str], attributes: Mapping[str, str]) -> None:
    if any(attribute.startswith("AWS_INSTANCE_") for attribute in attributes):
        raise bad(f"{ALIAS} and the AWS_INSTANCE attributes exclude each other.")
    if not kinds & {"A", "AAAA"} or service.routing != "WEIGHTED":
        raise bad(f"{ALIAS} is for services with an A or AAAA record and the routing policy WEIGHTED.")


def health_of(service: DiscoveryService, instance: Instance) -> str:
    return instance.health if service.custom_health else UNKNOWN


def chosen(service: DiscoveryService, instances: Iterable[Instance], wanted: str, /) -> list[Instance]:
    """Instances by a filter of DiscoverInstances. Without a health check all of them are given."""
    found = list(instances)
    if not service.custom_health or wanted == "ALL":
        return found
    if wanted == "HEALTHY_OR_ELSE_ALL":
        return usable(service, found)
    return [instance for instance in found if instance.health == wanted]


def usable(service: DiscoveryService, instances: Iterable[Instance]) -> list[Instance]:
    """The healthy ones; all, where none is."""
    found = list(instances)
    if not service.custom_health:
        return found
    return [instance for instance in found if instance.health == HEALTHY] or found
