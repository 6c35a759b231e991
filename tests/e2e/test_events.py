"""EventBridge for real: a task that stops starts another and is written into a log, a moment that comes
starts one, and no event is lost when the daemon dies."""

import contextlib
import json
import os
import signal
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually, nothing_left

ROLE = "arn:aws:iam::000000000000:role/events"
CLUSTER = "arn:aws:ecs:us-east-1:000000000000:cluster/e2e"
KILLS = 5
MARK = f"events-{uuid.uuid4()}"


def define(stack: Stack, family: str, script: str) -> str:
    definition: str = stack.ecs.register_task_definition(
        family=family,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[stack.container(script)],
    )["taskDefinition"]["taskDefinitionArn"]
    return definition


def ecs_target(stack: Stack, definition: str, **more: Any) -> dict[str, Any]:
    network = {"Subnets": stack.subnets, "AssignPublicIp": "DISABLED"}
    parameters = {
        "TaskDefinitionArn": definition,
        "LaunchType": "FARGATE",
        "NetworkConfiguration": {"awsvpcConfiguration": network},
    }
    return {"Id": "run", "Arn": CLUSTER, "RoleArn": ROLE, "EcsParameters": parameters, **more}


def started_by(stack: Stack, name: str) -> str | None:
    """The only task that was started so, running or stopped."""
    arns = {
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in stack.ecs.list_tasks(cluster="e2e", startedBy=name, desiredStatus=status)["taskArns"]
    }
    assert len(arns) < 2, arns
    return arns.pop() if arns else None


def test_a_task_that_stops_starts_another_and_is_written_into_a_log(stack: Stack) -> None:
    events = stack.daemon.client("events")
    stack.logs.create_log_group(logGroupName="/aws/events/tasks")
    first = define(stack, "first", "exit 3")
    second = define(stack, "second", "echo after $FIRST, which ended with $CODE")
    pattern = {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {
            "lastStatus": ["STOPPED"],
            "taskDefinitionArn": [first],
            "containers": {"exitCode": [{"anything-but": 0}]},
        },
    }
    events.put_rule(Name="after-first", EventPattern=json.dumps(pattern))
    transformer = {
        "InputPathsMap": {"task": "$.detail.taskArn", "code": "$.detail.containers[0].exitCode"},
        "InputTemplate": '{"containerOverrides": [{"name": "main", "environment": ['
        '{"name": "FIRST", "value": <task>}, {"name": "CODE", "value": "<code>"}]}]}',
    }
    log_group = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/tasks"
    events.put_targets(
        Rule="after-first",
        Targets=[ecs_target(stack, second, InputTransformer=transformer), {"Id": "log", "Arn": log_group}],
    )
    task = stack.run_definition(first)
    other = eventually(lambda: started_by(stack, "events-rule/after-first"), "the rule's task")
    stack.wait(other, "STOPPED", 60)
    said = eventually(lambda: stack.lines(other), "its line in the log")
    assert said == [f"after {task}, which ended with 3"]
    logged = eventually(
        lambda: stack.logs.filter_log_events(logGroupName="/aws/events/tasks")["events"],
        "the event in the log",
    )
    (event,) = [json.loads(line["message"]) for line in logged]
    assert event["resources"] == [task] and event["detail"]["stopCode"] == "EssentialContainerExited"
    events.remove_targets(Rule="after-first", Ids=["run", "log"])
    events.delete_rule(Name="after-first")


def test_a_moment_that_comes_starts_a_task(stack: Stack) -> None:
    scheduler = stack.daemon.client("scheduler")
    definition = define(stack, "timed", "echo it is time for $WHOM")
    target = ecs_target(stack, definition)
    del target["Id"]
    overrides = {"containerOverrides": [{"name": "main", "environment": [{"name": "WHOM", "value": "tea"}]}]}
    moment = datetime.now(UTC) + timedelta(seconds=8)
    scheduler.create_schedule(
        Name="tea",
        ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={**target, "Input": json.dumps(overrides)},
    )
    task = eventually(lambda: started_by(stack, "chronos-schedule/tea"), "the schedule's task", 60)
    created = stack.describe(task)["createdAt"]
    assert created >= moment.replace(microsecond=0)
    stack.wait(task, "STOPPED", 60)
    assert eventually(lambda: stack.lines(task), "its line in the log") == ["it is time for tea"]
    assert scheduler.list_schedules()["Schedules"] == []


