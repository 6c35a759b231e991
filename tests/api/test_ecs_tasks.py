"""DescribeTasks, ListTasks and StopTask, and a task's life as they tell it."""

import asyncio
from typing import Any

import pytest

from neargate.kit.errors import CellError
from neargate.model.sandbox import ContainerStatus, Failure
from neargate.services.cell.local import LocalCell
from neargate.state.catalog import INTERFACE
from neargate.state.store import StoreError
from tests.support.ecs import SCOPE, Ecs, container, definition, refused

INVALID = "InvalidParameterException"
NOT_FOUND = ("ClusterNotFoundException", "Cluster not found.")
NO_TASK = (INVALID, "The referenced task was not found.")
BAD_ID = (INVALID, "taskId length should be one of [32,36]")
UNKNOWN = "0" * 32


def id_of(arn: str) -> str:
    return arn.rpartition("/")[2]


async def running(ecs: Ecs, **changes: Any) -> str:
    """The ARN of a task that node n1 says is RUNNING."""
    (arn,) = await ecs.start(**changes)
    await ecs.settle()
    now = ecs.clock.now()
    seen = tuple(
        ContainerStatus(name=name, phase="RUNNING", image_digest="sha256:1", started_at=now + 3)
        for name in ("web-app", "side")
    )
    times = {
        "accepted_at": now,
        "pull_started_at": now + 1,
        "pull_stopped_at": now + 2,
        "started_at": now + 3,
    }
    await ecs.report(arn, "RUNNING", containers=seen, **times)
    return arn


async def test_a_life_as_describe_tells_it(ready: Ecs) -> None:
    (arn,) = await ready.start()
    began = ready.clock.now()
    await ready.settle()
    task = await ready.task(arn)
    assert (task["lastStatus"], task["availabilityZone"][:-1]) == ("PROVISIONING", SCOPE.region)
    (attachment,) = task["attachments"]
    assert attachment["status"] == "ATTACHING"
    details = {d["name"]: d["value"] for d in attachment["details"]}
    assert list(details) == [
        "subnetId",
        "networkInterfaceId",
        "macAddress",
        "privateDnsName",
        "privateIPv4Address",
    ]
    assert details["subnetId"] in ready.subnets
    assert details["networkInterfaceId"].startswith("eni-")

    task = await ready.report(arn, "ATTACHED", accepted_at=began + 1)
    assert (task["lastStatus"], task["connectivity"], task["connectivityAt"]) == (
        "PENDING",
        "CONNECTED",
        began + 1,
    )
    assert task["attachments"][0]["status"] == "ATTACHED"
    pulling = {"accepted_at": began + 1, "pull_started_at": began + 2}
    assert (await ready.report(arn, "PULLING", **pulling))["pullStartedAt"] == began + 2
    pulled = {**pulling, "pull_stopped_at": began + 3}
    task = await ready.report(arn, "STARTING", **pulled)
    assert (task["lastStatus"], task["pullStoppedAt"]) == ("ACTIVATING", began + 3)

    up = ContainerStatus(
        name="web-app", phase="RUNNING", image_digest="sha256:1", health="HEALTHY", started_at=began + 4
    )
    side = ContainerStatus(name="side", phase="CREATED")
    task = await ready.report(arn, "RUNNING", **pulled, started_at=began + 4, containers=(up, side))
    assert (task["lastStatus"], task["startedAt"], task["healthStatus"]) == ("RUNNING", began + 4, "HEALTHY")
    first, second = task["containers"]
    assert first["runtimeId"].startswith(id_of(arn) + "-")
    assert (first["imageDigest"], first["healthStatus"], first["lastStatus"]) == (
        "sha256:1",
        "HEALTHY",
        "RUNNING",
    )
    assert first["networkInterfaces"] == [
        {"attachmentId": attachment["id"], "privateIpv4Address": details["privateIPv4Address"]}
    ]
    assert (second["lastStatus"], "runtimeId" in second) == ("PENDING", False)

    gone = ContainerStatus(name="web-app", phase="STOPPED", exit_code=3, reason="why", started_at=began + 4)
    ended = {**pulled, "started_at": began + 4, "containers": (gone, side), "execution_stopped_at": began + 9}
    task = await ready.report(arn, "STOPPING", **ended, stopping_at=began + 9)
    assert (task["lastStatus"], task["desiredStatus"], task["stoppingAt"]) == (
        "STOPPING",
        "STOPPED",
        began + 9,
    )
    assert task["executionStoppedAt"] == began + 9
    assert (await ready.report(arn, "CLEANING", **ended))["attachments"][0]["status"] == "DETACHING"
    task = await ready.report(arn, "STOPPED", **ended, stopped_at=began + 10)
    assert (task["lastStatus"], task["stoppedAt"]) == ("STOPPED", began + 10)
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert [(c.get("exitCode"), c.get("reason")) for c in task["containers"]] == [(3, "why"), (None, None)]
    assert task["attachments"][0] == {**attachment, "status": "DELETED"}


