"""ECS as boto3 sees it: a whole daemon with the fake driver; waiters, paginators, the lives of tasks."""

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from botocore.waiter import WaiterModel, create_waiter_with_client

from tests.support.door import Door
from tests.support.ecs import container, definition

LOGS = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"},
}
CONFIG = {"Delay": 0.05, "MaxAttempts": 1200}
BEGINNING = ("createdAt", "connectivityAt", "pullStartedAt", "pullStoppedAt", "startedAt")


# Until the first health check of all tasks but one is known.
CHECKED = WaiterModel(
    {
        "version": 2,
        "waiters": {
            "Checked": {
                "operation": "DescribeTasks",
                "delay": 1,
                "maxAttempts": 1,
                "acceptors": [
                    {
                        "state": "success",
                        "matcher": "path",
                        "argument": "length(tasks[?healthStatus=='UNKNOWN'])",
                        "expected": 1,
                    }
                ],
            }
        },
    }
)


class Room:
    """The client, with a cluster `default`, a definition `web` and the default network."""

    def __init__(self, door: Door) -> None:
        self.ecs = door.client("ecs")
        self.ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.ecs.register_task_definition(
            **definition(container(), container("side", essential=False)),
            tags=[{"key": "of", "value": "definition"}],
        )
        subnets = door.client("ec2").describe_subnets()["Subnets"]
        self.subnets = [s["SubnetId"] for s in subnets]
        self.network = {"awsvpcConfiguration": {"subnets": self.subnets}}

    def run(self, **params: Any) -> list[str]:
        values = {"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": self.network}
        answer = self.ecs.run_task(**{k: v for k, v in {**values, **params}.items() if v is not None})
        assert answer["failures"] == []
        return [task["taskArn"] for task in answer["tasks"]]

    def register(self, family: str, *containers: dict[str, Any], **members: Any) -> None:
        self.ecs.register_task_definition(**definition(*containers, family=family, **members))

    def task(self, arn: str, **params: Any) -> dict[str, Any]:
        (task,) = self.ecs.describe_tasks(tasks=[arn], **params)["tasks"]
        return dict(task)

    def wait(self, waiter: str, *arns: str) -> None:
        self.ecs.get_waiter(waiter).wait(tasks=list(arns), WaiterConfig=CONFIG)


@pytest.fixture
def room(door: Door) -> Room:
    return Room(door)


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_task_runs_and_is_stopped(room: Room) -> None:
    tags = [{"key": "a", "value": "ö"}]
    (arn,) = room.run(tags=tags, startedBy="me", enableECSManagedTags=True, propagateTags="TASK_DEFINITION")
    id = arn.rpartition("/")[2]
    room.wait("tasks_running", arn)
    task = room.task(arn, include=["TAGS"])
    assert (task["lastStatus"], task["desiredStatus"], task["connectivity"]) == (
        "RUNNING",
        "RUNNING",
        "CONNECTED",
    )
    moments = [task[name] for name in BEGINNING]
    assert moments[0] <= moments[1]
    assert moments[0] <= moments[2] <= moments[3] <= moments[4]
    assert {t["key"]: t["value"] for t in task["tags"]} == {
        "a": "ö",
        "of": "definition",
        "aws:ecs:clusterName": "default",
    }
    (attachment,) = task["attachments"]
    assert (attachment["type"], attachment["status"]) == ("ElasticNetworkInterface", "ATTACHED")
    details = {d["name"]: d["value"] for d in attachment["details"]}
    assert list(details) == [
        "subnetId",
        "networkInterfaceId",
        "macAddress",
        "privateDnsName",
        "privateIPv4Address",
    ]
    assert details["subnetId"] in room.subnets
    assert {a["name"] for a in task["attributes"]} == {"ecs.cpu-architecture", "neargate.isolation"}
    for shown in task["containers"]:
        assert (shown["lastStatus"], shown["networkBindings"]) == ("RUNNING", [])
        assert shown["runtimeId"].startswith(f"{id}-")
        assert shown["imageDigest"].startswith("sha256:")
        assert shown["networkInterfaces"] == [
            {"attachmentId": attachment["id"], "privateIpv4Address": details["privateIPv4Address"]}
        ]

    stopping = room.ecs.stop_task(task=arn, reason="enough")["task"]
    assert (stopping["desiredStatus"], stopping["stopCode"]) == ("STOPPED", "UserInitiated")
    room.wait("tasks_stopped", arn)
    ended = room.task(arn)
    assert (ended["lastStatus"], ended["stopCode"], ended["stoppedReason"]) == (
        "STOPPED",
        "UserInitiated",
        "enough",
    )
    assert task["startedAt"] <= ended["stoppingAt"] <= ended["executionStoppedAt"] <= ended["stoppedAt"]
    assert [c["exitCode"] for c in ended["containers"]] == [143, 143]
    assert ended["attachments"][0] == {**attachment, "status": "DELETED"}
    assert ended["version"] > task["version"]
    assert {name: ended[name] for name in BEGINNING} == {name: task[name] for name in BEGINNING}


