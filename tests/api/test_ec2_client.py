"""EC2 and STS as boto3 sees them: a whole daemon with the fake driver; errors, waiters, pages, interfaces."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door
from tests.support.ecs import definition


def run_task(door: Door, count: int = 1) -> list[dict[str, Any]]:
    """Tasks that run, as DescribeTasks shows them."""
    ecs, ec2 = door.client("ecs"), door.client("ec2")
    ecs.create_cluster()
    ecs.register_task_definition(**definition())
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]]
    network = {"awsvpcConfiguration": {"subnets": subnets}}
    started = ecs.run_task(
        taskDefinition="web", count=count, launchType="FARGATE", networkConfiguration=network
    )
    arns = [task["taskArn"] for task in started["tasks"]]
    ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})
    tasks: list[dict[str, Any]] = ecs.describe_tasks(tasks=arns)["tasks"]
    return tasks


def interface_id(task: dict[str, Any]) -> str:
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    return str(details["networkInterfaceId"])


def test_the_caller_is_root(door: Door) -> None:
    answer = door.client("sts").get_caller_identity()
    account = door.settings.account_id
    assert (answer["Account"], answer["UserId"]) == (account, account)
    assert answer["Arn"] == f"arn:aws:iam::{account}:root"


def test_the_network_is_ready_for_every_waiter(door: Door) -> None:
    ec2 = door.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    once = {"Delay": 1, "MaxAttempts": 1}
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc["VpcId"]], WaiterConfig=once)
    ec2.get_waiter("subnet_available").wait(SubnetIds=[s["SubnetId"] for s in subnets], WaiterConfig=once)
    ec2.get_waiter("security_group_exists").wait(GroupNames=["default"], WaiterConfig=once)
    ec2.get_waiter("internet_gateway_exists").wait(WaiterConfig=once)
    assert ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsHostnames")[
        "EnableDnsHostnames"
    ]["Value"]


def test_a_task_s_interface_comes_and_goes_with_it(door: Door) -> None:
    ec2, ecs = door.client("ec2"), door.client("ecs")
    (task,) = run_task(door)
    id = interface_id(task)
    (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
    address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
    assert (shown["PrivateIpAddress"], shown["Status"]) == (address, "in-use")
    assert shown["AvailabilityZone"] == task["availabilityZone"]
    assert shown["Attachment"]["AttachTime"] >= task["createdAt"].replace(microsecond=0)
    ecs.stop_task(task=task["taskArn"])
    ecs.get_waiter("tasks_stopped").wait(
        tasks=[task["taskArn"]], WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200}
    )
    door.released()
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    with pytest.raises(ClientError, match="InvalidNetworkInterfaceID"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[id])


def test_pages_of_interfaces(door: Door) -> None:
    tasks = run_task(door, 10)
    pages = list(
        door.client("ec2")
        .get_paginator("describe_network_interfaces")
        .paginate(PaginationConfig={"PageSize": 5})
    )
    assert [len(page["NetworkInterfaces"]) for page in pages] == [5, 5]
    found = [i["NetworkInterfaceId"] for page in pages for i in page["NetworkInterfaces"]]
    assert sorted(found) == sorted(map(interface_id, tasks))


def test_tags_by_client_and_gone_after_a_reset(door: Door) -> None:
    ec2 = door.client("ec2")
    (group,) = ec2.describe_security_groups()["SecurityGroups"]
    tags = [{"Key": "<team> & 'co'", "Value": "blau ☂"}, {"Key": "empty", "Value": ""}]
    ec2.create_tags(Resources=[group["GroupId"]], Tags=tags)
    assert ec2.describe_security_groups()["SecurityGroups"][0]["Tags"] == tags
    (found,) = ec2.describe_tags(Filters=[{"Name": "value", "Values": ["blau*"]}])["Tags"]
    assert (found["ResourceId"], found["ResourceType"]) == (group["GroupId"], "security-group")
    ec2.delete_tags(Resources=[group["GroupId"]], Tags=[{"Key": "empty"}])
    assert ec2.describe_security_groups()["SecurityGroups"][0]["Tags"] == tags[:1]
    door.forget()
    assert ec2.describe_tags()["Tags"] == []
    assert ec2.describe_security_groups()["SecurityGroups"] == [{**group, "Tags": []}]


@pytest.mark.parametrize(
    ("call", "code", "message", "status"),
    [
        (lambda c: c.describe_vpcs(VpcIds=["vpc-x"]), "InvalidVpcID.NotFound", "'vpc-x' does not exist", 400),
        (
            lambda c: c.describe_subnets(Filters=[{"Name": "mood", "Values": ["x"]}]),
            "InvalidParameterValue",
            "The filter 'mood' is invalid",
            400,
        ),
        (lambda c: c.describe_vpcs(DryRun=True), "DryRunOperation", "DryRun flag is set", 412),
        (lambda c: c.describe_instances(), None, "DescribeInstances", 501),
    ],
)
def test_errors_as_clients_see_them(
    door: Door, call: Callable[[Any], Any], code: str | None, message: str, status: int
) -> None:
    with pytest.raises(ClientError) as raised:
        call(door.client("ec2"))
    error = raised.value.response
    assert code in (None, error["Error"]["Code"])
    assert message in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
