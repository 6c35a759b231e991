"""EventBridge by an unmodified client: rules, events and queues in few words.

Used by tests/api/test_events*.py and test_scheduler.py.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door

ROLE = "arn:aws:iam::000000000000:role/events"
RULE = "arn:aws:events:us-east-1:000000000000:rule/"


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
