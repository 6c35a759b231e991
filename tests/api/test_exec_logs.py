"""ECS Exec through a whole daemon with the fake driver: the log group of sessions."""

import pytest

from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.support.exec_tasks import ROLE, Tasks, ready, shell
from tests.support.session_client import SessionClient


@pytest.fixture
def tasks(door: Door) -> Tasks:
    return ready(door)


async def test_commands_and_output_in_a_log_group(tasks: Tasks) -> None:
    logs = tasks.door.client("logs")
    logs.create_log_group(logGroupName="/exec")
    configuration = {"logging": "OVERRIDE", "logConfiguration": {"cloudWatchLogGroupName": "/exec"}}
    tasks.ecs.update_cluster(cluster="c", configuration={"executeCommandConfiguration": configuration})
    async with shell(tasks) as (client, id, task):
        await client.type("grüße\r".encode())
        await client.type(b"exit 0\r")
        await client.to_end()
    tasks.record(id)
    events = logs.get_log_events(logGroupName="/exec", logStreamName=id, startFromHead=True)["events"]
    lines = [event["message"] for event in events]
    assert lines[0].endswith(f"runs /bin/sh in web-app of {task}")
    assert lines[1:] == ["size", "24 80", "grüße", "exit 0"]


@pytest.mark.parametrize(
    ("configuration", "logged"),
    [
        ({"logging": "DEFAULT"}, True),
        ({"kmsKeyId": "alias/exec"}, True),
        ({"logging": "NONE"}, False),
        (None, False),
    ],
)
async def test_by_default_the_containers_own_log_group_is_meant(
    tasks: Tasks, configuration: dict[str, str] | None, logged: bool
) -> None:
    """A cluster that says nothing of Exec logs nothing, and so does a container without awslogs."""
    logs = tasks.door.client("logs", region_name="eu-west-1")
    logs.create_log_group(logGroupName="/app")
    options = {"awslogs-group": "/app", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "p"}
    log = {"logDriver": "awslogs", "options": options}
    both = definition(container(logConfiguration=log), container("side", essential=False), family="logging")
    tasks.ecs.register_task_definition(**both, taskRoleArn=ROLE)
    if configuration is not None:
        tasks.ecs.update_cluster(cluster="c", configuration={"executeCommandConfiguration": configuration})
    task, told = tasks.run(of="logging"), {}
    for name in ("web-app", "side"):
        session = tasks.session(task, container=name)
        async with SessionClient(session) as client:
            await client.type(b"exit 0\r")
            await client.to_end()
        tasks.record(session["sessionId"])
        told[name] = session["sessionId"]
    streams = logs.describe_log_streams(logGroupName="/app", logStreamNamePrefix="ecs-execute-command")
    assert [s["logStreamName"] for s in streams["logStreams"]] == ([told["web-app"]] if logged else [])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"cloudWatchLogGroupName": "/none"}, "The specified log group does not exist."),
        ({"s3BucketName": "bucket"}, "Logs in S3 are not built: name a CloudWatch log group."),
    ],
)
async def test_without_its_log_nothing_runs(tasks: Tasks, where: dict[str, str], message: str) -> None:
    configuration = {"logging": "OVERRIDE", "logConfiguration": where}
    tasks.ecs.update_cluster(cluster="c", configuration={"executeCommandConfiguration": configuration})
    task = tasks.run()
    async with SessionClient(tasks.session(task)) as client:
        closed = await client.to_end()
    assert closed["Output"] == f"The session's log cannot be written: {message}"
    assert tasks.door.daemon.driver.sandboxes[task.rsplit("/", 1)[1]].terminals == []  # type: ignore[attr-defined]