async def test_a_start_that_failed(ready: Ecs) -> None:
    (arn,) = await ready.start()
    await ready.settle()
    reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
    task = await ready.report(
        arn,
        "STOPPED",
        failure=Failure(code="TaskFailedToStart", reason=reason),
        containers=(ContainerStatus(name="web-app", reason=reason),),
    )
    assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", reason)
    assert task["containers"][0]["reason"] == reason
    assert "startedAt" not in task
    assert "exitCode" not in task["containers"][0]


async def test_the_version_counts_changes(ready: Ecs) -> None:
    arn = await running(ready)
    before = (await ready.task(arn))["version"]
    await ready.stop_task(task=arn)
    assert (await ready.task(arn))["version"] == before + 1
    await ready.stop_task(task=arn)
    assert (await ready.task(arn))["version"] == before + 1


@pytest.mark.parametrize("form", ["arn", "id", "short-arn", "path", "cluster-path"])
async def test_describe_by_every_name(ready: Ecs, form: str) -> None:
    (arn,) = await ready.start()
    id = id_of(arn)
    text = {
        "arn": arn,
        "id": id,
        "short-arn": SCOPE.arn("ecs", f"task/{id}"),
        "path": f"task/{id}",
        "cluster-path": f"task/default/{id}",
    }[form]
    assert [t["taskArn"] for t in (await ready.describe_tasks(tasks=[text, arn]))["tasks"]] == [arn]
    assert (await ready.stop_task(task=text))["task"]["taskArn"] == arn


async def test_what_is_missing(ready: Ecs) -> None:
    (arn,) = await ready.start()
    answer = await ready.describe_tasks(tasks=[UNKNOWN, arn])
    assert [t["taskArn"] for t in answer["tasks"]] == [arn]
    assert answer["failures"] == [{"arn": SCOPE.arn("ecs", f"task/default/{UNKNOWN}"), "reason": "MISSING"}]
    with refused(*NOT_FOUND):
        await ready.describe_tasks(cluster="nosuch", tasks=[id_of(arn)])
    await ready.create_cluster(clusterName="other")
    assert (await ready.describe_tasks(cluster="other", tasks=[id_of(arn)]))["tasks"] == []


ELSEWHERE = SCOPE.arn("ecs", f"task/other/{UNKNOWN}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", BAD_ID),
        ("x", BAD_ID),
        ("0" * 31, BAD_ID),
        ("0" * 37, BAD_ID),
        ("Z" * 32, BAD_ID),
        ("%" * 32, BAD_ID),
        ("\ud800" * 32, BAD_ID),
        (UNKNOWN + "\n", BAD_ID),
        (ELSEWHERE, (INVALID, "Identifier is for other. Your cluster is default")),
        (f"task/other/{UNKNOWN}", (INVALID, "Identifier is for other. Your cluster is default")),
        (f"arn:aws:ecs:eu-west-1:123456789012:task/default/{UNKNOWN}", NO_TASK),
        (f"arn:aws:ecs:us-east-1:999999999999:task/default/{UNKNOWN}", NO_TASK),
        ("arn:aws:s3:::b", (INVALID, "Invalid identifier: arn:aws:s3:::b is not the ARN of a task.")),
    ],
)
async def test_names_that_are_no_task_of_the_cluster(ready: Ecs, text: str, error: tuple[str, str]) -> None:
    with refused(*error):
        await ready.describe_tasks(tasks=[text])
    with refused(*error):
        await ready.stop_task(task=text)


