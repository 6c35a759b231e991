"""EventBridge by an unmodified client: events of tasks, and tasks that events start."""

from datetime import UTC
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.events import ROLE, bodies, put, queue, received, rule, run, task_parts, until


@pytest.fixture
def events(door: Door) -> Any:
    return door.client("events")


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


def test_each_version_of_a_task_is_told_of_once(events: Any, sqs: Any, door: Door) -> None:
    url, arn = queue(sqs)
    parameters = task_parts(door, "busybox:exit-3")
    rule(events, {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"]}, {"Id": "1", "Arn": arn})
    task = run(door, parameters)
    found: list[dict[str, Any]] = []
    while not found or found[-1]["detail"]["lastStatus"] != "STOPPED":
        found += bodies(sqs, url, 0)
    assert [event["detail"]["version"] for event in found] == list(range(1, len(found) + 1))
    assert found[0]["detail"]["lastStatus"] == "PROVISIONING" and found[0]["resources"] == [task]
    last = found[-1]["detail"]
    assert last["stopCode"] == "EssentialContainerExited" and last["containers"][0]["exitCode"] == 3
    assert last["attachments"][0]["type"] == "eni" and last["attachments"][0]["status"] == "DELETED"
    assert last["group"] == "family:job" and "tags" not in last
    shown = door.client("ecs").describe_tasks(cluster="c", tasks=[task])["tasks"][0]
    assert last["version"] == shown["version"] and last["taskArn"] == task
    stopped = shown["stoppedAt"].astimezone(UTC).isoformat(timespec="milliseconds")
    assert last["stoppedAt"] == stopped.replace("+00:00", "Z")
    assert all(isinstance(last[name], str) for name in last if name.endswith("At"))


def test_a_stopped_task_starts_another(events: Any, door: Door) -> None:
    """Once: what was started by the rule belongs to another group, of which the rule says nothing."""
    parameters = task_parts(door, "busybox:exit-0")
    pattern = {
        "source": ["aws.ecs"],
        "detail": {"lastStatus": ["STOPPED"], "group": ["family:job"]},
    }
    template = {
        "InputPathsMap": {"task": "$.detail.taskArn"},
        "InputTemplate": '{"containerOverrides": [{"name": "main", "environment": ['
        '{"name": "AFTER", "value": <task>}]}]}',
    }
    target = {
        "Id": "1",
        "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c",
        "RoleArn": ROLE,
        "EcsParameters": {
            **parameters,
            "TaskCount": 2,
            "Group": "after",
            "Tags": [{"Key": "k", "Value": "v"}],
        },
        "InputTransformer": template,
    }
    rule(events, pattern, target)
    first = run(door, parameters)
    ecs = door.client("ecs")

    def others() -> list[str]:
        stopped = ecs.list_tasks(cluster="c", desiredStatus="STOPPED")["taskArns"]
        running = ecs.list_tasks(cluster="c")["taskArns"]
        return [arn for arn in {*stopped, *running} if arn != first]

    arns = until(lambda: len(found := others()) == 2 and found)
    for task in ecs.describe_tasks(cluster="c", tasks=arns, include=["TAGS"])["tasks"]:
        assert task["startedBy"] == "events-rule/r" and task["group"] == "after"
        assert task["tags"] == [{"key": "k", "value": "v"}]
        (override,) = task["overrides"]["containerOverrides"]
        assert override["environment"] == [{"name": "AFTER", "value": first}]


def test_a_task_that_can_never_run_is_given_up(events: Any, sqs: Any, door: Door) -> None:
    url, dead = queue(sqs, "dead")
    parameters = task_parts(door)
    target = {
        "Id": "1",
        "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/gone",
        "RoleArn": ROLE,
        "EcsParameters": parameters,
        "DeadLetterConfig": {"Arn": dead},
    }
    rule(events, {"source": ["my.app"]}, target)
    put(events)
    (message,) = received(sqs, url)
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "ClusterNotFoundException"


def test_a_reset_ends_rules_before_tasks(events: Any, door: Door) -> None:
    """A rule that starts a task whenever one stops would go on for ever."""
    parameters = task_parts(door)
    cluster = "arn:aws:ecs:us-east-1:000000000000:cluster/c"
    target = {"Id": "1", "Arn": cluster, "RoleArn": ROLE, "EcsParameters": parameters}
    rule(events, {"source": ["aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}}, target)
    run(door, parameters)
    door.forget()
    assert events.list_rules()["Rules"] == []
    assert door.client("ecs").list_clusters()["clusterArns"] == []
