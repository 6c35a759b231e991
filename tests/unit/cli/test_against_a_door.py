"""Commands about tasks, against a whole daemon in this process (with the fake driver)."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.unit.cli.conftest import Cli

LOGS = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"},
}
WAIT = {"Delay": 0.05, "MaxAttempts": 400}


@pytest.fixture
def task(door: Door, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a task that runs on cluster `blue`; the command line finds its daemon."""
    monkeypatch.setenv("NEARGATE_DATA_DIR", str(door.settings.data_dir))
    ecs, ec2 = door.client("ecs"), door.client("ec2")
    door.client("logs").create_log_group(logGroupName="/g")
    ecs.create_cluster(clusterName="blue")
    both = container("web", logConfiguration=LOGS), container("side", essential=False, logConfiguration=LOGS)
    ecs.register_task_definition(**definition(*both))
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    network = {"awsvpcConfiguration": {"subnets": subnets}}
    started = ecs.run_task(
        cluster="blue", taskDefinition="web", launchType="FARGATE", networkConfiguration=network
    )
    arn = started["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_running").wait(cluster="blue", tasks=[arn], WaiterConfig=WAIT)
    return str(arn.rsplit("/", 1)[1])


def stop(door: Door, task: str, reason: str = "enough") -> None:
    ecs = door.client("ecs")
    ecs.stop_task(cluster="blue", task=task, reason=reason)
    ecs.get_waiter("tasks_stopped").wait(cluster="blue", tasks=[task], WaiterConfig=WAIT)
    door.released()  # its usage is on record


def say(door: Door, stream: str, *lines: str) -> None:
    """Lines as the node would ship them, one millisecond apart."""
    logs = door.client("logs")
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName="/g", logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + n, "message": line} for n, line in enumerate(lines)]
    logs.put_log_events(logGroupName="/g", logStreamName=stream, logEvents=events)


def test_status(door: Door, cli: Cli, task: str) -> None:
    done = cli("status", "--json")
    shown = done.json()
    assert (done.code, shown["state"], shown["running_tasks"]) == (0, "running", 1)
    assert shown["endpoint"] == door.endpoint
    assert "running tasks" in cli("status").out


def test_ps(door: Door, cli: Cli, task: str) -> None:
    (shown,) = cli("ps", "--json").json()
    assert shown["taskArn"].endswith(task) and shown["lastStatus"] == "RUNNING"
    head, row = cli("ps", "--cluster", "blue").out.splitlines()
    assert head.split()[:5] == ["TASK", "CLUSTER", "DEFINITION", "STATUS", "ADDRESS"]
    address = shown["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
    assert row.split()[:5] == [task, "blue", "web:1", "RUNNING", address]
    stop(door, task, "because of [red]this[/]")
    assert cli("ps", "--json").json() == []
    assert "because of [red]this[/]" in cli("ps", "--all").out


def test_a_cluster_that_is_not_there_is_told_in_one_line(cli: Cli, task: str) -> None:
    done = cli("ps", "--cluster", "green")
    assert (done.code, done.out) == (1, "")
    assert "ClusterNotFoundException" in done.err and done.err.count("\n") == 1


def test_logs(door: Door, cli: Cli, task: str) -> None:
    say(door, f"ecs/web/{task}", "one [bold]two[/]", "three")
    say(door, f"ecs/side/{task}", "beside")
    both = cli("logs", task[:6])
    assert both.code == 0
    assert [line.split(" ", 2)[1:] for line in both.out.splitlines()] == [
        ["web", "one [bold]two[/]"],
        ["web", "three"],
        ["side", "beside"],
    ]
    one = cli("logs", task, "--container", "web", "--json").out.splitlines()
    assert len(one) == 2 and '"message": "three"' in one[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda task: ("logs", "zzz"), "no task begins with 'zzz': `neargate ps --all` lists them"),
        (lambda task: ("logs", task, "--container", "x"), "no container"),
    ],
)
def test_logs_of_what_is_not_there(
    cli: Cli, task: str, arguments: Callable[[str], tuple[str, ...]], message: str
) -> None:
    done = cli(*arguments(task))
    assert done.code == 1 and message in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize(("by", "name"), [("cluster", "blue"), ("family", "web"), ("task", None)])
def test_cost(door: Door, cli: Cli, task: str, by: str, name: str | None) -> None:
    stop(door, task)
    document: dict[str, Any] = cli("cost", "--by", by, "--json").json()
    (row,) = document["rows"]
    assert (name or task) in row["name"]
    assert float(row["usd"]) > 0 and float(document["total_usd"]) == pytest.approx(float(row["usd"]))
    lines = cli("cost", "--by", by).out.splitlines()
    assert lines[0].startswith(by.upper()) and lines[-1].startswith("total")


def test_reset(door: Door, cli: Cli, task: str) -> None:
    assert cli("reset", "--json").json() == {"state": "reset"}
    assert cli("ps", "--all", "--json").json() == []
    assert door.client("ecs").list_clusters()["clusterArns"] == []


def test_env_is_enough_for_a_client(door: Door, cli: Cli, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cli("env", "--json").json().items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().client("ecs").list_tasks(cluster="blue")["taskArns"]


def test_no_credentials_of_others_are_asked_for(cli: Cli, task: str, tmp_path: Path) -> None:
    """The user's own AWS profile, even a broken one, is not in the way of `neargate ps`."""
    aws = tmp_path / "home" / ".aws"
    aws.mkdir(parents=True)
    (aws / "config").write_text("[default]\nregion = nowhere\nendpoint_url = http://127.0.0.1:2\n")
    assert cli("ps").code == 0


def test_spot_interrupt(cli: Cli, task: str) -> None:
    assert cli("spot", "interrupt", "--all", "--json").json() == {"interrupted": []}
    for wrong in ((), ("--all", "--count", "1"), ("--task", task)):
        done = cli("spot", "interrupt", *wrong)
        assert (done.code, done.out) == (1, "")
        assert done.err
