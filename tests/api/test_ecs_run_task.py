"""RunTask: what a task is made of, strategies, overrides, idempotency, capacity."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from neargate.model.placement import NO_CAPACITY
from tests.support.ecs import ROLE, SCOPE, Ecs, container, definition, opened, refused

INVALID = "InvalidParameterException"
BOTH = ["FARGATE", "FARGATE_SPOT"]


async def only(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    answer = await ecs.run(**changes)
    assert answer["failures"] == []
    (task,) = answer["tasks"]
    return dict(task)


async def test_a_task_as_it_is_made(ready: Ecs) -> None:
    task = await only(ready)
    id = task["taskArn"].rpartition("/")[2]
    assert task["taskArn"] == SCOPE.arn("ecs", f"task/default/{id}")
    assert len(id) == 32
    assert (task["lastStatus"], task["desiredStatus"]) == ("PROVISIONING", "RUNNING")
    assert (task["cpu"], task["memory"], task["version"]) == ("256", "512", 1)
    assert (task["launchType"], task["platformVersion"], task["platformFamily"]) == (
        "FARGATE",
        "1.4.0",
        "Linux",
    )
    assert task["group"] == "family:web"
    assert task["createdAt"] == ready.clock.now()
    assert task["attributes"] == [{"name": "ecs.cpu-architecture", "value": "x86_64"}]
    assert task["ephemeralStorage"] == task["fargateEphemeralStorage"] == {"sizeInGiB": 20}
    assert (task["healthStatus"], task["tags"]) == ("UNKNOWN", [])
    assert task["overrides"] == {
        "containerOverrides": [{"name": "web-app"}, {"name": "side"}],
        "inferenceAcceleratorOverrides": [],
    }
    (attachment,) = task["attachments"]
    assert (attachment["type"], attachment["status"]) == ("ElasticNetworkInterface", "PRECREATED")
    assert [c["name"] for c in task["containers"]] == ["web-app", "side"]
    first, second = task["containers"]
    assert first["containerArn"].startswith(SCOPE.arn("ecs", f"container/default/{id}/"))
    assert first["containerArn"] != second["containerArn"]
    assert (first["lastStatus"], first["networkInterfaces"], first["networkBindings"]) == ("PENDING", [], [])
    assert not {"startedAt", "stoppedAt", "stopCode", "capacityProviderName", "exitCode"} & {*task, *first}


async def test_count_makes_so_many_each_with_ids_of_its_own(ready: Ecs) -> None:
    answer = await ready.run(count=10)
    assert len({t["taskArn"] for t in answer["tasks"]}) == 10
    assert len({c["containerArn"] for t in answer["tasks"] for c in t["containers"]}) == 20
    assert len({t["attachments"][0]["id"] for t in answer["tasks"]}) == 10


async def test_group_started_by_and_tags(ready: Ecs) -> None:
    task = await only(
        ready,
        group="nightly",
        startedBy="cron/1:x.y",
        enableECSManagedTags=True,
        propagateTags="TASK_DEFINITION",
        tags=[{"key": "mine", "value": "ü"}],
    )
    assert (task["group"], task["startedBy"]) == ("nightly", "cron/1:x.y")
    assert {t["key"]: t["value"] for t in task["tags"]} == {
        "aws:ecs:clusterName": "default",
        "of": "definition",
        "mine": "ü",
    }


@pytest.mark.parametrize(
    ("params", "tags"),
    [
        ({}, {}),
        ({"propagateTags": "NONE", "tags": [{"key": "a", "value": "b"}]}, {"a": "b"}),
        ({"propagateTags": "TASK_DEFINITION"}, {"of": "definition"}),
        ({"propagateTags": "TASK_DEFINITION", "tags": [{"key": "of", "value": "task"}]}, {"of": "task"}),
    ],
)
async def test_tags_of_the_definition_only_if_asked_for(
    ready: Ecs, params: dict[str, Any], tags: dict[str, str]
) -> None:
    task = await only(ready, **params)
    assert {t["key"]: t["value"] for t in task["tags"]} == tags


async def test_propagated_tags_count(ready: Ecs) -> None:
    own = [{"key": str(i), "value": ""} for i in range(50)]
    with refused(INVALID, "The maximum number of tags per resource is 50."):
        await ready.run(tags=own, propagateTags="TASK_DEFINITION")
    assert (await ready.list_tasks())["taskArns"] == []
    assert len((await only(ready, tags=own, enableECSManagedTags=True))["tags"]) == 51


@pytest.mark.parametrize(
    ("strategy", "count", "expected"),
    [
        ([("FARGATE", 1, 1), ("FARGATE_SPOT", 4, 0)], 6, {"FARGATE": 2, "FARGATE_SPOT": 4}),
        ([("FARGATE_SPOT", 1, 0)], 3, {"FARGATE_SPOT": 3}),
        ([("FARGATE", 0, 0), ("FARGATE_SPOT", 1, 0)], 2, {"FARGATE_SPOT": 2}),
    ],
)
async def test_a_strategy_spreads_the_tasks(
    ready: Ecs, strategy: list[tuple[str, int, int]], count: int, expected: dict[str, int]
) -> None:
    items = [{"capacityProvider": n, "weight": w, "base": b} for n, w, b in strategy]
    answer = await ready.run(launchType=None, capacityProviderStrategy=items, count=count)
    assert Counter(t["capacityProviderName"] for t in answer["tasks"]) == expected
    assert {t["launchType"] for t in answer["tasks"]} == {"FARGATE"}


async def test_the_clusters_strategy_is_the_default(ready: Ecs) -> None:
    await ready.put_cluster_capacity_providers(
        cluster="default",
        capacityProviders=BOTH,
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
    )
    assert (await only(ready, launchType=None))["capacityProviderName"] == "FARGATE_SPOT"
    assert "capacityProviderName" not in await only(ready, launchType="FARGATE")


async def test_overrides_change_size_and_are_shown(ready: Ecs) -> None:
    changed = {
        "name": "web-app",
        "command": ["sh"],
        "environment": [{"name": "A", "value": "1"}],
        "memory": 600,
    }
    task = await only(
        ready,
        overrides={
            "cpu": "1 vCPU",
            "memory": "2 GB",
            "ephemeralStorage": {"sizeInGiB": 30},
            "taskRoleArn": "short",
            "executionRoleArn": ROLE,
            "containerOverrides": [changed],
        },
    )
    assert (task["cpu"], task["memory"]) == ("1024", "2048")
    assert task["ephemeralStorage"] == task["fargateEphemeralStorage"] == {"sizeInGiB": 30}
    assert task["overrides"] == {
        "containerOverrides": [changed, {"name": "side"}],
        "inferenceAcceleratorOverrides": [],
        "cpu": "1 vCPU",
        "memory": "2 GB",
        "ephemeralStorage": {"sizeInGiB": 30},
        "taskRoleArn": f"arn:aws:iam::{SCOPE.account}:role/short",
        "executionRoleArn": ROLE,
    }
    assert [c.get("memory") for c in task["containers"]] == ["600", None]


async def test_where_there_is_room_for_some_the_rest_fails(tmp_path: Path) -> None:
    async with opened(tmp_path, overcommit_cpu=1.0, overcommit_memory=1.0) as ecs:
        await ecs.add_node(cpu_units=65536, memory_mib=16384)  # 32 tasks of 512 MiB
        await fill(ecs)


async def fill(ecs: Ecs) -> None:
    await ecs.start(10)
    await ecs.start(10)
    await ecs.settle()
    await ecs.start(9)  # waiting ones count as well
    answer = await ecs.run(count=10)
    assert len(answer["tasks"]) == 3
    assert (
        answer["failures"]
        == [{"arn": SCOPE.arn("ecs", "cluster/default"), "reason": "RESOURCE:FARGATE", "detail": NO_CAPACITY}]
        * 7
    )
    none = await ecs.run()
    assert (none["tasks"], len(none["failures"])) == ([], 1)
    await ecs.settle()
    listed = (await ecs.list_tasks())["taskArns"]
    assert len(listed) == 32, "placement found room for every one that was promised it"
    for arn in listed[:2]:
        await ecs.report(arn, "STOPPED")
    assert len((await ecs.run(count=3))["tasks"]) == 2


async def test_before_any_node_tasks_wait(ecs: Ecs) -> None:
    arns = await ecs.start(10)
    await ecs.add_node()
    await ecs.settle()
    described = (await ecs.describe_tasks(tasks=arns))["tasks"]
    assert {t["attachments"][0]["status"] for t in described} == {"ATTACHING"}


async def test_a_token_makes_its_tasks_once(ready: Ecs) -> None:
    first = await ready.run(count=3, clientToken="abc", tags=[{"key": "a", "value": "b"}])
    again = await ready.run(count=3, clientToken="abc", tags=[{"key": "a", "value": "b"}])
    assert again == first
    await ready.stop_task(task=first["tasks"][0]["taskArn"])
    later = await ready.run(count=3, clientToken="abc", tags=[{"key": "a", "value": "b"}])
    assert [t["desiredStatus"] for t in later["tasks"]] == ["STOPPED", "RUNNING", "RUNNING"]
    assert len((await ready.list_tasks())["taskArns"]) == 2


async def test_a_token_used_by_many_at_once(ready: Ecs) -> None:
    answers = await asyncio.gather(*(ready.run(count=2, clientToken="abc") for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    assert len((await ready.list_tasks())["taskArns"]) == 2


async def test_a_token_with_other_parameters_conflicts(ready: Ecs) -> None:
    first = await ready.run(count=2, clientToken="abc")
    for changes in ({"count": 3}, {"count": 2, "startedBy": "x"}, {"count": 2, "platformVersion": "1.4.0"}):
        with refused(
            "ConflictException", "The clientToken was already used by a request with other parameters."
        ) as caught:
            await ready.run(clientToken="abc", **changes)
        assert caught.value.fields == {"resourceIds": [t["taskArn"] for t in first["tasks"]]}
    await ready.create_cluster(clusterName="other")
    assert len((await ready.run(clientToken="abc", cluster="other"))["tasks"]) == 1, (
        "tokens are a cluster's own"
    )


async def test_a_token_whose_task_was_forgotten_makes_none_anew(ready: Ecs) -> None:
    (task,) = (await ready.run(clientToken="abc"))["tasks"]
    arn = task["taskArn"]
    await ready.settle()
    await ready.report(arn, "STOPPED", stopped_at=ready.clock.now())
    await ready.settle()
    ready.clock.advance(2 * 3600)
    await ready.forget()
    again = await ready.run(clientToken="abc")
    assert again == {"tasks": [], "failures": [{"arn": arn, "reason": "MISSING"}]}
    ready.clock.advance(24 * 3600)
    await ready.forget()
    assert len((await ready.run(clientToken="abc"))["tasks"]) == 1, "a day later it is a new one"


async def test_a_token_that_made_nothing_may_be_used_again(ecs: Ecs) -> None:
    await ecs.add_node(cpu_units=1, memory_mib=1)
    await ecs.create_cluster()
    await ecs.register_task_definition(**definition())
    assert len((await ecs.run(clientToken="abc"))["failures"]) == 1
    await ecs.add_node()
    assert len((await ecs.run(clientToken="abc"))["tasks"]) == 1


async def test_a_definition_by_every_name(ready: Ecs) -> None:
    await ready.register_task_definition(**definition())
    arn = SCOPE.arn("ecs", "task-definition/web:1")
    for text, expected in (("web", 2), ("web:1", 1), (arn, 1)):
        assert (await only(ready, taskDefinition=text))["taskDefinitionArn"].endswith(f"web:{expected}")
    cluster = SCOPE.arn("ecs", "cluster/default")
    assert (await only(ready, cluster=cluster))["clusterArn"] == cluster


async def test_start_task_has_no_instances_to_start_on(ready: Ecs) -> None:
    ec2 = definition(
        container(memory=64), family="ec2", requiresCompatibilities=["EC2"], networkMode="bridge"
    )
    await ready.register_task_definition(**ec2)
    answer = await ready.start_task(taskDefinition="ec2", containerInstances=["i1"])
    assert answer == {"tasks": [], "failures": [{"arn": "i1", "reason": "MISSING"}]}
    with refused(INVALID, "Task definition does not support launch_type EC2."):
        await ready.start_task(taskDefinition="web", containerInstances=["i1"])
    with refused(INVALID, "Container instances must be between 1 and 10."):
        await ready.start_task(taskDefinition="ec2", containerInstances=[])
