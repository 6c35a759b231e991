"""Subnets, with how many addresses each has left. Called by gateway/dispatch.

Made by control/bootstrap; control/placement gives their addresses to tasks.
"""

from typing import Final

from neargate.model import addresses
from neargate.model.network import Subnet
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.listing import Json, Listing, Named, check_dry_run, select, tag_list
from neargate.state.catalog import INTERFACE, SUBNET
from neargate.state.store import Tx

_NO_SUBNET: Final = Named("SubnetId", "InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist")
_IPV6: Final = "Ipv6CidrBlockAssociationSet"
_NAMES: Final = "PrivateDnsNameOptionsOnLaunch"
_SUBNETS: Final = Listing(
    "Subnets",
    "SubnetId",
    {"SubnetIds": _NO_SUBNET},
    {
        **dict.fromkeys(("availability-zone", "availabilityZone"), "AvailabilityZone"),
        **dict.fromkeys(("availability-zone-id", "availabilityZoneId"), "AvailabilityZoneId"),
        "available-ip-address-count": "AvailableIpAddressCount",
        **dict.fromkeys(("cidr", "cidr-block", "cidrBlock"), "CidrBlock"),
        "customer-owned-ipv4-pool": "CustomerOwnedIpv4Pool",
        **dict.fromkeys(("default-for-az", "defaultForAz"), "DefaultForAz"),
        "enable-dns64": "EnableDns64",
        "enable-lni-at-device-index": "EnableLniAtDeviceIndex",
        "ipv6-cidr-block-association.ipv6-cidr-block": f"{_IPV6}.Ipv6CidrBlock",
        "ipv6-cidr-block-association.association-id": f"{_IPV6}.AssociationId",
        "ipv6-cidr-block-association.state": f"{_IPV6}.Ipv6CidrBlockState.State",
        "ipv6-native": "Ipv6Native",
        "map-customer-owned-ip-on-launch": "MapCustomerOwnedIpOnLaunch",
        "map-public-ip-on-launch": "MapPublicIpOnLaunch",
        "outpost-arn": "OutpostArn",
        "owner-id": "OwnerId",
        "private-dns-name-options-on-launch.hostname-type": f"{_NAMES}.HostnameType",
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": (
            f"{_NAMES}.EnableResourceNameDnsARecord"
        ),
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": (
            f"{_NAMES}.EnableResourceNameDnsAAAARecord"
        ),
        "state": "State",
        "subnet-arn": "SubnetArn",
        "subnet-id": "SubnetId",
        "vpc-id": "VpcId",
    },
)


async def describe_subnets(call: Call, params: Params) -> Result:
    check_dry_run(params)

    def body(tx: Tx) -> list[Json]:
        return [_shown(subnet, _left(tx, subnet)) for subnet in tx.all(SUBNET, call.scope)]

    return select(_SUBNETS, params, await call.store.read(body))


def _left(tx: Tx, subnet: Subnet) -> int:
    return max(0, addresses.usable(subnet.cidr) - tx.count(INTERFACE, "subnet", subnet.id))


def _shown(subnet: Subnet, left: int) -> Json:
    return {
        "SubnetId": subnet.id,
        "SubnetArn": f"arn:aws:ec2:{subnet.region}:{subnet.account}:subnet/{subnet.id}",
        "VpcId": subnet.vpc_id,
        "OwnerId": subnet.account,
        "State": "available",
        "CidrBlock": subnet.cidr,
        "Ipv6CidrBlockAssociationSet": [],
        "AvailabilityZone": subnet.zone,
        "AvailabilityZoneId": subnet.zone_id,
        "AvailableIpAddressCount": left,
        "DefaultForAz": subnet.default,
        "MapPublicIpOnLaunch": subnet.default,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "EnableDns64": False,
        "Ipv6Native": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "Tags": tag_list(subnet.tags),
    }
