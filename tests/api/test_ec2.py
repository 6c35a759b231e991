"""The EC2 room on a store of its own: the default network, the tasks' interfaces, filters, pages, tags.

What goes in and what comes out is held against botocore's model.
"""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import neargate.services.ec2
from neargate.control import placement
from neargate.kit.errors import ApiError
from neargate.model.network import Interface
from neargate.model.record import Scope
from neargate.services.ec2.listing import Listing, Named, select
from neargate.state.catalog import INTERFACE, SUBNET, TASK
from tests.support.ecs import SCOPE, Ecs, definition, opened

_MODEL = botocore.model.ServiceModel(
    botocore.loaders.create_loader().load_service_model("ec2", "service-2"), "ec2"
)
_OPERATIONS = {xform_name(name): name for name in _MODEL.operation_names}
_FUNCTIONS = {
    name: function
    for info in pkgutil.iter_modules(neargate.services.ec2.__path__)
    for name, function in vars(importlib.import_module(f"neargate.services.ec2.{info.name}")).items()
    if name in _OPERATIONS
}


class Ec2:
    """`await ec2.describe_vpcs(VpcIds=[…])` answers, or raises ApiError."""

    def __init__(self, ecs: Ecs) -> None:
        self.ecs = ecs
        self.call = ecs.call

    def __getattr__(self, operation: str) -> Any:
        model = _MODEL.operation_model(_OPERATIONS[operation])

        async def run(**params: Any) -> dict[str, Any]:
            _check(params, model.input_shape)
            result: dict[str, Any] = await _FUNCTIONS[operation](self.call, params)
            if model.output_shape is not None:
                _check(result, model.output_shape)
            return result

        return run

    async def run_tasks(self, count: int) -> list[Interface]:
        """Tasks placed as the placement loop does it; their interfaces."""
        if not await self.ecs.store.read(lambda tx: tx.all(TASK)):
            await self.ecs.create_cluster()
            await self.ecs.register_task_definition(**definition())
        answer = await self.ecs.run(count=count)
        arns = [task["taskArn"] for task in answer["tasks"]]

        def place(tx: Any) -> list[Interface]:
            subnets = tx.all(SUBNET)
            tasks = [tx.get(TASK, arn) for arn in arns]
            actions = [placement.Place(t, "node", subnets[i % 3]) for i, t in enumerate(tasks)]
            placement.apply(tx, actions, self.call.ids, self.call.now())
            return [tx.get(INTERFACE, tx.get(TASK, arn).interface_id) for arn in arns]

        return await self.ecs.store.write(place)


def _check(value: Any, shape: Any) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[Ec2]:
    async with opened(tmp_path) as ecs:
        yield Ec2(ecs)


def by(name: str, *values: str) -> dict[str, Any]:
    return {"Filters": [{"Name": name, "Values": list(values)}]}


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


# Filters


@pytest.mark.parametrize(
    ("operation", "filter", "values", "count"),
    [
        ("describe_vpcs", "is-default", ["true"], 1),
        ("describe_vpcs", "isDefault", ["false"], 0),
        ("describe_vpcs", "cidr", ["172.31.*"], 1),
        ("describe_vpcs", "cidr-block-association.state", ["associated"], 1),
        ("describe_vpcs", "ipv6-cidr-block-association.state", ["*"], 0),
        ("describe_vpcs", "vpc-id", ["vpc-nothing"], 0),
        ("describe_subnets", "availability-zone", ["us-east-1a", "us-east-1b"], 2),
        ("describe_subnets", "availability-zone", ["us-east-1?"], 3),
        ("describe_subnets", "availability-zone", ["US-EAST-1A"], 0),
        ("describe_subnets", "availability-zone-id", ["use1-az3"], 1),
        ("describe_subnets", "available-ip-address-count", ["4091"], 3),
        ("describe_subnets", "default-for-az", ["true"], 3),
        ("describe_subnets", "state", ["pending"], 0),
        ("describe_security_groups", "group-name", ["default"], 1),
        ("describe_security_groups", "ip-permission.protocol", ["-1"], 1),
        ("describe_security_groups", "ip-permission.cidr", ["0.0.0.0/0"], 0),
        ("describe_security_groups", "egress.ip-permission.cidr", ["0.0.0.0/0"], 1),
        ("describe_availability_zones", "zone-name", ["us-east-1c"], 1),
        ("describe_availability_zones", "state", ["available"], 3),
        ("describe_regions", "region-name", ["eu-*"], 0),
        ("describe_regions", "endpoint", ["*us-east*"], 1),
        ("describe_route_tables", "route.gateway-id", ["igw-*"], 1),
        ("describe_route_tables", "association.subnet-id", ["*"], 0),
        ("describe_internet_gateways", "attachment.state", ["available"], 1),
    ],
)
async def test_filters(ec2: Ec2, operation: str, filter: str, values: list[str], count: int) -> None:
    answer = await getattr(ec2, operation)(**by(filter, *values))
    (items,) = answer.values()
    assert len(items) == count