async def test_describe_takes_a_hundred(ready: Ecs) -> None:
    hundred = [f"{i:032x}" for i in range(100)]
    assert len((await ready.describe_tasks(tasks=hundred))["failures"]) == 100
    with refused(INVALID, "Tasks can have at most 100 items."):
        await ready.describe_tasks(tasks=[*hundred, UNKNOWN])
    with refused(INVALID, "Tasks cannot be empty."):
        await ready.describe_tasks(tasks=[])


async def test_tags_are_included_if_asked_for(ready: Ecs) -> None:
    tags = [{"key": "a", "value": "b"}]
    (arn,) = await ready.start(tags=tags)
    assert (await ready.task(arn))["tags"] == []
    assert (await ready.task(arn, include=["TAGS"]))["tags"] == tags


async def listed(ecs: Ecs, **params: Any) -> list[str]:
    return list((await ecs.list_tasks(**params))["taskArns"])


async def test_list_by_every_filter(ready: Ecs) -> None:
    await ready.create_cluster(clusterName="other")
    await ready.register_task_definition(**definition(family="job"))
    web = await ready.start(2, startedBy="me")
    (job,) = await ready.start(taskDefinition="job")
    (elsewhere,) = await ready.start(cluster="other")
    await ready.stop_task(task=web[0])
    assert sorted(await listed(ready)) == sorted([web[1], job])
    assert await listed(ready, desiredStatus="STOPPED") == [web[0]]
    assert await listed(ready, desiredStatus="PENDING") == []
    assert await listed(ready, family="job") == [job]
    assert await listed(ready, family="web", desiredStatus="STOPPED") == [web[0]]
    assert await listed(ready, startedBy="me") == [web[1]]
    assert await listed(ready, startedBy="me", desiredStatus="STOPPED") == [web[0]]
    assert sorted(await listed(ready, launchType="FARGATE")) == sorted([web[1], job])
    assert await listed(ready, launchType="EC2") == []
    assert await listed(ready, launchType="FARGATE", family="job") == [job]
    assert await listed(ready, containerInstance="i") == []
    assert await listed(ready, cluster="other") == [elsewhere]
    for nothing in ("%", "jo", "job_", "JOB", "j%b", "' OR 1=1 --", "日本"):
        assert await listed(ready, family=nothing) == await listed(ready, startedBy=nothing) == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"startedBy": "a", "family": "b"}, "startedBy cannot be combined with family."),
        ({"startedBy": "a", "serviceName": "b"}, "startedBy cannot be combined with serviceName."),
        ({"family": "a", "serviceName": "b"}, "family cannot be combined with serviceName."),
        ({"maxResults": 0}, "Invalid maxResults: it must be between 1 and 100."),
        ({"maxResults": 101}, "Invalid maxResults: it must be between 1 and 100."),
        ({"nextToken": "MWFybg=="}, "Invalid token."),
        ({"family": "\ud800"}, "The request holds text or numbers out of range."),
    ],
)
async def test_list_refuses(ready: Ecs, params: dict[str, Any], message: str) -> None:
    with refused(INVALID, message):
        await ready.list_tasks(**params)


async def test_list_of_what_is_not_there(ready: Ecs) -> None:
    with refused("ServiceNotFoundException", "Service not found."):
        await ready.list_tasks(serviceName="s")
    with refused(*NOT_FOUND):
        await ready.list_tasks(cluster="nosuch")


@pytest.mark.parametrize("filters", [{}, {"family": "web"}, {"startedBy": "me"}])
async def test_list_in_pages(ready: Ecs, filters: dict[str, str]) -> None:
    await ready.register_task_definition(**definition(family="job"))
    wanted, found = [], []
    for _ in range(3):
        wanted += await ready.start(4, startedBy="me")
        if filters:
            await ready.start(3, taskDefinition="job")
    token: dict[str, str] = {}
    for size in (5, 5, 2):
        answer = await ready.list_tasks(maxResults=5, **filters, **token)
        assert len(answer["taskArns"]) == size
        found += answer["taskArns"]
        token = {"nextToken": answer["nextToken"]} if "nextToken" in answer else {}
    assert token == {}
    assert found == sorted(wanted)


