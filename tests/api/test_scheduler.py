"""EventBridge Scheduler by an unmodified client; what is due sends to a queue, a bus, or starts tasks."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.events import ROLE, bodies, queue, received, refused, rule, task_parts, until

OFF = {"Mode": "OFF"}
AT_ONCE = "rate(7 days)"
"""Its first moment is when it is made."""


@pytest.fixture
def scheduler(door: Door) -> Any:
    return door.client("scheduler")


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


def soon() -> str:
    """A moment far enough ahead for a slow machine."""
    return f"at({datetime.now(UTC) + timedelta(seconds=4):%Y-%m-%dT%H:%M:%S})"


def create(scheduler: Any, arn: str, expression: str = "rate(1 day)", name: str = "s", **more: Any) -> str:
    target = {"Arn": arn, "RoleArn": ROLE, **more.pop("Target", {})}
    made = scheduler.create_schedule(
        Name=name, ScheduleExpression=expression, FlexibleTimeWindow=OFF, Target=target, **more
    )
    found: str = made["ScheduleArn"]
    return found


def test_a_schedule_from_birth_to_death(scheduler: Any, sqs: Any) -> None:
    _, arn = queue(sqs)
    made = create(scheduler, arn, "cron(0 10 ? * MON-FRI *)", ScheduleExpressionTimezone="Europe/Berlin")
    assert made == "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"
    refused("ConflictException", create, scheduler=scheduler, arn=arn)
    shown = scheduler.get_schedule(Name="s")
    assert shown["Target"] == {"Arn": arn, "RoleArn": ROLE} and shown["State"] == "ENABLED"
    assert shown["ScheduleExpressionTimezone"] == "Europe/Berlin" and shown["GroupName"] == "default"
    assert shown["FlexibleTimeWindow"] == OFF and shown["ActionAfterCompletion"] == "NONE"
    scheduler.update_schedule(
        Name="s",
        ScheduleExpression="rate(2 hours)",
        State="DISABLED",
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        Target={"Arn": arn, "RoleArn": ROLE, "Input": '{"a": 1}'},
    )
    shown = scheduler.get_schedule(Name="s")
    assert shown["FlexibleTimeWindow"]["MaximumWindowInMinutes"] == 15 and shown["State"] == "DISABLED"
    assert shown["ScheduleExpressionTimezone"] == "UTC"
    (listed,) = scheduler.list_schedules(NamePrefix="s", State="DISABLED")["Schedules"]
    assert listed["Target"] == {"Arn": arn}
    assert scheduler.list_schedules(State="ENABLED")["Schedules"] == []
    scheduler.delete_schedule(Name="s")
    refused("ResourceNotFoundException", scheduler.get_schedule, Name="s")
    refused("ResourceNotFoundException", scheduler.delete_schedule, Name="s")


def test_the_same_request_again_makes_nothing_more(scheduler: Any, sqs: Any) -> None:
    _, arn = queue(sqs)
    assert create(scheduler, arn, ClientToken="t") == create(scheduler, arn, ClientToken="t")
    groups = [scheduler.create_schedule_group(Name="g", ClientToken="t") for _ in range(2)]
    assert groups[0]["ScheduleGroupArn"] == groups[1]["ScheduleGroupArn"]


def test_groups(scheduler: Any, sqs: Any) -> None:
    _, arn = queue(sqs)
    group = scheduler.create_schedule_group(Name="g", Tags=[{"Key": "a", "Value": "1"}])["ScheduleGroupArn"]
    refused("ConflictException", scheduler.create_schedule_group, Name="g")
    refused("ResourceNotFoundException", create, scheduler=scheduler, arn=arn, GroupName="nowhere")
    create(scheduler, arn, GroupName="g")
    create(scheduler, arn)
    assert len(scheduler.list_schedules()["Schedules"]) == 2
    assert [s["GroupName"] for s in scheduler.list_schedules(GroupName="g")["Schedules"]] == ["g"]
    assert [g["Name"] for g in scheduler.list_schedule_groups()["ScheduleGroups"]] == ["default", "g"]
    scheduler.tag_resource(ResourceArn=group, Tags=[{"Key": "b", "Value": "2"}])
    scheduler.untag_resource(ResourceArn=group, TagKeys=["a"])
    assert scheduler.list_tags_for_resource(ResourceArn=group)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert scheduler.get_schedule_group(Name="g")["State"] == "ACTIVE"
    scheduler.delete_schedule_group(Name="g")
    assert [s["GroupName"] for s in scheduler.list_schedules()["Schedules"]] == ["default"]
    refused("ValidationException", scheduler.delete_schedule_group, Name="default")


def test_lists_have_pages(scheduler: Any, sqs: Any) -> None:
    _, arn = queue(sqs)
    for i in range(5):
        create(scheduler, arn, name=f"s{i}")
    pages = scheduler.get_paginator("list_schedules").paginate(PaginationConfig={"PageSize": 2})
    assert [s["Name"] for page in pages for s in page["Schedules"]] == [f"s{i}" for i in range(5)]


def test_a_schedule_that_is_due_sends_to_a_queue_and_goes(scheduler: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    text = '{"s": "<aws.scheduler.schedule-arn>", "at": "<aws.scheduler.scheduled-time>"}'
    expression = soon()
    made = create(scheduler, arn, expression, Target={"Input": text}, ActionAfterCompletion="DELETE")
    (body,) = bodies(sqs, url)
    assert body == {"s": made, "at": f"{expression[3:-1]}Z"}
    refused("ResourceNotFoundException", scheduler.get_schedule, Name="s")


def test_without_an_input_it_sends_a_scheduled_event(scheduler: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    made = create(scheduler, arn, AT_ONCE)
    (body,) = bodies(sqs, url)
    assert body["source"] == "aws.scheduler" and body["detail-type"] == "Scheduled Event"
    assert body["resources"] == [made] and scheduler.get_schedule(Name="s")["State"] == "ENABLED"


def test_a_schedule_puts_an_event(scheduler: Any, sqs: Any, door: Door) -> None:
    url, arn = queue(sqs)
    rule(door.client("events"), {"source": ["my.clock"]}, {"Id": "1", "Arn": arn})
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    parameters = {"DetailType": "tick", "Source": "my.clock"}
    create(scheduler, bus, AT_ONCE, Target={"EventBridgeParameters": parameters, "Input": '{"n": 1}'})
    (event,) = bodies(sqs, url)
    assert event["detail"] == {"n": 1} and event["detail-type"] == "tick"


def test_a_schedule_starts_a_task(scheduler: Any, door: Door) -> None:
    parameters = task_parts(door)
    cluster = "arn:aws:ecs:us-east-1:000000000000:cluster/c"
    create(
        scheduler,
        cluster,
        AT_ONCE,
        Target={"EcsParameters": {**parameters, "Tags": [{"key": "k", "value": "v"}]}},
    )
    ecs = door.client("ecs")
    arns = until(lambda: ecs.list_tasks(cluster="c")["taskArns"])
    (task,) = ecs.describe_tasks(cluster="c", tasks=arns, include=["TAGS"])["tasks"]
    assert task["startedBy"] == "chronos-schedule/s" and task["tags"] == [{"key": "k", "value": "v"}]


def test_a_scheduled_task_that_demands_a_tier_which_nobody_offers(
    scheduler: Any, sqs: Any, door: Door
) -> None:
    """A dead letter, and no task in another."""
    url, dead = queue(sqs, "dead")
    parameters = task_parts(door)
    ecs = door.client("ecs")
    ecs.tag_resource(
        resourceArn=parameters["TaskDefinitionArn"], tags=[{"key": "neargate.isolation", "value": "microvm"}]
    )
    target = {
        "EcsParameters": parameters,
        "DeadLetterConfig": {"Arn": dead},
        "RetryPolicy": {"MaximumRetryAttempts": 0},
    }
    create(scheduler, "arn:aws:ecs:us-east-1:000000000000:cluster/c", AT_ONCE, Target=target)
    (message,) = received(sqs, url)
    assert "microvm" in message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]
    assert ecs.list_tasks(cluster="c")["taskArns"] == []


def test_a_rule_with_a_schedule_shows_it_and_waits(sqs: Any, door: Door) -> None:
    events = door.client("events")
    _, arn = queue(sqs)
    events.put_rule(Name="r", ScheduleExpression="rate(5 minutes)")
    events.put_targets(Rule="r", Targets=[{"Id": "1", "Arn": arn}])
    assert events.describe_rule(Name="r")["ScheduleExpression"] == "rate(5 minutes)"


def test_a_detail_that_no_event_can_have_is_a_dead_letter_at_once(
    scheduler: Any, sqs: Any, door: Door
) -> None:
    url, dead = queue(sqs, "dead")
    rule(door.client("events"), {"source": ["my.app"]}, {"Id": "1", "Arn": dead})
    target = {
        "Arn": "arn:aws:events:us-east-1:000000000000:event-bus/default",
        "Input": r'{"a": "\ud800"}',
        "EventBridgeParameters": {"DetailType": "t", "Source": "my.app"},
        "DeadLetterConfig": {"Arn": dead},
    }
    create(scheduler, dead, AT_ONCE, Target=target)
    (message,) = received(sqs, url)
    assert message["MessageAttributes"]["RETRY_ATTEMPTS"]["StringValue"] == "0"


def test_a_dead_letter_queue_has_what_could_not_be_sent(scheduler: Any, sqs: Any) -> None:
    url, dead = queue(sqs, "dead")
    gone = "arn:aws:sqs:us-east-1:000000000000:gone"
    create(scheduler, gone, AT_ONCE, Target={"Input": '"x"', "DeadLetterConfig": {"Arn": dead}})
    (message,) = received(sqs, url)
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "RESOURCE_NOT_FOUND"
    assert json.loads(message["Body"])["source"] == "aws.scheduler"


QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ScheduleExpression": "every day"}, "Invalid Schedule Expression"),
        ({"ScheduleExpression": "cron(0 0 * * * *)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "Invalid ScheduleExpressionTimezone"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes is required"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 1}}, "is not valid when"),
        ({"EndDate": datetime(2020, 1, 1, tzinfo=UTC)}, "EndDate"),
        ({"Target": {"Arn": "nonsense", "RoleArn": ROLE}}, "not in correct format"),
        (
            {"Target": {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "RoleArn": ROLE}},
            "Universal targets",
        ),
        (
            {"Target": {"Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c", "RoleArn": ROLE}},
            "EcsParameters is required",
        ),
        ({"Target": {"Arn": QUEUE + ".fifo", "RoleArn": ROLE}}, "MessageGroupId"),
        (
            {"Target": {"Arn": "arn:aws:logs:us-east-1:000000000000:log-group:x", "RoleArn": ROLE}},
            "Schedules start tasks",
        ),
    ],
)
def test_schedules_that_cannot_be(scheduler: Any, changes: dict[str, Any], told: str) -> None:
    good = {
        "Name": "s",
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": OFF,
        "Target": {"Arn": QUEUE, "RoleArn": ROLE},
    }
    error = refused("ValidationException", scheduler.create_schedule, **{**good, **changes})
    assert told in str(error)
    assert scheduler.list_schedules()["Schedules"] == []
