"""Route tables and internet gateways: each VPC's main table and the gateway that it leads out through.

Called by gateway/dispatch. They follow from the VPC (a local route, and the node's NAT for all else), so they
have no records yet; those come when a user can make one.
"""

from typing import Final

from neargate.model.network import Vpc
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.derived import derived_id
from neargate.services.ec2.listing import Json, Listing, Named, check_dry_run, select
from neargate.state.catalog import VPC

_TABLES: Final = Listing(
    "RouteTables",
    "RouteTableId",
    {
        "RouteTableIds": Named(
            "RouteTableId", "InvalidRouteTableID.NotFound", "The routeTable ID '{}' does not exist"
        )
    },
    {
        "association.gateway-id": "Associations.GatewayId",
        "association.main": "Associations.Main",
        "association.route-table-association-id": "Associations.RouteTableAssociationId",
        "association.route-table-id": "Associations.RouteTableId",
        "association.subnet-id": "Associations.SubnetId",
        "owner-id": "OwnerId",
        "route-table-id": "RouteTableId",
        "route.destination-cidr-block": "Routes.DestinationCidrBlock",
        "route.destination-ipv6-cidr-block": "Routes.DestinationIpv6CidrBlock",
        "route.destination-prefix-list-id": "Routes.DestinationPrefixListId",
        "route.egress-only-internet-gateway-id": "Routes.EgressOnlyInternetGatewayId",
        "route.gateway-id": "Routes.GatewayId",
        "route.instance-id": "Routes.InstanceId",
        "route.nat-gateway-id": "Routes.NatGatewayId",
        "route.origin": "Routes.Origin",
        "route.state": "Routes.State",
        "route.transit-gateway-id": "Routes.TransitGatewayId",
        "route.vpc-peering-connection-id": "Routes.VpcPeeringConnectionId",
        "vpc-id": "VpcId",
    },
)
_GATEWAYS: Final = Listing(
    "InternetGateways",
    "InternetGatewayId",
    {
        "InternetGatewayIds": Named(
            "InternetGatewayId",
            "InvalidInternetGatewayID.NotFound",
            "The internetGateway ID '{}' does not exist",
        )
    },
    {
        "attachment.state": "Attachments.State",
        "attachment.vpc-id": "Attachments.VpcId",
        "internet-gateway-id": "InternetGatewayId",
        "owner-id": "OwnerId",
    },
)


async def describe_route_tables(call: Call, params: Params) -> Result:
    check_dry_run(params)
    vpcs = await call.store.read(lambda tx: tx.all(VPC, call.scope))
    return select(_TABLES, params, map(_table, vpcs))


async def describe_internet_gateways(call: Call, params: Params) -> Result:
    check_dry_run(params)
    vpcs = await call.store.read(lambda tx: tx.all(VPC, call.scope))
    return select(_GATEWAYS, params, map(_gateway, vpcs))


def _gateway_id(vpc: Vpc) -> str:
    return derived_id("igw", vpc.id)


def _table(vpc: Vpc) -> Json:
    id = derived_id("rtb", vpc.id)
    association = {
        "Main": True,
        "RouteTableAssociationId": derived_id("rtbassoc", vpc.id),
        "RouteTableId": id,
        "AssociationState": {"State": "associated"},
    }
    return {
        "RouteTableId": id,
        "VpcId": vpc.id,
        "OwnerId": vpc.account,
        "Associations": [association],
        "PropagatingVgws": [],
        "Routes": [
            _route(vpc.cidr, "local", "CreateRouteTable"),
            _route("0.0.0.0/0", _gateway_id(vpc), "CreateRoute"),
        ],
        "Tags": [],
    }


def _route(destination: str, gateway: str, origin: str) -> Json:
    return {
        "DestinationCidrBlock": destination,
        "GatewayId": gateway,
        "Origin": origin,
        "State": "active",
    }


def _gateway(vpc: Vpc) -> Json:
    return {
        "InternetGatewayId": _gateway_id(vpc),
        "OwnerId": vpc.account,
        "Attachments": [{"VpcId": vpc.id, "State": "available"}],
        "Tags": [],
    }