@pytest.mark.parametrize("filters", [{"family": "other"}, {"startedBy": "somebody"}])
async def test_looking_through_all_tasks_leaves_the_loop_to_others(
    ready: Ecs, filters: dict[str, str]
) -> None:
    others = asyncio.create_task(asyncio.sleep(0))
    assert (await ready.list_tasks(**filters))["taskArns"] == []
    assert others.done()


async def test_a_page_goes_on_though_tasks_went(ready: Ecs) -> None:
    arns = sorted(await ready.start(6))
    first = await ready.list_tasks(maxResults=3)
    await ready.stop_task(task=arns[2])
    await ready.stop_task(task=arns[4])
    assert await listed(ready, nextToken=first["nextToken"]) == [arns[3], arns[5]]


@pytest.mark.parametrize(("given", "told"), [({}, "Task stopped by user"), ({"reason": "gründlich 🧹"},) * 2])
async def test_stop_tells_who_asked(ready: Ecs, given: dict[str, str], told: Any) -> None:
    arn = await running(ready)
    ready.clock.advance(10)
    task = (await ready.stop_task(task=arn, **given))["task"]
    assert (task["desiredStatus"], task["lastStatus"]) == ("STOPPED", "RUNNING")
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", given.get("reason", told))
    assert task["stoppingAt"] == ready.clock.now()
    ended = await ready.report(arn, "STOPPED")
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", task["stoppedReason"])


async def test_stopped_twice_the_first_reason_stays(ready: Ecs) -> None:
    arn = await running(ready)
    first = (await ready.stop_task(task=arn, reason="first"))["task"]
    ready.clock.advance(5)
    assert (await ready.stop_task(task=arn, reason="second"))["task"] == first
    ended = await ready.report(arn, "STOPPED")
    assert (await ready.stop_task(task=arn, reason="third"))["task"] == {**ended, "tags": first["tags"]}


async def test_a_task_that_ended_by_itself_is_not_blamed_on_who_stops_it_later(ready: Ecs) -> None:
    arn = await running(ready)
    ended = await ready.report(arn, "STOPPED")
    assert ended["stopCode"] == "EssentialContainerExited"
    assert (await ready.stop_task(task=arn, reason="late"))["task"]["stopCode"] == "EssentialContainerExited"


async def test_stopped_before_it_had_a_node(ecs: Ecs) -> None:
    (arn,) = await ecs.start()
    task = (await ecs.stop_task(task=arn, reason="never mind"))["task"]
    assert (task["lastStatus"], task["desiredStatus"]) == ("PROVISIONING", "STOPPED")
    await ecs.settle()
    task = await ecs.task(arn)
    assert (task["lastStatus"], task["stopCode"], task["stoppedReason"]) == (
        "STOPPED",
        "UserInitiated",
        "never mind",
    )
    assert task["createdAt"] <= task["stoppingAt"] <= task["stoppedAt"]
    assert {c["lastStatus"] for c in task["containers"]} == {"STOPPED"}
    assert {"startedAt", "pullStartedAt"}.isdisjoint(task)
    assert all("runtimeId" not in c and "exitCode" not in c for c in task["containers"])


