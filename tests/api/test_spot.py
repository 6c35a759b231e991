"""FARGATE_SPOT through boto3: room for tasks on demand, the notice as an event, falling back by tags."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from neargate.state.catalog import NODE
from tests.support.door import Door
from tests.support.ecs import container, definition

CONFIG = {"Delay": 0.05, "MaxAttempts": 1200}
SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
BOTH = [*SPOT, {"capacityProvider": "FARGATE", "weight": 1}]


@pytest.fixture(scope="module")
def narrow() -> Iterator[Door]:
    """A daemon that places no more than the machine has."""
    door = Door(overcommit_cpu=1.0).start()
    yield door
    door.stop()


class Room:
    """Tasks of a whole vCPU each, of which the node takes `size`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        door.forget()
        self.ecs = door.client("ecs")
        self.ecs.create_cluster(clusterName="c", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.ecs.register_task_definition(**definition(container(), cpu="1024", memory="2048"))
        subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
        self.network = {"awsvpcConfiguration": {"subnets": subnets}}
        [node] = door.call(door.daemon.house.store.read(lambda tx: tx.all(NODE)))
        self.size = node.cpu_units // 1024

    def run(self, count: int = 1, strategy: Any = None, **more: Any) -> dict[str, Any]:
        how = {"capacityProviderStrategy": strategy} if strategy else {"launchType": "FARGATE"}
        answer: dict[str, Any] = self.ecs.run_task(
            cluster="c", taskDefinition="web", count=count, networkConfiguration=self.network, **how, **more
        )
        return answer

    def running(self, answer: dict[str, Any]) -> list[str]:
        assert answer["failures"] == []
        arns = [task["taskArn"] for task in answer["tasks"]]
        self.ecs.get_waiter("tasks_running").wait(cluster="c", tasks=arns, WaiterConfig=CONFIG)
        return arns

    def fill(self, strategy: Any) -> list[str]:
        """One after the other, the oldest first."""
        return [arn for _ in range(self.size) for arn in self.running(self.run(1, strategy))]

    def tasks(self, arns: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ecs.describe_tasks(cluster="c", tasks=arns)["tasks"]
        return sorted(found, key=lambda task: arns.index(task["taskArn"]))

    def interrupt(self, **asked: str) -> tuple[int, dict[str, Any]]:
        credential, endpoint = self.door.daemon.credential, self.door.endpoint
        url = f"{endpoint}/_neargate/spot-interrupt?{urlencode(asked)}"
        request = AWSRequest("POST", url, data=b"")
        keys = Credentials(credential.access_key_id, credential.secret_access_key)
        SigV4Auth(keys, "neargate", "us-east-1").add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        return answer.status_code, json.loads(answer.content)


@pytest.fixture
def room(narrow: Door) -> Room:
    return Room(narrow)


def test_a_task_on_demand_takes_the_room_of_the_youngest_spot_task(room: Room) -> None:
    spot = room.fill(SPOT)
    refused = room.run(1, SPOT)
    assert refused["tasks"] == [] and refused["failures"][0]["reason"] == "RESOURCE:FARGATE"
    room.running(room.run(1))
    room.ecs.get_waiter("tasks_stopped").wait(cluster="c", tasks=spot[-1:], WaiterConfig=CONFIG)
    *others, youngest = room.tasks(spot)
    assert {task["lastStatus"] for task in others} <= {"RUNNING"}
    assert youngest["stopCode"] == "SpotInterruption"
    assert youngest["stoppedReason"] == "Your Spot Task was interrupted."
    assert youngest["capacityProviderName"] == "FARGATE_SPOT"


def test_on_demand_and_spot_in_one_request(room: Room) -> None:
    room.fill(SPOT)
    answer = room.run(2, BOTH)
    [task] = answer["tasks"]
    assert task["capacityProviderName"] == "FARGATE"
    assert len(answer["failures"]) == 1
    room.running({**answer, "failures": []})


def test_tasks_on_demand_are_interrupted_for_nobody(room: Room) -> None:
    room.fill(None)
    answer = room.run(1)
    assert answer["tasks"] == [] and answer["failures"][0]["reason"] == "RESOURCE:FARGATE"


@pytest.mark.parametrize("where", ["cluster", "task"])
def test_spot_without_room_falls_back_where_a_tag_says_so(room: Room, where: str) -> None:
    tag = [{"key": "neargate:spot-fallback", "value": "on-demand"}]
    room.fill(SPOT)
    if where == "cluster":
        room.ecs.tag_resource(resourceArn=cluster_arn(room), tags=tag)
    [arn] = room.running(room.run(1, SPOT, **({"tags": tag} if where == "task" else {})))
    [task] = room.tasks([arn])
    assert task["capacityProviderName"] == "FARGATE"


def cluster_arn(room: Room) -> str:
    return str(room.ecs.describe_clusters(clusters=["c"])["clusters"][0]["clusterArn"])


def test_the_notice_is_an_event_and_comes_with_the_signal(room: Room) -> None:
    sqs, events = room.door.client("sqs"), room.door.client("events")
    queue = sqs.create_queue(QueueName="notices")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {"stopCode": ["SpotInterruption"], "lastStatus": ["RUNNING"]},
    }
    events.put_rule(Name="notices", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="notices", Targets=[{"Id": "queue", "Arn": arn}])
    [task] = room.running(room.run(1, SPOT))
    status, answer = room.interrupt(task=task)
    assert (status, answer) == (200, {"interrupted": [task]})
    [message] = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    detail = json.loads(message["Body"])["detail"]
    assert (detail["taskArn"], detail["desiredStatus"]) == (task, "STOPPED")
    assert detail["stoppedReason"] == "Your Spot Task was interrupted."
    room.ecs.get_waiter("tasks_stopped").wait(cluster="c", tasks=[task], WaiterConfig=CONFIG)


def test_interrupting_is_for_those_who_say_what(room: Room) -> None:
    for wrong in ({}, {"count": "0"}, {"all": "yes", "count": "1"}):
        status, answer = room.interrupt(**wrong)
        assert (status, answer["code"]) == (400, "InvalidParameterException")
    assert room.interrupt(all="yes") == (200, {"interrupted": []})