def test_no_event_is_lost_when_the_daemon_dies(tmp_path: Path) -> None:
    """Put by a client that never tires, while the daemon is killed again and again; and a task that ends
    while there is no daemon at all."""
    data_dir = tmp_path / "data"
    with nothing_left(data_dir), RealDaemon(data_dir) as daemon:
        image = daemon.push(busybox_image(tmp_path / "image"), "busybox")
        events, sqs, ecs = (daemon.client(name) for name in ("events", "sqs", "ecs"))
        url = sqs.create_queue(QueueName="all")["QueueUrl"]
        events.put_rule(
            Name="all",
            EventPattern=json.dumps(
                {"$or": [{"source": ["my.app"]}, {"detail": {"lastStatus": ["STOPPED"]}}]}
            ),
        )
        queue = "arn:aws:sqs:us-east-1:000000000000:all"
        events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": queue}])
        task = _long_task(daemon, ecs, image)
        put, finished = [], threading.Event()

        def insist() -> None:
            client = daemon.client("events", connect_timeout=2, read_timeout=5)
            while not finished.is_set():
                entry = {"Source": "my.app", "DetailType": "d", "Detail": json.dumps({"n": len(put)})}
                try:
                    put.append(client.put_events(Entries=[entry])["Entries"][0]["EventId"])
                except (ClientError, ConnectionError, HTTPClientError):
                    continue

        user = threading.Thread(target=insist)
        user.start()
        try:
            for round in range(KILLS):
                before = len(put)
                eventually(lambda n=before: len(put) > n + 50, "events are put", 60)
                daemon.kill()
                if round == 0:
                    os.kill(_process_of_the_task(), signal.SIGKILL)
                    eventually(lambda: not _process_of_the_task(), "the task ends without a daemon")
                daemon.up()
        finally:
            finished.set()
            user.join()
        seen = _received(sqs, url, set(put), task)
        assert set(put) <= set(seen)
        assert len(seen) == len(set(seen))  # to a queue of ours even once


def _long_task(daemon: RealDaemon, ecs: Any, image: str) -> str:
    ecs.create_cluster(clusterName="e2e")
    command = ["/bin/sh", "-c", f"sleep 600; : {MARK}"]
    container = {"name": "main", "image": image, "entryPoint": command[:2], "command": command[2:]}
    definition = ecs.register_task_definition(
        family="long",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[container],
    )["taskDefinition"]["taskDefinitionArn"]
    subnets = [s["SubnetId"] for s in daemon.client("ec2").describe_subnets()["Subnets"]]
    (task,) = ecs.run_task(
        cluster="e2e",
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
    )["tasks"]
    arn: str = task["taskArn"]
    eventually(
        lambda: ecs.describe_tasks(cluster="e2e", tasks=[arn])["tasks"][0]["lastStatus"] == "RUNNING",
        "the task runs",
        60,
    )
    return arn


def _process_of_the_task() -> int:
    """The process of this machine that is the task's command; 0: there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"; : {MARK}".encode() in (process / "cmdline").read_bytes():
                return int(process.name)
    return 0


def _received(sqs: Any, url: str, wanted: set[str], task: str) -> list[str]:
    """Ids of all events of the queue, once those wanted and the task's end are among them."""
    found: list[str] = []
    ended = False
    while not (ended and wanted <= set(found)):
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        assert answer.get("Messages"), (ended, len(wanted - set(found)))
        entries = []
        for n, message in enumerate(answer["Messages"]):
            event = json.loads(message["Body"])
            ended = ended or event["resources"] == [task]
            found.append(event["id"])
            entries.append({"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]})
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found
