"""VPCs and their attributes, and what the account has by default. Called by gateway/dispatch.

The default VPC is made by control/bootstrap; others come when they can be made.
"""

from typing import Final

from neargate.kit.errors import ApiError
from neargate.model.network import Vpc
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.derived import derived_id
from neargate.services.ec2.listing import Json, Listing, Named, check_dry_run, invalid, select, tag_list
from neargate.state.catalog import VPC
from neargate.state.store import Tx

NO_VPC: Final = Named("VpcId", "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist")
_IPV6: Final = "Ipv6CidrBlockAssociationSet"
_VPCS: Final = Listing(
    "Vpcs",
    "VpcId",
    {"VpcIds": NO_VPC},
    {
        **dict.fromkeys(("cidr", "cidr-block", "cidrBlock"), "CidrBlock"),
        "cidr-block-association.cidr-block": "CidrBlockAssociationSet.CidrBlock",
        "cidr-block-association.association-id": "CidrBlockAssociationSet.AssociationId",
        "cidr-block-association.state": "CidrBlockAssociationSet.CidrBlockState.State",
        "dhcp-options-id": "DhcpOptionsId",
        "ipv6-cidr-block-association.ipv6-cidr-block": f"{_IPV6}.Ipv6CidrBlock",
        "ipv6-cidr-block-association.ipv6-pool": f"{_IPV6}.Ipv6Pool",
        "ipv6-cidr-block-association.association-id": f"{_IPV6}.AssociationId",
        "ipv6-cidr-block-association.state": f"{_IPV6}.Ipv6CidrBlockState.State",
        **dict.fromkeys(("is-default", "isDefault"), "IsDefault"),
        "owner-id": "OwnerId",
        "state": "State",
        "vpc-id": "VpcId",
    },
)
_ATTRIBUTES: Final = {
    "enableDnsSupport": ("EnableDnsSupport", True),
    "enableDnsHostnames": ("EnableDnsHostnames", True),
    "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", False),
}


async def describe_vpcs(call: Call, params: Params) -> Result:
    check_dry_run(params)
    records = await call.store.read(lambda tx: tx.all(VPC, call.scope))
    return select(_VPCS, params, map(_shown, records))


def _shown(vpc: Vpc) -> Json:
    block = {
        "AssociationId": derived_id("vpc-cidr-assoc", vpc.id),
        "CidrBlock": vpc.cidr,
        "CidrBlockState": {"State": "associated"},
    }
    return {
        "VpcId": vpc.id,
        "OwnerId": vpc.account,
        "State": "available",
        "CidrBlock": vpc.cidr,
        "CidrBlockAssociationSet": [block],
        # "default" is EC2's word for a VPC that no options have been associated with.
        "DhcpOptionsId": "default",
        "InstanceTenancy": "default",
        "IsDefault": vpc.default,
        "Tags": tag_list(vpc.tags),
    }


async def describe_vpc_attribute(call: Call, params: Params) -> Result:
    check_dry_run(params)
    attribute, id = params["Attribute"], params["VpcId"]
    if attribute not in _ATTRIBUTES:
        raise invalid(
            f"Value ({attribute}) for parameter attribute is invalid. It must be one of"
            f" {', '.join(_ATTRIBUTES)}."
        )
    await call.store.read(lambda tx: need_vpc(tx, call, id))
    member, value = _ATTRIBUTES[attribute]
    return {"VpcId": id, member: {"Value": value}}


def need_vpc(tx: Tx, call: Call, id: str) -> Vpc:
    vpc = tx.get(VPC, id)
    if vpc is None or (vpc.account, vpc.region) != (call.scope.account, call.scope.region):
        raise ApiError(NO_VPC.code, NO_VPC.message.format(id))
    return vpc


async def describe_account_attributes(call: Call, params: Params) -> Result:
    check_dry_run(params)
    vpcs = await call.store.read(lambda tx: tx.all(VPC, call.scope))
    values = {
        "supported-platforms": ["VPC"],
        "default-vpc": [vpc.id for vpc in vpcs if vpc.default] or ["none"],
    }
    asked = params.get("AttributeNames") or list(values)
    for name in asked:
        if name not in values:
            raise invalid(f"Value ({name}) for parameter attributeName is invalid. Unknown attribute.")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": v} for v in values[name]]}
            for name in dict.fromkeys(asked)
        ]
    }
