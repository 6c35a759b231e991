"""EventBridge by an unmodified client: rules, targets, buses and connections, and those that cannot be."""

import json
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.events import ROLE, RULE, queue, refused, rule


@pytest.fixture
def events(door: Door) -> Any:
    return door.client("events")


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


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