async def test_filters_all_hold_and_any_of_their_values(ec2: Ec2) -> None:
    filters = [
        {"Name": "availability-zone", "Values": ["us-east-1a", "us-east-1b"]},
        {"Name": "cidr-block", "Values": ["172.31.16.0/20", "172.31.32.0/20"]},
    ]
    (found,) = (await ec2.describe_subnets(Filters=filters))["Subnets"]
    assert found["AvailabilityZone"] == "us-east-1b"


def _documented(operation: str) -> list[str]:
    """The names in the documentation of an operation's filters (tags have tests of their own)."""
    text = _MODEL.operation_model(operation).input_shape.members["Filters"].documentation
    return [n for n in re.findall(r"<p> ?<code>([^<]+)</code>", text) if not n.startswith("tag")]


@pytest.mark.parametrize(
    ("operation", "filter"),
    [
        (name, filter)
        for name in sorted(_FUNCTIONS)
        if "Filters" in _MODEL.operation_model(_OPERATIONS[name]).input_shape.members
        for filter in _documented(_OPERATIONS[name])
    ],
)
async def test_every_documented_filter_is_known(ec2: Ec2, operation: str, filter: str) -> None:
    await ec2.run_tasks(1)
    await getattr(ec2, operation)(**by(filter, "*"))


GLOBS = st.text(alphabet="ab*?\\", max_size=8)
TEXTS = st.text(alphabet="ab*?\\\n", max_size=8)


def matches(pattern: str, text: str) -> bool:
    """What a filter's value means, said another way: by trying every split."""
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return any(matches(rest, text[i:]) for i in range(len(text) + 1))
    if head == "\\" and rest:
        return text[:1] == rest[0] and matches(rest[1:], text[1:])
    return bool(text) and head in ("?", text[0]) and matches(rest, text[1:])


def items(*texts: str) -> list[dict[str, Any]]:
    return [{"Id": text, "Tags": []} for text in texts]


LISTING = Listing("Items", "Id", {"Ids": Named("Id", "NotFound", "no '{}'")}, {"id": "Id"})


@given(GLOBS, TEXTS)
def test_wildcards(pattern: str, text: str) -> None:
    if not pattern:
        return
    found = select(LISTING, by("id", pattern), items(text))["Items"]
    assert bool(found) == matches(pattern, text)


def test_no_pattern_is_slow() -> None:
    """This one takes a matcher that tries every split longer than any test may."""
    assert select(LISTING, by("id", "*a" * 60 + "*b"), items("a" * 5000))["Items"] == []


# Errors