async def test_a_task_of_which_no_sandbox_can_be_made_stops_though_the_store_failed_first(
    ready: Ecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: Any) -> None:
        raise StoreError("the disk is full")

    cell = LocalCell(ready.call.house)
    cursor, _ = await cell.assignments("n1", 0)
    (arn,) = await ready.start()
    await ready.settle()
    details = {d["name"]: d["value"] for d in (await ready.task(arn))["attachments"][0]["details"]}
    await ready.store.write(lambda tx: tx.delete(INTERFACE, details["networkInterfaceId"]))
    with monkeypatch.context() as patch, pytest.raises(CellError, match="full"):
        patch.setattr(ready.store, "write", full)
        await cell.assignments("n1", cursor)
    assert (await cell.assignments("n1", cursor))[1] == []
    task = await ready.task(arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")


async def test_stop_refuses(ready: Ecs) -> None:
    (arn,) = await ready.start()
    with refused(INVALID, "The reason must be at most 1024 characters long."):
        await ready.stop_task(task=arn, reason="x" * 1025)
    with refused(INVALID, "The request holds text or numbers out of range."):
        await ready.stop_task(task=arn, reason="\ud800")
    with refused(*NO_TASK):
        await ready.stop_task(task=UNKNOWN)
    with refused(*NOT_FOUND):
        await ready.stop_task(cluster="nosuch", task=UNKNOWN)
    assert (await ready.task(arn))["desiredStatus"] == "RUNNING"


async def test_a_deregistered_definition_leaves_its_tasks_alone(ready: Ecs) -> None:
    arn = await running(ready)
    await ready.deregister_task_definition(taskDefinition="web:1")
    assert (await ready.task(arn))["lastStatus"] == "RUNNING"
    with refused("ClientException", "TaskDefinition is inactive"):
        await ready.run(taskDefinition="web:1")
    with refused("ClientException", "Unable to describe task definition."):
        await ready.run()


async def test_stopped_tasks_are_forgotten_after_an_hour(ready: Ecs) -> None:
    (arn,) = await ready.start()
    await ready.settle()
    await ready.report(arn, "STOPPED", stopped_at=ready.clock.now())
    await ready.settle()
    ready.clock.advance(3600)
    await ready.forget()
    assert (await ready.task(arn))["lastStatus"] == "STOPPED"
    ready.clock.advance(120)
    await ready.forget()
    assert (await ready.describe_tasks(tasks=[arn]))["failures"] == [{"arn": arn, "reason": "MISSING"}]
    with refused(*NO_TASK):
        await ready.stop_task(task=arn)


async def test_health_is_that_of_the_essential_containers(ready: Ecs) -> None:
    await ready.register_task_definition(
        **definition(container("a"), container("b", essential=False), family="two")
    )
    (arn,) = await ready.start(taskDefinition="two")
    await ready.settle()

    async def seen(a: Any, b: Any) -> str:
        phases = {"a": a, "b": b}
        containers = tuple(ContainerStatus(name=n, phase="RUNNING", health=h) for n, h in phases.items())
        return str((await ready.report(arn, "RUNNING", containers=containers))["healthStatus"])

    assert await seen("UNKNOWN", "HEALTHY") == "UNKNOWN"
    assert await seen("HEALTHY", "UNHEALTHY") == "HEALTHY"
    assert await seen("UNHEALTHY", "HEALTHY") == "UNHEALTHY"
    assert (await ready.task(arn))["lastStatus"] == "RUNNING", "a task of no service is not ended for that"


async def test_only_tasks_of_services_can_be_protected(ready: Ecs) -> None:
    (arn,) = await ready.start()
    missing = SCOPE.arn("ecs", f"task/default/{UNKNOWN}")
    expected = [
        {"arn": arn, "reason": "TASK_NOT_VALID", "detail": "The task is not part of a service."},
        {"arn": missing, "reason": "MISSING"},
    ]
    asked = {"cluster": "default", "tasks": [arn, UNKNOWN]}
    for answer in (
        await ready.get_task_protection(**asked),
        await ready.update_task_protection(**asked, protectionEnabled=True, expiresInMinutes=2880),
    ):
        assert answer == {"protectedTasks": [], "failures": expected}
    assert (await ready.get_task_protection(cluster="default"))["failures"] == []
    with refused(INVALID, "expiresInMinutes must be between 1 and 2880."):
        await ready.update_task_protection(**asked, protectionEnabled=True, expiresInMinutes=2881)
    with refused(INVALID, "Tasks can have at most 10 items."):
        await ready.update_task_protection(cluster="default", tasks=[UNKNOWN] * 11, protectionEnabled=False)
    with refused(INVALID, "Tasks cannot be empty."):
        await ready.update_task_protection(cluster="default", tasks=[], protectionEnabled=False)
    with refused(*NOT_FOUND):
        await ready.get_task_protection(cluster="nosuch")
