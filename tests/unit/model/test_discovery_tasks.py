"""Tasks as instances: when they are registered, as what, and what changes of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from neargate.model.discovery import DiscoveryService, Instance
from neargate.model.discovery_tasks import differences, instances_of
from neargate.model.task import Task, TaskDefinition
from tests.support.tasks import running_task

SCOPE = {"account": "000000000000", "region": "us-east-1"}
ARN = "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-1"
SERVICE = DiscoveryService(**SCOPE, id="srv-1", arn=ARN, name="web", namespace_id="ns-1", type="DNS_HTTP")
TASK = running_task(
    4,
    arn="arn:aws:ecs:us-east-1:000000000000:task/c/one",
    id="one",
    cluster_arn="arn:aws:ecs:us-east-1:000000000000:cluster/c",
    service_arn="arn:aws:ecs:us-east-1:000000000000:service/c/shop",
    availability_zone="us-east-1a",
)


def definition(*containers: dict[str, Any]) -> TaskDefinition:
    return TaskDefinition(
        **SCOPE, arn="d", family="web", revision=1, body={"containerDefinitions": list(containers)}
    )


def instances(task: Task, made_by: TaskDefinition | None = None, **registry: Any) -> list[Instance]:
    found = instances_of(task, [{"registryArn": ARN, **registry}], {"srv-1": SERVICE}, made_by, 1.0)
    assert all(key == f"{one.service_id}/{one.id}" for key, one in found.items())
    return list(found.values())


def test_a_running_task_is_an_instance() -> None:
    (one,) = instances(TASK)
    assert (one.id, one.task_arn, one.health) == ("one", TASK.arn, "HEALTHY")
    assert one.attributes == {
        "AWS_INIT_HEALTH_STATUS": "HEALTHY",
        "AWS_INSTANCE_IPV4": "10.0.0.4",
        "AVAILABILITY_ZONE": "us-east-1a",
        "REGION": "us-east-1",
        "ECS_CLUSTER_NAME": "c",
        "ECS_SERVICE_NAME": "shop",
        "ECS_TASK_DEFINITION_FAMILY": "web",
    }
    assert instances(TASK, port=80)[0].attributes["AWS_INSTANCE_PORT"] == "80"
    assert instances(TASK, containerPort=81)[0].attributes["AWS_INSTANCE_PORT"] == "81"


@pytest.mark.parametrize(
    "change",
    [
        {"last_status": "PENDING"},
        {"last_status": "STOPPED", "desired_status": "STOPPED"},
        {"desired_status": "STOPPED"},
        {"last_status": "DEACTIVATING", "desired_status": "STOPPED", "draining": True},
        {"private_ip": ""},
    ],
)
def test_others_are_none(change: dict[str, Any]) -> None:
    assert instances(replace(TASK, **change)) == []
    assert instances_of(TASK, [{"registryArn": ARN}], {}, None, 1.0) == {}


@pytest.mark.parametrize(
    ("health", "container", "expected"),
    [
        ("UNKNOWN", {}, "HEALTHY"),
        ("UNKNOWN", {"healthCheck": {"command": ["true"]}}, "UNHEALTHY"),
        ("UNKNOWN", {"healthCheck": {"command": ["true"]}, "essential": False}, "HEALTHY"),
        ("HEALTHY", {"healthCheck": {"command": ["true"]}}, "HEALTHY"),
        ("UNHEALTHY", {"healthCheck": {"command": ["true"]}}, "UNHEALTHY"),
    ],
)
def test_health_is_what_its_checks_say(health: str, container: dict[str, Any], expected: str) -> None:
    (one,) = instances(replace(TASK, health=health), definition(container))
    assert one.health == expected


def test_what_is_written_and_removed() -> None:
    (one,) = instances(TASK)
    key = "srv-1/one"
    assert differences([], {key: one}) == ([one], [])
    assert differences([replace(one, registered_at=9.0)], {key: one}) == ([], [])
    ill = replace(one, health="UNHEALTHY")
    assert differences([one], {key: ill}) == ([ill], [])
    assert differences([one], {}) == ([], [one])