@pytest.mark.parametrize(
    ("image", "code", "reason"),
    [
        ("local/exit-0", 0, None),
        ("local/exit-3", 3, None),
        ("local/oom", 137, "OutOfMemoryError: Container killed due to memory usage"),
    ],
)
def test_the_end_of_an_essential_container_ends_the_task(
    room: Room, image: str, code: int, reason: str | None
) -> None:
    room.register("ends", {"name": "main", "image": image}, container("side", essential=False))
    (arn,) = room.run(taskDefinition="ends")
    room.wait("tasks_stopped", arn)
    task = room.task(arn)
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    main, side = task["containers"]
    assert (main["exitCode"], main.get("reason")) == (code, reason)
    assert side["lastStatus"] == "STOPPED"
    assert task["startedAt"] <= task["executionStoppedAt"] <= task["stoppedAt"]


@pytest.mark.parametrize(
    ("image", "prefix"),
    [("local/nopull", "CannotPullContainerError: "), ("local/nostart", "CannotStartContainerError: ")],
)
def test_a_start_that_fails_says_why(room: Room, image: str, prefix: str) -> None:
    room.register("fails", {"name": "main", "image": image})
    (arn,) = room.run(taskDefinition="fails")
    with pytest.raises(WaiterError, match="STOPPED"):
        room.wait("tasks_running", arn)
    room.wait("tasks_stopped", arn)
    task = room.task(arn)
    assert (task["stopCode"], task["desiredStatus"]) == ("TaskFailedToStart", "STOPPED")
    assert task["stoppedReason"].startswith(prefix)
    assert task["containers"][0]["reason"].startswith(prefix)
    assert "startedAt" not in task
    assert "exitCode" not in task["containers"][0]


def test_health_reaches_the_task(room: Room) -> None:
    check = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 1}
    room.register("healthy", container(healthCheck=check))
    room.register("sick", {"name": "main", "image": "local/sick", "healthCheck": check})
    arns = [*room.run(taskDefinition="healthy"), *room.run(taskDefinition="sick"), *room.run()]
    room.wait("tasks_running", *arns)
    create_waiter_with_client("Checked", CHECKED, room.ecs).wait(tasks=arns, WaiterConfig=CONFIG)
    found = [room.task(arn)["healthStatus"] for arn in arns]
    assert found == ["HEALTHY", "UNHEALTHY", "UNKNOWN"]
    assert room.task(arns[1])["lastStatus"] == "RUNNING"


def test_a_stop_at_once_after_the_start(room: Room) -> None:
    arns = room.run(count=10)
    for arn in arns:
        room.ecs.stop_task(task=arn)
    room.wait("tasks_stopped", *arns)
    tasks = room.ecs.describe_tasks(tasks=arns)["tasks"]
    assert {t["stopCode"] for t in tasks} == {"UserInitiated"}
    assert {t["stoppedReason"] for t in tasks} == {"Task stopped by user"}
    assert all(t["createdAt"] <= t["stoppingAt"] <= t["stoppedAt"] for t in tasks)
    again = room.ecs.stop_task(task=arns[0], reason="again")["task"]
    assert (again["lastStatus"], again["stoppedReason"]) == ("STOPPED", "Task stopped by user")
    room.ecs.delete_cluster(cluster="default")


def test_a_token_makes_its_tasks_once(room: Room) -> None:
    first = room.run(count=2, clientToken="abc")
    assert room.run(count=2, clientToken="abc") == first
    with pytest.raises(ClientError) as caught:
        room.run(count=3, clientToken="abc")
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    assert caught.value.response["resourceIds"] == first
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert sorted(room.ecs.list_tasks()["taskArns"]) == sorted(first)


def test_what_cannot_be_placed_is_a_failure_and_what_is_not_there_is_missing(room: Room) -> None:
    arm = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    room.register("arm", runtimePlatform=arm)
    answer = room.ecs.run_task(
        taskDefinition="arm", launchType="FARGATE", networkConfiguration=room.network, count=2
    )
    assert (answer["tasks"], [f["reason"] for f in answer["failures"]]) == ([], ["RESOURCE:FARGATE"] * 2)
    (missing,) = room.ecs.describe_tasks(tasks=["0" * 32])["failures"]
    assert missing["reason"] == "MISSING"
    with pytest.raises(WaiterError, match="MISSING"):
        room.wait("tasks_running", "0" * 32)
    for waiter in ("services_stable", "services_inactive"):
        with pytest.raises(WaiterError, match="MISSING"):
            room.ecs.get_waiter(waiter).wait(services=["s"], WaiterConfig=CONFIG)


