"""Arithmetic of addresses: subnets of a VPC, the addresses a subnet may give, names and MACs of interfaces.

Pure. Called by control/bootstrap, control/placement, services/cell and services/ec2.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from neargate.model.network import Interface, Subnet
from neargate.model.sandbox import InterfaceSpec

RESERVED_FIRST = 4
"""AWS keeps a subnet's first four addresses (network, router, DNS, future) and the last."""
_RESERVED = RESERVED_FIRST + 1
_ABBREVIATED = {"northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw"}


def default_subnets(vpc_cidr: str, count: int = 3) -> list[str]:
    """CIDRs of the default subnets: /20 as AWS makes them of a /16, quarters of a smaller range."""
    network = ipaddress.IPv4Network(vpc_cidr)
    prefix = max(20, network.prefixlen + 2)
    blocks = network.subnets(new_prefix=prefix)
    return [str(next(blocks)) for _ in range(count)]


def usable(cidr: str) -> int:
    """How many addresses of the subnet may be given to interfaces."""
    return max(0, ipaddress.IPv4Network(cidr).num_addresses - _RESERVED)


def is_reserved(cidr: str, address: str) -> bool:
    """Whether an address of the subnet is one that it gives to nobody."""
    network, wanted = ipaddress.IPv4Network(cidr), ipaddress.IPv4Address(address)
    place = int(wanted) - int(network.network_address)
    return place < RESERVED_FIRST or wanted == network.broadcast_address


def address_at(cidr: str, turn: int) -> str:
    """The address that the subnet's rotating counter points at (turn 1, 2, …)."""
    network = ipaddress.IPv4Network(cidr)
    return str(network.network_address + RESERVED_FIRST + (turn - 1) % usable(cidr))


def gateway(cidr: str) -> str:
    return str(ipaddress.IPv4Network(cidr).network_address + 1)


def resolver(vpc_cidr: str) -> str:
    """Where tasks of the VPC ask for names."""
    return str(ipaddress.IPv4Network(vpc_cidr).network_address + 2)


def mac(digits: str) -> str:
    """A locally administered unicast MAC out of ten hexadecimal digits."""
    return ":".join(("02", *(digits[i : i + 2] for i in range(0, 10, 2))))


def dns_domain(region: str) -> str:
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def dns_name(address: str, region: str) -> str:
    return f"ip-{address.replace('.', '-')}.{dns_domain(region)}"


def zone_id_prefix(region: str) -> str:
    """use1 of us-east-1, apne1 of ap-northeast-1, usgw1 of us-gov-west-1."""
    first, *middle, number = region.split("-")
    return first + "".join(_ABBREVIATED.get(word, word[0]) for word in middle) + number


def zones(region: str, count: int = 3) -> list[tuple[str, str]]:
    """(name, id) of the region's availability zones."""
    prefix = zone_id_prefix(region)
    return [(f"{region}{'abcdef'[i]}", f"{prefix}-az{i + 1}") for i in range(count)]


def resolvers(texts: Iterable[str]) -> tuple[str, ...]:
    """IPv4 name servers that a task can reach, of the first resolv.conf text that names any.

    A loopback address is the host's own stub: no other network namespace reaches it.
    """
    for text in texts:
        found = []
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and _reachable(words[1]):
                found.append(words[1])
        if found:
            return tuple(found[:3])
    return ()


def _reachable(server: str) -> bool:
    try:
        return not ipaddress.IPv4Address(server).is_loopback
    except ValueError:
        return False


def interface_spec(interface: Interface, subnet: Subnet, dns_servers: Sequence[str] = ()) -> InterfaceSpec:
    """What the node needs to make the interface."""
    return InterfaceSpec(
        id=interface.id,
        mac=interface.mac,
        address=interface.address,
        subnet_cidr=subnet.cidr,
        gateway=gateway(subnet.cidr),
        dns_name=dns_name(interface.address, interface.region),
        dns_servers=tuple(dns_servers),
        security_groups=interface.security_groups,
    )
