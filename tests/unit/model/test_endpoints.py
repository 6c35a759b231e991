"""What a task is told of its endpoints: the environment of its containers, and who may say otherwise."""

from typing import Any

import pytest

from neargate.model import endpoints
from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.model.task import Container, Task, TaskDefinition

KEY = b"k" * 32
ID = "0123456789abcdef" * 2
ROLE = "arn:aws:iam::123456789012:role/web"
RUNTIME = f"{ID}-1234567890"
PLACE = {"account": "123456789012", "region": "eu-west-1"}


def task(**fields: Any) -> Task:
    values: dict[str, Any] = {
        "arn": f"arn:aws:ecs:eu-west-1:123456789012:task/c/{ID}",
        "id": ID,
        "cluster_arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/c",
        "definition_arn": "d",
        "family": "f",
        "revision": 1,
        "last_status": "PENDING",
        "desired_status": "RUNNING",
        "cpu": "256",
        "memory": "512",
        "containers": (Container(name="web", arn="the-arn", image="i", runtime_id=RUNTIME),),
        "availability_zone": "eu-west-1a",
        **PLACE,
        **fields,
    }
    return Task(**values)


def definition(**body: Any) -> TaskDefinition:
    return TaskDefinition(arn="d", family="f", revision=1, body=body, **PLACE)


def equipped(
    *own: tuple[str, str], record: Task | None = None, api: bool = True, **body: Any
) -> tuple[SandboxSpec, dict[str, str]]:
    container = ContainerSpec(name="web", image="i", runtime_id=RUNTIME, environment=own)
    spec = SandboxSpec(id=ID, containers=(container,), interface=None, cpu=256, memory=1)
    found = endpoints.equipped(
        spec, record or task(), definition(**body), zone_id="euw1-az1", key=KEY, api=api
    )
    return found, dict(found.containers[0].environment)


def test_a_task_without_a_role() -> None:
    spec, environment = equipped(("MINE", "1"))
    assert environment == {
        "MINE": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://169.254.170.2:4566",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "ECS_CONTAINER_METADATA_URI_V4": f"http://169.254.170.2/v4/{RUNTIME}",
        "ECS_AGENT_URI": f"http://169.254.170.2/api/{RUNTIME}",
    }
    assert (spec.facts.zone, spec.facts.zone_id, spec.facts.launch_type) == (
        "eu-west-1a", "euw1-az1", "FARGATE",
    )  # fmt: skip
    assert (spec.facts.credentials_id, spec.facts.service, spec.containers[0].arn) == ("", "", "the-arn")


def test_no_endpoint_url_where_it_is_not_wanted() -> None:
    assert "AWS_ENDPOINT_URL" not in equipped(api=False)[1]


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"])
def test_what_a_container_may_say_otherwise(name: str) -> None:
    assert equipped((name, "own"))[1][name] == "own"


@pytest.mark.parametrize(
    "name",
    ["AWS_EXECUTION_ENV", "ECS_CONTAINER_METADATA_URI_V4", "ECS_AGENT_URI",
     "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
)  # fmt: skip
def test_what_it_may_not(name: str) -> None:
    _, environment = equipped((name, "own"), taskRoleArn=ROLE)
    assert environment[name] != "own"
    assert list(environment).count(name) == 1


def test_a_role_gives_credentials_under_an_id_of_the_tasks_own() -> None:
    spec, environment = equipped(taskRoleArn=ROLE)
    id = spec.facts.credentials_id
    assert environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] == f"/v2/credentials/{id}"
    assert id == endpoints.credentials_id(KEY, ID)
    assert id not in (endpoints.credentials_id(b"x" * 32, ID), endpoints.credentials_id(KEY, "f" * 32))


def test_run_tasks_role_wins() -> None:
    other = "arn:aws:iam::123456789012:role/other"
    record = task(overrides={"taskRoleArn": other})
    assert endpoints.role_arn(record, definition(taskRoleArn=ROLE)) == other
    assert endpoints.role_arn(task(), definition(taskRoleArn=ROLE)) == ROLE
    assert endpoints.role_arn(task(), definition()) == ""
    assert equipped(record=record)[0].facts.credentials_id


def test_a_services_task_and_fault_injection() -> None:
    spec, _ = equipped(record=task(group="service:shop"), enableFaultInjection=True)
    assert (spec.facts.service, spec.facts.fault_injection) == ("shop", True)
    assert equipped(record=task(group="family:shop"))[0].facts.service == ""
