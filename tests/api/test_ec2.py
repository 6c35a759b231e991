"""The EC2 room on a store of its own: the default network, and the tasks' interfaces."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.state.catalog import INTERFACE
from tests.support.ec2 import Ec2, by
from tests.support.ecs import SCOPE, opened


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[Ec2]:
    async with opened(tmp_path) as ecs:
        yield Ec2(ecs)


# The default network


async def test_the_default_vpc(ec2: Ec2) -> None:
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    assert (vpc["IsDefault"], vpc["State"], vpc["CidrBlock"]) == (True, "available", "172.31.0.0/16")
    assert (vpc["OwnerId"], vpc["InstanceTenancy"], vpc["Tags"]) == (SCOPE.account, "default", [])
    assert vpc["CidrBlockAssociationSet"][0]["CidrBlock"] == vpc["CidrBlock"]
    attribute = await ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsSupport")
    assert attribute == {"VpcId": vpc["VpcId"], "EnableDnsSupport": {"Value": True}}
    attributes = (await ec2.describe_account_attributes(AttributeNames=["default-vpc"]))["AccountAttributes"]
    assert attributes == [
        {"AttributeName": "default-vpc", "AttributeValues": [{"AttributeValue": vpc["VpcId"]}]}
    ]


async def test_three_subnets_in_three_zones(ec2: Ec2) -> None:
    subnets = sorted((await ec2.describe_subnets())["Subnets"], key=lambda s: s["AvailabilityZone"])
    zones = (await ec2.describe_availability_zones())["AvailabilityZones"]
    assert [s["AvailabilityZone"] for s in subnets] == [z["ZoneName"] for z in zones]
    assert [s["AvailabilityZoneId"] for s in subnets] == ["use1-az1", "use1-az2", "use1-az3"]
    assert [s["CidrBlock"] for s in subnets] == ["172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20"]
    assert {s["AvailableIpAddressCount"] for s in subnets} == {4091}
    assert all(s["DefaultForAz"] and s["State"] == "available" for s in subnets)
    assert {z["RegionName"] for z in zones} == {"us-east-1"}
    assert (await ec2.describe_regions())["Regions"][0]["RegionName"] == "us-east-1"


async def test_the_default_group_and_its_rules(ec2: Ec2) -> None:
    (group,) = (await ec2.describe_security_groups(GroupNames=["default"]))["SecurityGroups"]
    assert group["Description"] == "default VPC security group"
    (ingress,), (egress,) = group["IpPermissions"], group["IpPermissionsEgress"]
    assert ingress["UserIdGroupPairs"] == [{"GroupId": group["GroupId"], "UserId": SCOPE.account}]
    assert (ingress["IpProtocol"], ingress["IpRanges"]) == ("-1", [])
    assert egress["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    rules = (await ec2.describe_security_group_rules(**by("group-id", group["GroupId"])))[
        "SecurityGroupRules"
    ]
    assert {(r["IsEgress"], r.get("CidrIpv4")) for r in rules} == {(False, None), (True, "0.0.0.0/0")}
    assert {r["FromPort"] for r in rules} == {-1}
    again = await ec2.describe_security_group_rules(SecurityGroupRuleIds=[rules[0]["SecurityGroupRuleId"]])
    assert again["SecurityGroupRules"] == rules[:1]


async def test_the_main_route_table_leads_out(ec2: Ec2) -> None:
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    (table,) = (await ec2.describe_route_tables(**by("association.main", "true")))["RouteTables"]
    (gateway,) = (await ec2.describe_internet_gateways(**by("attachment.vpc-id", vpc["VpcId"])))[
        "InternetGateways"
    ]
    routes = {route["DestinationCidrBlock"]: route["GatewayId"] for route in table["Routes"]}
    assert routes == {vpc["CidrBlock"]: "local", "0.0.0.0/0": gateway["InternetGatewayId"]}


# Interfaces


async def test_a_task_s_interface(ec2: Ec2) -> None:
    (record,) = await ec2.run_tasks(1)
    (shown,) = (await ec2.describe_network_interfaces())["NetworkInterfaces"]
    (task,) = (await ec2.ecs.describe_tasks(tasks=[record.task_arn]))["tasks"]
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    assert shown["NetworkInterfaceId"] == details["networkInterfaceId"]
    assert shown["PrivateIpAddress"] == details["privateIPv4Address"]
    assert shown["MacAddress"] == details["macAddress"]
    assert shown["SubnetId"] == details["subnetId"]
    assert shown["Description"].endswith(f":attachment/{task['attachments'][0]['id']}")
    assert shown["PrivateIpAddresses"] == [
        {
            "Primary": True,
            "PrivateIpAddress": record.address,
            "PrivateDnsName": f"ip-{record.address.replace('.', '-')}.ec2.internal",
        }
    ]
    assert shown["Groups"] == [{"GroupId": ec2.ecs.group, "GroupName": "default"}]
    assert (shown["Status"], shown["InterfaceType"], shown["RequesterManaged"]) == (
        "in-use",
        "interface",
        True,
    )
    assert (shown["Attachment"]["Status"], shown["OwnerId"]) == ("attached", SCOPE.account)
    subnets = (await ec2.describe_subnets(SubnetIds=[shown["SubnetId"]]))["Subnets"]
    assert subnets[0]["AvailableIpAddressCount"] == 4090
    assert shown["AvailabilityZoneId"] == subnets[0]["AvailabilityZoneId"]


async def test_a_released_interface_is_gone(ec2: Ec2) -> None:
    gone, stays = await ec2.run_tasks(2)
    await ec2.create_tags(Resources=[gone.id], Tags=[{"Key": "k", "Value": "v"}])
    await ec2.ecs.store.write(
        lambda tx: tx.put(INTERFACE, replace(tx.get(INTERFACE, gone.id), status="released"))
    )
    shown = (await ec2.describe_network_interfaces())["NetworkInterfaces"]
    assert [i["NetworkInterfaceId"] for i in shown] == [stays.id]
    with pytest.raises(ApiError, match=f"The networkInterface ID '{gone.id}' does not exist"):
        await ec2.describe_network_interfaces(NetworkInterfaceIds=[gone.id])
    assert (await ec2.describe_tags())["Tags"] == []
    with pytest.raises(ApiError, match="InvalidNetworkInterfaceID"):
        await ec2.create_tags(Resources=[gone.id], Tags=[{"Key": "k", "Value": "v"}])


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("addresses.private-ip-address", "address"),
        ("private-ip-address", "address"),
        ("mac-address", "mac"),
        ("network-interface-id", "id"),
        ("description", "description"),
    ],
)
async def test_each_identity_of_an_interface_finds_it_alone(ec2: Ec2, name: str, member: str) -> None:
    first, _, _ = await ec2.run_tasks(3)
    found = (await ec2.describe_network_interfaces(**by(name, getattr(first, member))))["NetworkInterfaces"]
    assert [i["NetworkInterfaceId"] for i in found] == [first.id]


async def test_an_interface_is_found_by_when_it_was_attached(ec2: Ec2) -> None:
    await ec2.run_tasks(1)
    for value, count in (("2027-01-15T08:00:00.000Z", 1), ("2027-*", 1), ("2026-*", 0)):
        found = await ec2.describe_network_interfaces(**by("attachment.attach-time", value))
        assert len(found["NetworkInterfaces"]) == count


async def test_another_region_has_nothing_of_this_one(ec2: Ec2) -> None:
    interfaces = await ec2.run_tasks(1)
    ec2.call = replace_scope(ec2.call, Scope(SCOPE.account, "eu-west-1"))
    for operation in (
        "describe_vpcs",
        "describe_subnets",
        "describe_security_groups",
        "describe_security_group_rules",
        "describe_network_interfaces",
        "describe_route_tables",
        "describe_internet_gateways",
        "describe_tags",
    ):
        (items,) = (await getattr(ec2, operation)()).values()
        assert items == [], operation
    with pytest.raises(ApiError, match="NotFound"):
        await ec2.create_tags(Resources=[interfaces[0].subnet_id], Tags=[{"Key": "k", "Value": "v"}])


def replace_scope(call: Any, scope: Scope) -> Any:
    return dataclasses.replace(call, scope=scope)
