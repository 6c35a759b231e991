"""EventBridge by an unmodified client: what events come to, and where they end."""

import json
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.events import ROLE, RULE, bodies, put, queue, received, refused, rule, until


@pytest.fixture
def events(door: Door) -> Any:
    return door.client("events")


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


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
