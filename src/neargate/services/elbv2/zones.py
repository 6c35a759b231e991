"""Where a load balancer stands: its subnets, an address held in each, and its security groups.

Called by load_balancers.py; also SetSubnets, SetSecurityGroups and SetIpAddressType (gateway/dispatch).
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import addresses
from neargate.model.balancer import BalancerZone, LoadBalancer
from neargate.model.network import Interface, Subnet
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.state import addresses as picker
from neargate.state.catalog import INTERFACE, SECURITY_GROUP, SUBNET
from neargate.state.catalog_balancers import LOAD_BALANCER
from neargate.state.store import Tx

_MAX_GROUPS: Final = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subnet that is asked for, and its address if that is asked for too."""

    subnet_id: str
    address: str | None = None


def read_wanted(params: Params, kind: str, scheme: str) -> list[Wanted]:
    """Subnets or SubnetMappings of a request."""
    subnets, mappings = params.get("Subnets") or (), params.get("SubnetMappings") or ()
    if subnets and mappings:
        raise names.invalid("You must specify either subnets or subnet mappings, but not both")
    if subnets:
        return [Wanted(id) for id in dict.fromkeys(subnets)]
    if not mappings:
        raise names.invalid("At least one subnet must be specified")
    return [_mapped(mapping, kind, scheme) for mapping in mappings]


def _mapped(mapping: Mapping[str, Any], kind: str, scheme: str) -> Wanted:
    id = mapping.get("SubnetId")
    if not id:
        raise names.invalid("A subnet ID must be specified in each subnet mapping")
    if mapping.get("AllocationId"):
        raise ApiError(
            "AllocationIdNotFound",
            f"The allocation ID '{mapping['AllocationId']}' does not exist: neargate has no"
            " Elastic IP addresses",
        )
    if mapping.get("IPv6Address") or mapping.get("SourceNatIpv6Prefix"):
        raise names.unbuilt("IPv6 addresses are")
    address = mapping.get("PrivateIPv4Address")
    if address and (kind != "network" or scheme != "internal"):
        raise names.not_configurable(
            "A private IPv4 address can only be specified for internal load balancers with type 'network'"
        )
    return Wanted(id, address)


def subnets_of(tx: Tx, scope: Scope, wanted: Sequence[Wanted], kind: str) -> list[Subnet]:
    """The subnets, in one VPC and each in another zone. Raise SubnetNotFound, InvalidConfigurationRequest."""
    found = []
    for item in wanted:
        subnet = tx.get(SUBNET, item.subnet_id)
        if subnet is None or (subnet.account, subnet.region) != (scope.account, scope.region):
            raise ApiError("SubnetNotFound", f"The subnet ID '{item.subnet_id}' does not exist")
        found.append(subnet)
    if len({subnet.vpc_id for subnet in found}) > 1:
        raise names.not_configurable("All subnets must belong to the same VPC")
    zones = {subnet.zone for subnet in found}
    if len(zones) < len(found):
        raise names.not_configurable(
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
        )
    if kind == "application" and len(zones) < 2:
        raise names.invalid("At least two subnets in two different Availability Zones must be specified")
    return found


def groups_of(tx: Tx, scope: Scope, given: Iterable[str], vpc_id: str) -> tuple[str, ...]:
    """Security groups that a request names. Raise InvalidConfigurationRequest, InvalidSecurityGroup."""
    groups = tuple(dict.fromkeys(given))
    if len(groups) > _MAX_GROUPS:
        raise names.not_configurable(f"A load balancer can have {_MAX_GROUPS} security groups at most")
    for id in groups:
        group = tx.get(SECURITY_GROUP, id)
        if group is None or (group.account, group.region) != (scope.account, scope.region):
            raise ApiError("InvalidSecurityGroup", f"The security group '{id}' does not exist")
        if group.vpc_id != vpc_id:
            raise names.not_configurable("One or more security groups are invalid")
    return groups


def default_groups(tx: Tx, vpc_id: str) -> tuple[str, ...]:
    return tuple(g.id for g in tx.find(SECURITY_GROUP, "vpc", vpc_id) if g.name == "default")[:1]


def settle(
    tx: Tx, call: Call, balancer: LoadBalancer, wanted: Sequence[Wanted], subnets: Sequence[Subnet]
) -> LoadBalancer:
    """The balancer in these subnets: footholds that it has already are kept, others are let go."""
    kept = {zone.subnet_id: zone for zone in balancer.zones}
    for zone in balancer.zones:
        if zone.subnet_id not in {subnet.id for subnet in subnets}:
            tx.delete(INTERFACE, zone.interface_id)
    zones = []
    for item, subnet in zip(wanted, subnets, strict=True):
        old = kept.get(subnet.id)
        if old is not None and item.address not in (None, old.address):
            raise names.not_configurable(f"The address in the subnet '{subnet.id}' cannot be changed")
        zones.append(old or _foothold(tx, call, balancer, subnet, item.address))
    return replace(balancer, zones=tuple(zones))


