"""Application Auto Scaling through boto3: targets, pages, tags, a request that wakes a service."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.state.catalog import TASK
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.store import Tx
from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.support.scaling import ECS, PLACE, RESOURCE, refused, register, service_to_scale, stepped


@pytest.fixture
def scaling(door: Door) -> Iterator[Any]:
    with service_to_scale(door) as client:
        yield client


def test_a_target_from_birth_to_death(scaling: Any) -> None:
    arn = register(scaling, 1, 4, Tags={"team": "a"})
    assert re.fullmatch(
        r"arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/[0-9a-f]+", arn
    )
    [target] = scaling.describe_scalable_targets(**ECS)["ScalableTargets"]
    assert target["CreationTime"] <= datetime.now(UTC)
    assert {name: target[name] for name in (*PLACE, "MinCapacity", "MaxCapacity")} == {
        **PLACE,
        "MinCapacity": 1,
        "MaxCapacity": 4,
    }
    assert target["RoleARN"].endswith("/AWSServiceRoleForApplicationAutoScaling_ECSService")
    assert set(target["SuspendedState"].values()) == {False}
    scaling.register_scalable_target(
        **PLACE, MaxCapacity=6, SuspendedState={"DynamicScalingInSuspended": True}
    )
    scaling.register_scalable_target(**PLACE, SuspendedState={"ScheduledScalingSuspended": True})
    [target] = scaling.describe_scalable_targets(**ECS, ResourceIds=[RESOURCE])["ScalableTargets"]
    assert (target["ScalableTargetARN"], target["MinCapacity"], target["MaxCapacity"]) == (arn, 1, 6)
    assert target["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": True,
    }
    assert scaling.describe_scalable_targets(**ECS, ResourceIds=["service/a/b"])["ScalableTargets"] == []
    assert scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"] == []
    scaling.deregister_scalable_target(**PLACE)
    assert scaling.describe_scalable_targets(**ECS)["ScalableTargets"] == []
    assert refused("ObjectNotFoundException", scaling.deregister_scalable_target, **PLACE) == (
        "No scalable target registered for service namespace: ecs, resource ID: service/web/api,"
        " scalable dimension: ecs:service:DesiredCount"
    )


def test_what_cannot_be_a_target(scaling: Any) -> None:
    both = {"MinCapacity": 1, "MaxCapacity": 2}
    register_target = scaling.register_scalable_target
    other = {**PLACE, "ResourceId": "service/web/other"}
    assert refused("ValidationException", register_target, **other, **both) == (
        "ECS service doesn't exist: service/web/other"
    )
    table = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/t",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    assert "dynamodb is not scaled here" in refused("ValidationException", register_target, **table, **both)
    wrong = {**PLACE, "ScalableDimension": "dynamodb:table:ReadCapacityUnits"}
    assert refused("ValidationException", register_target, **wrong, **both) == (
        "Unsupported service namespace, resource type or scalable dimension"
    )
    for resource in ("service/web", "service/web/api/x", "arn:aws:ecs:x", "service/web/a b"):
        refused("ValidationException", register_target, **{**PLACE, "ResourceId": resource}, **both)
    assert refused("ValidationException", register_target, **PLACE, MinCapacity=3, MaxCapacity=2) == (
        "Maximum capacity cannot be less than minimum capacity"
    )
    refused("ValidationException", register_target, **PLACE, MinCapacity=1)
    refused("ValidationException", register_target, **PLACE, MinCapacity=-1, MaxCapacity=2)
    register(scaling, 2, 4)
    refused("ValidationException", register_target, **PLACE, MaxCapacity=1)
    assert scaling.describe_scalable_targets(**ECS)["ScalableTargets"][0]["MaxCapacity"] == 4


def test_pages_and_tokens(scaling: Any) -> None:
    register(scaling)
    for number in range(5):
        stepped(scaling, f"p{number}")
    names: list[str] = []
    params = dict(ECS, MaxResults=2)
    while True:
        answer = scaling.describe_scaling_policies(**params)
        names += [policy["PolicyName"] for policy in answer["ScalingPolicies"]]
        if "NextToken" not in answer:
            break
        params["NextToken"] = answer["NextToken"]
    assert names == [f"p{number}" for number in range(5)]
    refused("InvalidNextTokenException", scaling.describe_scaling_policies, **ECS, NextToken="no token")
    for wrong in (0, 51, -1):
        refused("ValidationException", scaling.describe_scaling_policies, **ECS, MaxResults=wrong)


def test_tags(scaling: Any) -> None:
    arn = register(scaling, Tags={"team": "a"})
    scaling.tag_resource(ResourceARN=arn, Tags={"x": "1", "y": ""})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["x", "none"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a", "y": ""}
    refused("ValidationException", scaling.tag_resource, ResourceARN=arn, Tags={"aws:x": "1"})
    many = {str(number): "" for number in range(60)}
    refused("TooManyTagsException", scaling.tag_resource, ResourceARN=arn, Tags=many)
    other = arn[:-4] + "0000"
    refused("ResourceNotFoundException", scaling.list_tags_for_resource, ResourceARN=other)
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a", "y": ""}


def test_a_request_wakes_a_service_that_sleeps(door: Door) -> None:
    """What the data plane does when a request finds no target, and what becomes of it."""
    ecs, elb, ec2 = (door.client(name) for name in ("ecs", "elbv2", "ec2"))
    network = ec2.describe_subnets()["Subnets"]
    subnets = [subnet["SubnetId"] for subnet in network]
    made = elb.create_target_group(
        Name="zero", Protocol="HTTP", Port=80, VpcId=network[0]["VpcId"], TargetType="ip"
    )
    group = made["TargetGroups"][0]["TargetGroupArn"]
    values = {"neargate.scale_to_zero.enabled": "true", "neargate.scale_to_zero.idle_seconds": "3600"}
    attributes = [{"Key": key, "Value": value} for key, value in values.items()]
    elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=attributes)
    shown = elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
    assert {it["Key"]: it["Value"] for it in shown}.items() >= values.items()
    balancer = elb.create_load_balancer(Name="zero", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": group}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    ecs.create_cluster(clusterName="web")
    ecs.register_task_definition(**definition(container("app", portMappings=[{"containerPort": 80}])))
    ecs.create_service(
        cluster="web",
        serviceName="api",
        taskDefinition="web",
        desiredCount=0,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 80}],
    )
    store = door.daemon.house.store

    def wake(tx: Tx) -> None:
        found = tx.get(TARGET_GROUP, group)
        assert found is not None
        tx.put(TARGET_GROUP, replace(found, woken_at=door.daemon.house.clock.now()))

    door.call(store.write(wake))

    async def a_task_runs() -> None:
        head = store.head()
        while not await store.read(lambda tx: [t for t in tx.all(TASK) if t.last_status == "RUNNING"]):
            head = await store.wait(head)

    door.call(a_task_runs())
    service = ecs.describe_services(cluster="web", services=["api"])["services"][0]
    assert service["desiredCount"] == 1
    assert any(f"a request waited at target group {group}" in it["message"] for it in service["events"])
    ecs.delete_service(cluster="web", service="api", force=True)