@pytest.mark.parametrize(
    ("operation", "params", "code", "message"),
    [
        (
            "describe_vpcs",
            {"VpcIds": ["vpc-x"]},
            "InvalidVpcID.NotFound",
            "The vpc ID 'vpc-x' does not exist",
        ),
        (
            "describe_subnets",
            {"SubnetIds": ["subnet-x"]},
            "InvalidSubnetID.NotFound",
            "The subnet ID 'subnet-x' does not exist",
        ),
        (
            "describe_security_groups",
            {"GroupIds": ["sg-x"]},
            "InvalidGroup.NotFound",
            "The security group 'sg-x' does not exist",
        ),
        (
            "describe_security_groups",
            {"GroupNames": ["web"]},
            "InvalidGroup.NotFound",
            "The security group 'web' does not exist in default VPC 'vpc-",
        ),
        (
            "describe_network_interfaces",
            {"NetworkInterfaceIds": ["eni-x"]},
            "InvalidNetworkInterfaceID.NotFound",
            "The networkInterface ID 'eni-x' does not exist",
        ),
        ("describe_route_tables", {"RouteTableIds": ["rtb-x"]}, "InvalidRouteTableID.NotFound", "'rtb-x'"),
        (
            "describe_internet_gateways",
            {"InternetGatewayIds": ["igw-x"]},
            "InvalidInternetGatewayID.NotFound",
            "'igw-x'",
        ),
        (
            "describe_vpc_attribute",
            {"VpcId": "vpc-x", "Attribute": "enableDnsSupport"},
            "InvalidVpcID.NotFound",
            "'vpc-x'",
        ),
        ("describe_vpc_attribute", {"VpcId": "vpc-x", "Attribute": "mood"}, "InvalidParameterValue", "mood"),
        ("describe_regions", {"RegionNames": ["mars-1"]}, "InvalidParameterValue", "mars-1"),
        ("describe_availability_zones", {"ZoneIds": ["use1-az9"]}, "InvalidParameterValue", "use1-az9"),
        ("describe_account_attributes", {"AttributeNames": ["x"]}, "InvalidParameterValue", "x"),
        ("describe_vpcs", by("mood", "x"), "InvalidParameterValue", "The filter 'mood' is invalid"),
        ("describe_vpcs", by("x"), "InvalidParameterValue", "The filter 'x' is invalid"),
        ("describe_vpcs", {"Filters": [{}]}, "InvalidParameterValue", "The filter 'null' is invalid"),
        ("describe_vpcs", by("state"), "MissingParameter", "state"),
        ("describe_regions", by("tag:x", "y"), "InvalidParameterValue", "The filter 'tag:x' is invalid"),
        ("describe_vpcs", {"NextToken": "rubbish"}, "InvalidParameterValue", "pagination token"),
        ("describe_vpcs", {"NextToken": "é"}, "InvalidParameterValue", "pagination token"),
        ("describe_vpcs", {"NextToken": "WzEsMl0="}, "InvalidParameterValue", "pagination token"),
        ("describe_vpcs", {"NextToken": "e30="}, "InvalidParameterValue", "pagination token"),
        ("describe_tags", {"MaxResults": 4}, "InvalidParameterValue", "greater than 5"),
        ("describe_tags", {"MaxResults": 1001}, "InvalidParameterValue", "less than 1000"),
        ("describe_vpcs", {"DryRun": True}, "DryRunOperation", "Request would have succeeded"),
        ("create_tags", {"Resources": ["i-1"], "Tags": []}, "InvalidID", "'i-1'"),
        ("create_tags", {"Resources": ["vpc-1"], "Tags": []}, "InvalidVpcID.NotFound", "'vpc-1'"),
        ("create_tags", {"Resources": ["igw-1"], "Tags": []}, "UnsupportedOperation", "internet gateways"),
    ],
)
async def test_errors(ec2: Ec2, operation: str, params: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ApiError) as raised:
        await _FUNCTIONS[operation](ec2.call, params)
    assert raised.value.code == code
    assert message in raised.value.message


# Pages


