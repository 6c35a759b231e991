"""EventBridge by an unmodified client: rules, targets, what events come to, and where they end."""

import json
import time
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door

ROLE = "arn:aws:iam::000000000000:role/events"
RULE = "arn:aws:events:us-east-1:000000000000:rule/"


@pytest.fixture
def events(door: Door) -> Any:
    return door.client("events")


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


def refused(code: str, operation: Any, **params: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        operation(**params)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value


def queue(sqs: Any, name: str = "q", **attributes: str) -> tuple[str, str]:
    """(URL, ARN)."""
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:us-east-1:000000000000:{name}"


def received(sqs: Any, url: str, count: int = 1) -> list[dict[str, Any]]:
    """Exactly so many messages, waited for; of 0, as many as come at once, at least one."""
    found: list[dict[str, Any]] = []
    while len(found) < (count or 1):
        more = sqs.receive_message(
            QueueUrl=url,
            WaitTimeSeconds=20,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages")
        assert more, f"{len(found)} messages of {count}"
        for message in more:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        found += more
    assert len(found) == count or not count
    return found


def bodies(sqs: Any, url: str, count: int = 1) -> list[Any]:
    return [json.loads(message["Body"]) for message in received(sqs, url, count)]


def rule(events: Any, pattern: dict[str, Any], *targets: dict[str, Any], name: str = "r", **more: Any) -> str:
    bus = {"EventBusName": more["EventBusName"]} if "EventBusName" in more else {}
    arn: str = events.put_rule(Name=name, EventPattern=json.dumps(pattern), **more)["RuleArn"]
    if targets:
        assert events.put_targets(Rule=name, Targets=list(targets), **bus)["FailedEntryCount"] == 0
    return arn


def put(events: Any, detail: Any = None, **more: Any) -> str:
    entry = {"Source": "my.app", "DetailType": "Order", "Detail": json.dumps(detail or {}), **more}
    answer = events.put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0, answer
    id: str = answer["Entries"][0]["EventId"]
    return id


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_rule_from_birth_to_death(events: Any, sqs: Any) -> None:
    _, arn = queue(sqs)
    pattern = {"source": ["my.app"]}
    assert rule(events, pattern, Description="d", Tags=[{"Key": "a", "Value": "1"}]) == RULE + "r"
    shown = events.describe_rule(Name="r")
    assert json.loads(shown["EventPattern"]) == pattern and shown["State"] == "ENABLED"
    assert shown["EventBusName"] == "default" and shown["Description"] == "d"
    targets = [{"Id": "1", "Arn": arn}, {"Id": "2", "Arn": arn, "Input": '{"x": 1}'}]
    events.put_targets(Rule="r", Targets=targets)
    assert events.list_targets_by_rule(Rule="r")["Targets"] == targets
    assert events.list_rule_names_by_target(TargetArn=arn)["RuleNames"] == ["r"]
    assert [r["Name"] for r in events.list_rules(NamePrefix="r")["Rules"]] == ["r"]
    assert events.list_rules(NamePrefix="x")["Rules"] == []
    events.put_rule(Name="r", EventPattern='{"source": ["other"]}')
    assert events.list_targets_by_rule(Rule="r")["Targets"] == targets  # they stay
    events.disable_rule(Name="r")
    assert events.describe_rule(Name="r")["State"] == "DISABLED"
    events.enable_rule(Name="r")
    assert events.list_tags_for_resource(ResourceARN=RULE + "r")["Tags"] == [{"Key": "a", "Value": "1"}]
    events.tag_resource(ResourceARN=RULE + "r", Tags=[{"Key": "b", "Value": "2"}])
    events.untag_resource(ResourceARN=RULE + "r", TagKeys=["a"])
    assert events.list_tags_for_resource(ResourceARN=RULE + "r")["Tags"] == [{"Key": "b", "Value": "2"}]
    error = refused("ValidationException", events.delete_rule, Name="r")
    assert "Rule can't be deleted since it has targets." in str(error)
    events.remove_targets(Rule="r", Ids=["1", "2", "unknown"])
    events.delete_rule(Name="r")
    events.delete_rule(Name="r")
    error = refused("ResourceNotFoundException", events.describe_rule, Name="r")
    assert "Rule r does not exist on EventBus default." in str(error)


def test_lists_have_pages(events: Any) -> None:
    for i in range(5):
        rule(events, {"source": ["a"]}, name=f"r{i}")
    pages = events.get_paginator("list_rules").paginate(PaginationConfig={"PageSize": 2})
    assert [r["Name"] for page in pages for r in page["Rules"]] == [f"r{i}" for i in range(5)]


def test_an_event_comes_to_a_queue_as_it_was_put(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    rule(events, {"source": ["my.app"], "detail": {"n": [{"numeric": [">", 1]}]}}, {"Id": "1", "Arn": arn})
    put(events, {"n": 1})
    id = put(events, {"n": 2, "text": "☃"}, Resources=["arn:x"], Time=1_700_000_000)
    (event,) = bodies(sqs, url)
    assert event == {
        "version": "0",
        "id": id,
        "detail-type": "Order",
        "source": "my.app",
        "account": "000000000000",
        "time": "2023-11-14T22:13:20Z",
        "region": "us-east-1",
        "resources": ["arn:x"],
        "detail": {"n": 2, "text": "☃"},
    }


def test_events_come_in_order(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    rule(events, {"source": ["my.app"]}, {"Id": "1", "Arn": arn})
    for i in range(5):
        entries = [
            {"Source": "my.app", "DetailType": "d", "Detail": json.dumps({"i": 10 * i + j})}
            for j in range(10)
        ]
        events.put_events(Entries=entries)
    assert [event["detail"]["i"] for event in bodies(sqs, url, 50)] == list(range(50))


def test_what_a_disabled_rule_or_another_bus_would_have_is_not_sent(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    events.create_event_bus(Name="orders")
    target = {"Id": "1", "Arn": arn}
    rule(events, {"source": ["my.app"]}, target, name="off", State="DISABLED")
    rule(events, {"source": ["my.app"]}, {**target, "Input": '"orders"'}, name="there", EventBusName="orders")
    put(events)
    put(events, EventBusName="arn:aws:events:us-east-1:000000000000:event-bus/orders")
    assert bodies(sqs, url) == ["orders"]


def test_inputs(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    transformer = {
        "InputPathsMap": {"n": "$.detail.n", "who": "$.detail.who"},
        "InputTemplate": '{"text": "<who> wants <n>", "n": <n>, "rule": <aws.events.rule-name>}',
    }
    rule(
        events,
        {"source": ["my.app"]},
        {"Id": "1", "Arn": arn, "InputPath": "$.detail.who"},
        {"Id": "2", "Arn": arn, "Input": '{"fixed": true}'},
        {"Id": "3", "Arn": arn, "InputTransformer": transformer},
    )
    put(events, {"n": 3, "who": "ann"})
    expected = ["ann", {"fixed": True}, {"text": "ann wants 3", "n": 3, "rule": "r"}]
    assert sorted(bodies(sqs, url, 3), key=str) == sorted(expected, key=str)


def test_a_fifo_queue_gets_its_group(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs, "q.fifo", FifoQueue="true")
    target = {"Id": "1", "Arn": arn}
    rule(events, {"source": ["my.app"]})
    refused("ValidationException", events.put_targets, Rule="r", Targets=[target])
    events.put_targets(Rule="r", Targets=[{**target, "SqsParameters": {"MessageGroupId": "g"}}])
    put(events)
    (message,) = received(sqs, url)
    assert message["Attributes"]["MessageGroupId"] == "g"


def test_an_event_comes_to_a_log_group(events: Any, door: Door) -> None:
    logs = door.client("logs")
    logs.create_log_group(logGroupName="/aws/events/orders")
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/orders"
    template = {
        "InputPathsMap": {"n": "$.detail.n"},
        "InputTemplate": '{"timestamp": 1700000000000, "message": "n is <n>"}',
    }
    rule(
        events,
        {"source": ["my.app"]},
        {"Id": "1", "Arn": arn},
        {"Id": "2", "Arn": arn + ":*", "InputTransformer": template},
    )
    id = put(events, {"n": 1})
    found = until(
        lambda: (f := logs.filter_log_events(logGroupName="/aws/events/orders")["events"])[1:] and f
    )
    assert found[0]["timestamp"] == 1_700_000_000_000 and found[0]["message"] == "n is 1"
    assert json.loads(found[1]["message"])["id"] == id


def test_an_event_is_passed_on_to_another_bus_and_not_in_a_circle(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs)
    bus = events.create_event_bus(Name="there")["EventBusArn"]
    back = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    rule(events, {"source": ["my.app"]}, {"Id": "1", "Arn": bus, "RoleArn": ROLE})
    rule(
        events,
        {"source": ["my.app"]},
        {"Id": "1", "Arn": arn},
        {"Id": "2", "Arn": back},
        name="r2",
        EventBusName="there",
    )
    put(events, {"n": 1})
    found = bodies(sqs, url, 3)  # over there after one, three and five buses
    assert {event["detail"]["n"] for event in found} == {1}


def test_what_cannot_be_sent_goes_to_the_dead_letter_queue(events: Any, sqs: Any) -> None:
    url, arn = queue(sqs, "dead")
    gone = {"Id": "1", "Arn": "arn:aws:sqs:us-east-1:000000000000:gone", "DeadLetterConfig": {"Arn": arn}}
    rule(events, {"source": ["my.app"]}, gone)
    id = put(events, {"n": 1})
    (message,) = received(sqs, url)
    assert json.loads(message["Body"])["id"] == id
    told = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert told["RULE_ARN"] == RULE + "r" and told["TARGET_ARN"] == gone["Arn"]
    assert told["ERROR_CODE"] == "RESOURCE_NOT_FOUND" and told["RETRY_ATTEMPTS"] == "0"


def test_put_events_tells_of_each_entry(events: Any) -> None:
    good = {"Source": "my.app", "DetailType": "d", "Detail": "{}"}
    answer = events.put_events(
        Entries=[
            good,
            {**good, "Source": "aws.ecs"},
            {**good, "Detail": "[1]"},
            {**good, "Detail": '{"a": "\\ud800"}'},
            {"Source": "my.app", "Detail": "{}"},
            {**good, "EventBusName": "nowhere"},
        ]
    )
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [
        None,
        "NotAuthorizedForSourceException",
        "MalformedDetail",
        "MalformedDetail",
        "InvalidArgument",
        "InvalidArgument",
    ]
    assert answer["FailedEntryCount"] == 5 and answer["Entries"][0]["EventId"]
    large = {**good, "Detail": json.dumps({"x": "y" * 600_000})}
    error = refused("ValidationException", events.put_events, Entries=[large, large])
    assert "Total size of the entries in the request is over the limit." in str(error)
    refused("ValidationException", events.put_events, Entries=[good] * 11)


def test_patterns_are_tried(events: Any) -> None:
    event = {
        "id": "1",
        "account": "1",
        "source": "s",
        "time": "t",
        "region": "r",
        "resources": [],
        "detail-type": "d",
    }
    tried = [
        events.test_event_pattern(EventPattern=json.dumps({"source": [s]}), Event=json.dumps(event))["Result"]
        for s in ("s", "x")
    ]
    assert tried == [True, False]
    refused(
        "InvalidEventPatternException", events.test_event_pattern, EventPattern="{}", Event=json.dumps(event)
    )
    refused("ValidationException", events.test_event_pattern, EventPattern='{"source": ["s"]}', Event="{}")


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("ValidationException", {}),
        ("InvalidEventPatternException", {"EventPattern": "{"}),
        ("InvalidEventPatternException", {"EventPattern": '{"source": "x"}'}),
        ("ValidationException", {"ScheduleExpression": "rate(1 minutes)"}),
        ("ValidationException", {"ScheduleExpression": "at(2030-01-01T00:00:00)"}),
        ("ResourceNotFoundException", {"EventPattern": '{"source": ["x"]}', "EventBusName": "nowhere"}),
    ],
)
def test_rules_that_cannot_be(events: Any, code: str, params: dict[str, Any]) -> None:
    refused(code, events.put_rule, Name="r", **params)
    assert events.list_rules()["Rules"] == []


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"Arn": "nonsense"}, "not in correct format"),
        ({"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f"}, "not to lambda"),
        ({"Arn": "arn:aws:sqs:eu-west-1:000000000000:q"}, "other accounts and regions"),
        ({"Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c"}, "RoleArn is required"),
        ({"Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c", "RoleArn": ROLE}, "EcsParameters"),
        ({"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "Input": "{"}, "JSON syntax error"),
        ({"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "Input": "1", "InputPath": "$"}, "Only one of"),
        ({"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "InputPath": "x"}, "Invalid InputPath"),
        (
            {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "InputTransformer": {"InputTemplate": "<x>"}},
            "no input path",
        ),
    ],
)
def test_targets_that_cannot_be(events: Any, target: dict[str, Any], told: str) -> None:
    rule(events, {"source": ["x"]})
    good = {"Id": "good", "Arn": "arn:aws:sqs:us-east-1:000000000000:q"}
    error = refused(
        "ValidationException", events.put_targets, Rule="r", Targets=[good, {"Id": "1", **target}]
    )
    assert told in str(error)
    assert events.list_targets_by_rule(Rule="r")["Targets"] == []


def test_a_rule_has_five_targets_at_most(events: Any) -> None:
    targets = [{"Id": str(i), "Arn": "arn:aws:sqs:us-east-1:000000000000:q"} for i in range(6)]
    rule(events, {"source": ["x"]}, *targets[:5])
    refused("LimitExceededException", events.put_targets, Rule="r", Targets=[targets[5]])
    refused("ResourceNotFoundException", events.put_targets, Rule="x", Targets=targets[:1])


def test_buses(events: Any) -> None:
    arn = events.create_event_bus(Name="b", Description="d", Tags=[{"Key": "k", "Value": "v"}])["EventBusArn"]
    refused("ResourceAlreadyExistsException", events.create_event_bus, Name="b")
    refused("ResourceAlreadyExistsException", events.create_event_bus, Name="default")
    assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["b", "default"]
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    assert events.update_event_bus(Name="b", Description="e")["Description"] == "e"
    events.put_permission(
        EventBusName="b", Action="events:PutEvents", Principal="111122223333", StatementId="s"
    )
    policy = json.loads(events.describe_event_bus(Name=arn)["Policy"])
    assert policy["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    refused("ResourceNotFoundException", events.remove_permission, EventBusName="b", StatementId="x")
    events.remove_permission(EventBusName="b", StatementId="s")
    assert "Policy" not in events.describe_event_bus(Name="b")
    rule(events, {"source": ["x"]}, EventBusName="b")
    refused("ValidationException", events.delete_event_bus, Name="b")
    events.delete_rule(Name="r", EventBusName="b")
    events.delete_event_bus(Name="b")
    refused("ResourceNotFoundException", events.describe_event_bus, Name="b")
    refused("ValidationException", events.delete_event_bus, Name="default")
    assert events.describe_event_bus()["Name"] == "default"


def task_parts(door: Door, image: str = "busybox") -> dict[str, Any]:
    """A cluster and a definition to run; EcsParameters of a target."""
    ecs, ec2 = door.client("ecs"), door.client("ec2")
    ecs.create_cluster(clusterName="c")
    definition = ecs.register_task_definition(
        family="job",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "main", "image": image}],
    )["taskDefinition"]["taskDefinitionArn"]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    return {
        "TaskDefinitionArn": definition,
        "LaunchType": "FARGATE",
        "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": subnets, "AssignPublicIp": "DISABLED"}},
    }


def run(door: Door, parameters: dict[str, Any]) -> str:
    network = parameters["NetworkConfiguration"]["awsvpcConfiguration"]["Subnets"]
    (task,) = door.client("ecs").run_task(
        cluster="c",
        taskDefinition=parameters["TaskDefinitionArn"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": network}},
    )["tasks"]
    arn: str = task["taskArn"]
    return arn


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


def test_connections_show_nothing_secret(events: Any, door: Door) -> None:
    auth = {
        "BasicAuthParameters": {"Username": "ann", "Password": "hunter2"},
        "InvocationHttpParameters": {
            "HeaderParameters": [
                {"Key": "X-Open", "Value": "1", "IsValueSecret": False},
                {"Key": "X-Shut", "Value": "hunter3", "IsValueSecret": True},
            ]
        },
    }
    made = events.create_connection(Name="c", AuthorizationType="BASIC", AuthParameters=auth)
    assert made["ConnectionState"] == "AUTHORIZED"
    shown = events.describe_connection(Name="c")
    assert shown["AuthParameters"]["BasicAuthParameters"] == {"Username": "ann"}
    assert "hunter" not in str(shown)
    assert b"hunter" not in (door.settings.data_dir / "truth.db-wal").read_bytes()
    assert [c["Name"] for c in events.list_connections()["Connections"]] == ["c"]
    refused(
        "ResourceAlreadyExistsException",
        events.create_connection,
        Name="c",
        AuthorizationType="BASIC",
        AuthParameters=auth,
    )
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "hunter4"}}
    events.update_connection(Name="c", AuthorizationType="API_KEY", AuthParameters=key)
    assert events.describe_connection(Name="c")["AuthParameters"]["ApiKeyAuthParameters"] == {
        "ApiKeyName": "X-Key"
    }
    error = refused(
        "ValidationException",
        events.create_api_destination,
        Name="d",
        ConnectionArn=made["ConnectionArn"],
        InvocationEndpoint="http://127.0.0.1:9/x",
        HttpMethod="POST",
    )
    assert "NEARGATE_EVENT_HTTP_HOSTS" in str(error)
    events.delete_connection(Name="c")
    refused("ResourceNotFoundException", events.describe_connection, Name="c")


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
