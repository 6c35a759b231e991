"""What the resolver answers from: record sets made of discovery's records, and host names. Pure.

services/cell/names builds a Document; node/resolver writes it into a file that the resolver's process reads.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence

import msgspec

from neargate.model import addresses
from neargate.model.discovery import (
    ALIAS,
    CNAME,
    IPV4,
    IPV6,
    PORT,
    DiscoveryService,
    Instance,
    Namespace,
)
from neargate.model.discovery_rules import usable

MULTIVALUE_MOST = 8
HOST_TTL = 60
DATA_PREFIX = "data-"
"""What clients of DiscoverInstances put before the host of an endpoint."""


class RecordSet(msgspec.Struct, frozen=True, array_like=True):
    name: str
    """In lower case, without the dot at its end."""
    type: str
    ttl: int
    values: tuple[str, ...]
    """As a zone file writes them; an SRV's target is relative to nothing."""
    most: int = MULTIVALUE_MOST
    """How many of them an answer has, drawn anew for each."""


class Zone(msgspec.Struct, frozen=True, array_like=True):
    """A domain of which the resolver knows every name."""

    name: str
    ttl: int
    """For how long it may be kept that a name is not there."""


class Host(msgspec.Struct, frozen=True, array_like=True):
    """A name of which nothing but its addresses is known here: what else is asked goes upstream."""

    name: str
    addresses: tuple[str, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    zones: tuple[Zone, ...] = ()
    sets: tuple[RecordSet, ...] = ()
    hosts: tuple[Host, ...] = ()
    """What tasks find."""
    machine: tuple[Host, ...] = ()
    """What is to be found on the daemon's machine, by its /etc/hosts."""
    domain: str = ""
    """Below it, `ip-10-0-0-1` is 10.0.0.1."""
    range: str = ""
    """The addresses that have such names."""


def encode(document: Document) -> bytes:
    return msgspec.json.encode(document)


def decode(data: bytes) -> Document:
    """Raise msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Document)


Alias = Callable[[str], Sequence[str]]
"""The addresses of a load balancer, by its DNS name."""


def zone_of(namespace: Namespace) -> Zone | None:
    return None if namespace.type == "HTTP" else Zone(namespace.name.lower(), namespace.soa_ttl)


def sets_of(
    namespace: Namespace, service: DiscoveryService, instances: Iterable[Instance], alias: Alias
) -> list[RecordSet]:
    """The DNS of one service: what its usable instances are worth."""
    if namespace.type == "HTTP":
        return []
    name = f"{service.name}.{namespace.name}".lower()
    found = usable(service, instances)
    most = 1 if service.routing == "WEIGHTED" else MULTIVALUE_MOST
    sets: list[RecordSet] = []
    for kind, ttl in service.records:
        if kind == "SRV":
            sets += _srv(name, ttl, found, most)
            continue
        attribute = {"A": IPV4, "AAAA": IPV6, "CNAME": CNAME}[kind]
        values = [i.attributes[attribute] for i in found if attribute in i.attributes]
        balancers = [i.attributes[ALIAS] for i in found if kind == "A" and ALIAS in i.attributes]
        # A balancer stands for all of its addresses.
        behind = [address for balancer in balancers for address in alias(balancer)]
        if values or behind:
            every = tuple(dict.fromkeys([*values, *behind]))
            sets.append(RecordSet(name, kind, ttl, every, MULTIVALUE_MOST if behind else most))
    return sets


def _srv(name: str, ttl: int, instances: Sequence[Instance], most: int) -> list[RecordSet]:
    """Ports by name, and each instance's address under a name of its own."""
    sets: list[RecordSet] = []
    values: list[str] = []
    for instance in instances:
        if PORT not in instance.attributes:
            continue
        host = f"{instance.id}.{name}".lower()
        values.append(f"1 1 {instance.attributes[PORT]} {host}.")
        for kind, attribute in (("A", IPV4), ("AAAA", IPV6)):
            if attribute in instance.attributes:
                sets.append(RecordSet(host, kind, ttl, (instance.attributes[attribute],)))
    return [RecordSet(name, "SRV", ttl, tuple(values), most), *sets] if values else []


def merged(sets: Iterable[RecordSet]) -> tuple[RecordSet, ...]:
    """Sets of one name and type are one: two namespaces may have the same name."""
    found: dict[tuple[str, str], RecordSet] = {}
    for one in sets:
        other = found.get((one.name, one.type))
        if other is not None:
            values = tuple(dict.fromkeys([*other.values, *one.values]))
            one = RecordSet(one.name, one.type, min(other.ttl, one.ttl), values, max(other.most, one.most))
        found[one.name, one.type] = one
    return tuple(found[key] for key in sorted(found))


def private_address(name: str, domain: str, range: str) -> str | None:
    """The address in `ip-10-0-0-1.ec2.internal`, if it is one of the range."""
    host = name.removesuffix(f".{domain}")
    if not host.startswith("ip-") or f"{host}.{domain}" != name:
        return None
    try:
        address = ipaddress.IPv4Address(host.removeprefix("ip-").replace("-", "."))
    except ValueError:
        return None
    # A second way of writing an address is another name.
    known = address in ipaddress.IPv4Network(range) and f"ip-{str(address).replace('.', '-')}" == host
    return str(address) if known else None


def pointed_name(name: str, domain: str, range: str) -> str | None:
    """The name of an address of the range, asked for in reverse: `1.0.0.10.in-addr.arpa`."""
    parts = name.removesuffix(".in-addr.arpa").split(".")
    if not name.endswith(".in-addr.arpa") or len(parts) != 4:
        return None
    try:
        address = ipaddress.IPv4Address(".".join(reversed(parts)))
    except ValueError:
        return None
    return (
        f"ip-{str(address).replace('.', '-')}.{domain}" if address in ipaddress.IPv4Network(range) else None
    )


def is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def data_hosts(*endpoints: tuple[str, str]) -> tuple[Host, ...]:
    """By which names clients of DiscoverInstances look for an endpoint: (host, address) each."""
    return tuple(Host(f"{DATA_PREFIX}{host}", (address,)) for host, address in endpoints)


def private_domain(region: str) -> str:
    return addresses.dns_domain(region)