def _foothold(tx: Tx, call: Call, balancer: LoadBalancer, subnet: Subnet, wanted: str | None) -> BalancerZone:
    address = _wanted(tx, subnet, wanted) if wanted else picker.free(tx, subnet)
    if address is None:
        raise ApiError("InvalidSubnet", f"Not enough IP space available in {subnet.id}")
    interface = Interface(
        account=balancer.account,
        region=balancer.region,
        id=f"eni-{call.ids.hex(17)}",
        subnet_id=subnet.id,
        vpc_id=subnet.vpc_id,
        zone=subnet.zone,
        address=address,
        mac=addresses.mac(call.ids.hex(10)),
        security_groups=balancer.security_groups,
        attachment_id=call.ids.uuid(),
        description=f"ELB {balancer.arn.partition(':loadbalancer/')[2]}",
        created_at=call.now(),
    )
    tx.insert(INTERFACE, interface)
    return BalancerZone(zone=subnet.zone, subnet_id=subnet.id, address=address, interface_id=interface.id)


def _wanted(tx: Tx, subnet: Subnet, text: str) -> str:
    """An address that was asked for."""
    network = ipaddress.IPv4Network(subnet.cidr)
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise names.invalid(f"'{text}' is not a valid IPv4 address") from None
    first = network.network_address + addresses.RESERVED_FIRST
    if not first <= address < network.broadcast_address:
        raise names.not_configurable(f"The address '{address}' is not one that '{subnet.id}' gives")
    if picker.is_held(tx, subnet, str(address)):
        raise ApiError("ResourceInUse", f"The address '{address}' is in use")
    return str(address)


def leave(tx: Tx, balancer: LoadBalancer) -> None:
    """Let go of every address of a balancer that is deleted."""
    for zone in balancer.zones:
        tx.delete(INTERFACE, zone.interface_id)


def shown(balancer: LoadBalancer) -> list[dict[str, Any]]:
    """Addresses are shown only where the caller may have chosen them: of internal network balancers."""
    fixed = balancer.kind == "network" and balancer.scheme == "internal"
    return [
        {
            "ZoneName": zone.zone,
            "SubnetId": zone.subnet_id,
            "LoadBalancerAddresses": [{"PrivateIPv4Address": zone.address}] if fixed else [],
        }
        for zone in balancer.zones
    ]


async def set_subnets(call: Call, params: Params) -> Result:
    if params.get("IpAddressType"):
        check_address_type(params["IpAddressType"])

    def body(tx: Tx) -> LoadBalancer:
        balancer = names.need_balancer(tx, call.scope, params["LoadBalancerArn"])
        wanted = read_wanted(params, balancer.kind, balancer.scheme)
        subnets = subnets_of(tx, call.scope, wanted, balancer.kind)
        if subnets[0].vpc_id != balancer.vpc_id:
            raise ApiError("InvalidSubnet", f"The subnets must belong to the VPC '{balancer.vpc_id}'")
        return tx.put(LOAD_BALANCER, settle(tx, call, balancer, wanted, subnets))

    balancer = await call.store.write(body)
    return {"AvailabilityZones": shown(balancer), "IpAddressType": balancer.ip_address_type}


async def set_security_groups(call: Call, params: Params) -> Result:
    enforce = params.get("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic")

    def body(tx: Tx) -> LoadBalancer:
        balancer = names.need_balancer(tx, call.scope, params["LoadBalancerArn"])
        if enforce and balancer.kind != "network":
            raise names.not_configurable("PrivateLink is only for load balancers with type 'network'")
        if balancer.kind == "network" and not balancer.security_groups:
            raise names.not_configurable(
                "You cannot set security groups for a load balancer with type 'network' that was created"
                " without any"
            )
        if not params["SecurityGroups"]:
            raise names.invalid("At least one security group must be specified")
        groups = groups_of(tx, call.scope, params["SecurityGroups"], balancer.vpc_id)
        for zone in balancer.zones:
            interface = tx.get(INTERFACE, zone.interface_id)
            if interface is not None:
                tx.put(INTERFACE, replace(interface, security_groups=groups))
        changed = replace(
            balancer, security_groups=groups, private_link_rules=enforce or balancer.private_link_rules
        )
        return tx.put(LOAD_BALANCER, changed)

    balancer = await call.store.write(body)
    return {"SecurityGroupIds": list(balancer.security_groups), **private_link(balancer)}


def private_link(balancer: LoadBalancer) -> dict[str, Any]:
    """Only network balancers with security groups tell of it."""
    if balancer.kind != "network" or not balancer.security_groups:
        return {}
    return {"EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": balancer.private_link_rules}


async def set_ip_address_type(call: Call, params: Params) -> Result:
    check_address_type(params["IpAddressType"])
    arn = params["LoadBalancerArn"]
    balancer = await call.store.read(lambda tx: names.need_balancer(tx, call.scope, arn))
    return {"IpAddressType": balancer.ip_address_type}


def check_address_type(given: str) -> None:
    if given != "ipv4":
        raise names.not_configurable(
            f"The IP address type '{given}' needs subnets with IPv6 addresses; subnets here have IPv4 only"
        )
