"""Services as stock clients see them: boto3, its waiters and paginators, the aws CLI, real target groups;
a whole daemon with the fake driver, the loop that keeps them included.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.support.real import eventually

QUICK = {"Delay": 0.05, "MaxAttempts": 600}
PORT = {"containerPort": 80, "name": "http"}


class Client:
    """The client, with a cluster `default`, definition `web`, and the default network."""

    def __init__(self, door: Door) -> None:
        self.ecs, self.elb = door.client("ecs"), door.client("elbv2")
        self.ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.register()
        found = door.client("ec2").describe_subnets()["Subnets"]
        self.vpc = found[0]["VpcId"]
        self.subnets = [s["SubnetId"] for s in found]
        self.network = {"awsvpcConfiguration": {"subnets": self.subnets}}

    def register(self, **members: Any) -> str:
        made = self.ecs.register_task_definition(
            **definition(container(portMappings=[PORT]), **members),
            tags=[{"key": "of", "value": "definition"}],
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def create(self, name: str = "web", **changes: Any) -> dict[str, Any]:
        params = {
            "serviceName": name,
            "taskDefinition": "web",
            "desiredCount": 2,
            "launchType": "FARGATE",
            "networkConfiguration": self.network,
            **changes,
        }
        made = self.ecs.create_service(**{k: v for k, v in params.items() if v is not None})
        return dict(made["service"])

    def see(self, name: str = "web") -> dict[str, Any]:
        (service,) = self.ecs.describe_services(services=[name])["services"]
        return dict(service)

    def wait(self, waiter: str, *names: str) -> None:
        self.ecs.get_waiter(waiter).wait(services=list(names), WaiterConfig=QUICK)

    def tasks(self, name: str = "web") -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(serviceName=name)["taskArns"]
        return list(self.ecs.describe_tasks(tasks=arns, include=["TAGS"])["tasks"]) if arns else []

    def group(self, name: str, balancer: str = "") -> str:
        """ARN of a target group; with a listener of the balancer that leads to it."""
        made = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=self.vpc, TargetType="ip"
        )
        arn: str = made["TargetGroups"][0]["TargetGroupArn"]
        if balancer:
            self.elb.create_listener(
                LoadBalancerArn=balancer,
                Protocol="HTTP",
                Port=80,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
            )
        return arn


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    """A daemon whose tasks count as healthy soon after they run."""
    door = Door(service_healthy_seconds=0.1).start()
    yield door
    door.stop()


@pytest.fixture
def client(quick_door: Door) -> Iterator[Client]:
    yield Client(quick_door)
    quick_door.forget()


def test_a_services_life_by_its_waiters(client: Client) -> None:
    made = client.create()
    client.wait("services_stable", "web")
    service = client.see()
    assert (service["runningCount"], service["pendingCount"]) == (2, 0)
    assert service["deployments"][0]["id"] == made["deployments"][0]["id"]
    assert {t["startedBy"] for t in client.tasks()} == {made["deployments"][0]["id"]}
    second = client.register(family="web")
    client.ecs.update_service(service="web", taskDefinition=second, desiredCount=3)
    client.wait("services_stable", "web")
    service = client.see()
    assert (service["runningCount"], service["taskDefinition"]) == (3, second)
    assert {t["taskDefinitionArn"] for t in client.tasks()} == {second}
    client.ecs.update_service(service="web", desiredCount=0)
    client.wait("services_stable", "web")
    client.ecs.delete_service(service="web")
    client.wait("services_inactive", "web")
    assert client.see()["status"] == "INACTIVE"
    assert client.create()["status"] == "ACTIVE"
    client.wait("services_stable", "web")
    client.ecs.delete_service(service="web", force=True)
    client.wait("services_inactive", "web")
    assert client.tasks() == []


@pytest.mark.parametrize(
    ("settings", "tags"),
    [
        ({}, {}),
        ({"propagateTags": "SERVICE"}, {"of": "service"}),
        ({"propagateTags": "TASK_DEFINITION"}, {"of": "definition"}),
        (
            {"propagateTags": "SERVICE", "enableECSManagedTags": True},
            {"of": "service", "aws:ecs:clusterName": "default", "aws:ecs:serviceName": "web"},
        ),
    ],
)
def test_tags_that_its_tasks_get(client: Client, settings: dict[str, Any], tags: dict[str, str]) -> None:
    client.create(desiredCount=1, tags=[{"key": "of", "value": "service"}], **settings)
    client.wait("services_stable", "web")
    (task,) = client.tasks()
    assert {t["key"]: t["value"] for t in task["tags"]} == tags


def test_protected_tasks_are_not_scaled_in(client: Client) -> None:
    client.create(desiredCount=3)
    client.wait("services_stable", "web")
    kept = client.tasks()[1]["taskArn"]
    answer = client.ecs.update_task_protection(cluster="default", tasks=[kept], protectionEnabled=True)
    (protected,) = answer["protectedTasks"]
    assert protected["protectionEnabled"] is True
    client.ecs.update_service(service="web", desiredCount=1)
    client.wait("services_stable", "web")
    assert [t["taskArn"] for t in client.tasks()] == [kept]


def test_all_pages_of_services(client: Client) -> None:
    names = [f"s{number:02}" for number in range(12)]
    for name in names:
        client.create(name, desiredCount=0)
    pages = list(client.ecs.get_paginator("list_services").paginate())
    assert [len(page["serviceArns"]) for page in pages] == [10, 2]
    assert [arn.rpartition("/")[2] for page in pages for arn in page["serviceArns"]] == names


def test_groups_of_a_real_balancer(client: Client) -> None:
    loose = client.group("loose")
    balancer = {"containerName": "web-app", "containerPort": 80}
    with pytest.raises(ClientError) as caught:
        client.create(loadBalancers=[{**balancer, "targetGroupArn": loose}])
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterException"
    assert error["Message"] == (
        f"The target group with targetGroupArn {loose} does not have an associated load balancer."
    )
    made = client.elb.create_load_balancer(Name="b", Subnets=client.subnets, Type="application")
    served = client.group("served", made["LoadBalancers"][0]["LoadBalancerArn"])
    service = client.create(desiredCount=1, loadBalancers=[{**balancer, "targetGroupArn": served}])
    assert service["loadBalancers"] == [{**balancer, "targetGroupArn": served}]
    assert service["healthCheckGracePeriodSeconds"] == 0


def test_task_sets_get_their_share_of_the_tasks(client: Client) -> None:
    none = {"taskDefinition": None, "launchType": None, "networkConfiguration": None}
    client.create(desiredCount=4, deploymentController={"type": "EXTERNAL"}, **none)
    made = client.ecs.create_task_set(
        cluster="default",
        service="web",
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration=client.network,
        scale={"value": 50.0, "unit": "PERCENT"},
    )["taskSet"]
    where = {"cluster": "default", "service": "web"}

    def steady(count: int) -> bool:
        (found,) = client.ecs.describe_task_sets(**where, taskSets=[made["id"]])["taskSets"]
        return found["runningCount"] == count and found["stabilityStatus"] == "STEADY_STATE"

    eventually(lambda: steady(2), "two tasks", 60)
    assert {t["startedBy"] for t in client.tasks()} == {made["id"]}
    client.ecs.update_task_set(**where, taskSet=made["id"], scale={"value": 100.0, "unit": "PERCENT"})
    eventually(lambda: steady(4), "four tasks", 60)
    client.ecs.delete_task_set(**where, taskSet=made["id"], force=True)
    eventually(lambda: not client.ecs.describe_task_sets(**where)["taskSets"], "no task set", 60)
    eventually(lambda: client.tasks() == [], "no task", 60)


@pytest.fixture
def aws(quick_door: Door, tmp_path: Path) -> Callable[..., Any]:
    keys = quick_door.daemon.credential
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": quick_door.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    program = Path(sys.executable).parent / "aws"

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [str(program), "ecs", *arguments], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"aws ecs {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout else None

    return run


def test_the_aws_cli(client: Client, aws: Callable[..., Any]) -> None:
    network = f"awsvpcConfiguration={{subnets=[{client.subnets[0]}]}}"
    made = aws(
        "create-service", "--service-name", "web", "--task-definition", "web", "--desired-count", "0",
        "--launch-type", "FARGATE", "--network-configuration", network,
    )  # fmt: skip
    assert made["service"]["status"] == "ACTIVE"
    assert made["service"]["createdAt"] > 0
    aws("wait", "services-stable", "--services", "web")
    (service,) = aws("describe-services", "--services", "web", "--include", "TAGS")["services"]
    assert service["tags"] == []
    assert aws("list-services")["serviceArns"] == [service["serviceArn"]]
    deployments = aws("list-service-deployments", "--service", "web")["serviceDeployments"]
    assert deployments[0]["serviceDeploymentArn"] == service["currentServiceDeployment"]
    aws("delete-service", "--service", "web")
    aws("wait", "services-inactive", "--services", "web")


def baking(client: Client) -> str:
    """A service on its way to another definition, at the bake time of an hour; the ARN of its deployment."""
    shift = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}
    client.create(deploymentConfiguration=shift)
    client.wait("services_stable", "web")
    eventually(
        lambda: client.see()["deployments"][0]["rolloutState"] == "COMPLETED", "a first deployment", 60
    )
    second = client.register(family="web")
    after = client.ecs.update_service(
        service="web",
        taskDefinition=second,
        deploymentConfiguration={**shift, "bakeTimeInMinutes": 60},
    )["service"]
    arn: str = after["currentServiceDeployment"]
    eventually(lambda: deployment(client, arn).get("lifecycleStage") == "BAKE_TIME", "the bake time", 60)
    return arn


def deployment(client: Client, arn: str) -> dict[str, Any]:
    (found,) = client.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
    return dict(found)


def test_a_deployment_that_is_stopped_goes_back(client: Client) -> None:
    arn = baking(client)
    shown = deployment(client, arn)
    assert shown["status"] == "IN_PROGRESS"
    assert shown["targetServiceRevision"]["requestedTaskCount"] == 2
    (source,) = shown["sourceServiceRevisions"]
    assert source["runningTaskCount"] == 2
    client.ecs.stop_service_deployment(serviceDeploymentArn=arn)
    eventually(lambda: deployment(client, arn)["status"] == "ROLLBACK_SUCCESSFUL", "the way back", 60)
    shown = deployment(client, arn)
    assert shown["rollback"]["serviceRevisionArn"] == source["arn"]
    client.wait("services_stable", "web")
    service = client.see()
    assert service["taskDefinition"].endswith(":1")
    assert {t["taskDefinitionArn"] for t in client.tasks()} == {service["taskDefinition"]}
    with pytest.raises(ClientError, match="its status is ROLLBACK_SUCCESSFUL"):
        client.ecs.stop_service_deployment(serviceDeploymentArn=arn)


def test_a_deployment_that_is_aborted_stays_where_it_is(client: Client) -> None:
    arn = baking(client)
    client.ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ABORT")
    eventually(lambda: deployment(client, arn)["status"] == "STOPPED", "the end", 60)
    assert "stoppedAt" in deployment(client, arn)
    assert client.see()["deployments"][0]["rolloutState"] == "FAILED"