@given(st.sets(st.text(min_size=1, max_size=5), max_size=30), st.integers(5, 10))
def test_pages_hold_every_item_once(names: set[str], size: int) -> None:
    seen: list[str] = []
    token: dict[str, str] = {}
    for _ in range(20):
        page = select(LISTING, {"MaxResults": size, **token}, items(*names))
        assert len(page["Items"]) <= size
        seen += [item["Id"] for item in page["Items"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == sorted(names)


async def test_a_page_goes_on_where_the_last_one_ended_though_items_went(ec2: Ec2) -> None:
    interfaces = sorted((await ec2.run_tasks(10)) + (await ec2.run_tasks(2)), key=lambda i: i.id)
    first = await ec2.describe_network_interfaces(MaxResults=5)
    last_shown = first["NetworkInterfaces"][-1]["NetworkInterfaceId"]
    await ec2.ecs.store.write(lambda tx: tx.delete(INTERFACE, last_shown))
    second = await ec2.describe_network_interfaces(MaxResults=1000, NextToken=first["NextToken"])
    assert [i["NetworkInterfaceId"] for i in second["NetworkInterfaces"]] == [i.id for i in interfaces[5:]]
    assert "NextToken" not in second


async def test_a_token_of_another_operation_is_refused(ec2: Ec2) -> None:
    await ec2.run_tasks(8)
    token = (await ec2.describe_network_interfaces(MaxResults=5))["NextToken"]
    with pytest.raises(ApiError, match="pagination token"):
        await ec2.describe_vpcs(NextToken=token)


# Tags


async def test_tags_are_kept_shown_and_found(ec2: Ec2) -> None:
    (interface,) = await ec2.run_tasks(1)
    ids = [interface.vpc_id, interface.subnet_id, ec2.ecs.group, interface.id]
    tags = [{"Key": "team", "Value": "blue"}, {"Key": "empty", "Value": ""}]
    assert await ec2.create_tags(Resources=ids, Tags=tags) == {}
    shown = sorted(tags, key=lambda tag: tag["Key"])
    assert (await ec2.describe_vpcs())["Vpcs"][0]["Tags"] == shown
    assert (await ec2.describe_subnets(SubnetIds=[interface.subnet_id]))["Subnets"][0]["Tags"] == shown
    assert (await ec2.describe_security_groups())["SecurityGroups"][0]["Tags"] == shown
    assert (await ec2.describe_network_interfaces())["NetworkInterfaces"][0]["TagSet"] == shown
    for filters in (by("tag:team", "b*"), by("tag-key", "team"), by("tag-value", "blue")):
        assert len((await ec2.describe_subnets(**filters))["Subnets"]) == 1
    assert (await ec2.describe_subnets(**by("tag:team", "red")))["Subnets"] == []
    assert (await ec2.describe_subnets(**by("tag:blue", "team")))["Subnets"] == []
    types = {"vpc", "subnet", "security-group", "network-interface"}
    for filters in (by("key", "team"), by("tag:team", "blue"), by("value", "blue")):
        found = (await ec2.describe_tags(**filters))["Tags"]
        assert {(t["ResourceType"], t["Key"], t["Value"]) for t in found} == {
            (x, "team", "blue") for x in types
        }
    (found,) = (
        await ec2.describe_tags(Filters=by("resource-type", "vpc")["Filters"] + by("key", "t*")["Filters"])
    )["Tags"]
    assert found["ResourceId"] == interface.vpc_id


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ([{"Key": "a"}], {"b": "2", "c": ""}),
        ([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "other"}], {"b": "2", "c": ""}),
        ([{"Key": "c", "Value": ""}], {"a": "1", "b": "2"}),
        ([{"Key": "a", "Value": ""}], {"a": "1", "b": "2", "c": ""}),
        ([], {}),
        ([{"Key": "none"}], {"a": "1", "b": "2", "c": ""}),
    ],
)
async def test_tags_are_deleted_by_key_or_by_key_and_value(
    ec2: Ec2, asked: list[dict[str, str]], left: dict[str, str]
) -> None:
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    tags = [{"Key": k, "Value": v} for k, v in {"a": "1", "b": "2", "c": ""}.items()]
    await ec2.create_tags(Resources=[vpc["VpcId"]], Tags=tags)
    await ec2.delete_tags(Resources=[vpc["VpcId"]], Tags=asked)
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    assert {tag["Key"]: tag["Value"] for tag in vpc["Tags"]} == left


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([{"Key": "aws:x", "Value": ""}], "InvalidParameterValue"),
        ([{"Key": "", "Value": ""}], "InvalidParameterValue"),
        ([{"Value": "x"}], "InvalidParameterValue"),
        ([{"Key": "k" * 129, "Value": ""}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "v" * 257}], "InvalidParameterValue"),
        ([{"Key": "k\x00", "Value": "v"}], "InvalidParameterValue"),
        ([{"Key": f"k{i}", "Value": ""} for i in range(51)], "TagLimitExceeded"),
    ],
)
async def test_bad_tags_change_nothing(ec2: Ec2, tags: list[dict[str, str]], code: str) -> None:
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    with pytest.raises(ApiError) as raised:
        await ec2.create_tags(Resources=[vpc["VpcId"]], Tags=tags)
    assert raised.value.code == code
    with pytest.raises(ApiError, match="NotFound"):
        await ec2.create_tags(Resources=[vpc["VpcId"], "sg-none"], Tags=[{"Key": "k", "Value": "v"}])
    assert (await ec2.describe_tags())["Tags"] == []
