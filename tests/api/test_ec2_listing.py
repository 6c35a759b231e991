"""What EC2's describing operations find, and in which pages; what they refuse."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.services.ec2.listing import Listing, Named, select
from neargate.state.catalog import INTERFACE
from tests.support.ec2 import FUNCTIONS, MODEL, OPERATIONS, Ec2, by
from tests.support.ecs import opened


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[Ec2]:
    async with opened(tmp_path) as ecs:
        yield Ec2(ecs)


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
    text = MODEL.operation_model(operation).input_shape.members["Filters"].documentation
    return [n for n in re.findall(r"<p> ?<code>([^<]+)</code>", text) if not n.startswith("tag")]


@pytest.mark.parametrize(
    ("operation", "filter"),
    [
        (name, filter)
        for name in sorted(FUNCTIONS)
        if "Filters" in MODEL.operation_model(OPERATIONS[name]).input_shape.members
        for filter in _documented(OPERATIONS[name])
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
        await FUNCTIONS[operation](ec2.call, params)
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