def test_a_strategy_on_the_clusters_providers(room: Room) -> None:
    strategy = [
        {"capacityProvider": "FARGATE", "weight": 1, "base": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 4},
    ]
    arns = room.run(launchType=None, capacityProviderStrategy=strategy, count=6)
    tasks = room.ecs.describe_tasks(tasks=arns)["tasks"]
    assert Counter(t["capacityProviderName"] for t in tasks) == {"FARGATE": 2, "FARGATE_SPOT": 4}
    room.wait("tasks_running", *arns)
    (cluster,) = room.ecs.describe_clusters(include=["STATISTICS"])["clusters"]
    assert (cluster["runningTasksCount"], cluster["pendingTasksCount"]) == (6, 0)
    with pytest.raises(ClientError) as caught:
        room.ecs.delete_cluster(cluster="default")
    assert refusal(caught) == (
        "ClusterContainsTasksException",
        "The Cluster cannot be deleted while Tasks are active.",
    )


def test_paginators(room: Room) -> None:
    for i in range(5):
        room.ecs.create_cluster(clusterName=f"c{i}")
        room.register(f"f{i}")
    room.run(count=5)

    def all_of(operation: str, key: str, **params: Any) -> list[str]:
        pages = list(room.ecs.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **params))
        assert len(pages) == 3
        return [item for page in pages for item in page[key]]

    clusters = all_of("list_clusters", "clusterArns")
    assert [arn.rpartition("/")[2] for arn in clusters] == ["c0", "c1", "c2", "c3", "c4", "default"]
    definitions = all_of("list_task_definitions", "taskDefinitionArns")
    assert [arn.rpartition("/")[2] for arn in definitions] == [*(f"f{i}:1" for i in range(5)), "web:1"]
    families = all_of("list_task_definition_families", "families", status="ACTIVE")
    assert families == ["f0", "f1", "f2", "f3", "f4", "web"]
    assert len(set(all_of("list_tasks", "taskArns"))) == 5
    settings = room.ecs.get_paginator("list_account_settings").paginate(effectiveSettings=True)
    assert len({s["name"] for page in settings for s in page["settings"]}) == 11
    for nothing in ("list_container_instances", "list_services"):
        assert len(list(room.ecs.get_paginator(nothing).paginate())) == 1


def test_definitions_by_the_wire(room: Room) -> None:
    described = room.ecs.describe_task_definition(taskDefinition="web", include=["TAGS"])
    assert described["tags"] == [{"key": "of", "value": "definition"}]
    with pytest.raises(ClientError) as caught:
        room.register("bad", networkMode="bridge")
    assert refusal(caught) == ("ClientException", "Fargate only supports network mode ‘awsvpc’.")
    room.ecs.deregister_task_definition(taskDefinition="web:1")
    with pytest.raises(ClientError) as caught:
        room.run(taskDefinition="web:1")
    assert refusal(caught) == ("ClientException", "TaskDefinition is inactive")
    deleted = room.ecs.delete_task_definitions(taskDefinitions=["web:1"])
    assert [d["status"] for d in deleted["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]


def test_tags_and_settings_by_the_wire(room: Room) -> None:
    (arn,) = room.run()
    room.ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}, {"key": "c", "value": ""}])
    room.ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert room.ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "c", "value": ""}]
    room.ecs.put_account_setting(name="containerInsights", value="enabled")
    made = room.ecs.create_cluster(clusterName="c")["cluster"]
    assert made["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    room.ecs.delete_account_setting(name="containerInsights")
    for bad in ("ä" * 129, "a\0b"):
        with pytest.raises(ClientError) as caught:
            room.ecs.tag_resource(resourceArn=arn, tags=[{"key": bad, "value": "x"}])
        assert refusal(caught)[0] in ("InvalidParameterException", "ClientException", "ValidationException")


def test_what_is_not_built_says_so(room: Room) -> None:
    with pytest.raises(ClientError, match="CreateService"):
        room.ecs.create_service(serviceName="s", taskDefinition="web")


def test_logs_of_a_task_are_where_the_definition_says(room: Room, door: Door) -> None:
    logs = door.client("logs")
    logs.create_log_group(logGroupName="/g")
    room.register("speaks", container(command=["echo", "hello"], logConfiguration=LOGS))
    (arn,) = room.run(taskDefinition="speaks")
    room.wait("tasks_stopped", arn)
    stream = f"ecs/web-app/{arn.rpartition('/')[2]}"
    events = logs.get_log_events(logGroupName="/g", logStreamName=stream)["events"]
    assert [e["message"] for e in events] == ["hello"]


def test_tasks_are_the_node_s_though_the_machine_is_called_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(data_dir=tmp_path).start()
    room = Room(door)
    (before,) = room.run()
    room.wait("tasks_running", before)
    door.stop()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    door = Door(data_dir=tmp_path).start()
    try:
        room = Room(door)
        room.ecs.stop_task(task=before)
        room.wait("tasks_stopped", before)
        room.wait("tasks_running", *room.run())
    finally:
        door.stop()
