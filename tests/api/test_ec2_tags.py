"""Tags of EC2's resources."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.kit.errors import ApiError
from tests.support.ec2 import Ec2, by
from tests.support.ecs import opened


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[Ec2]:
    async with opened(tmp_path) as ecs:
        yield Ec2(ecs)


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
