"""`secrets` and `environmentFiles` from RunTask to the container, on the fake driver; what cannot be had."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.door import Door

SECRET = '{"password": "hunter2", "port": 5432}'


@pytest.fixture
def stores(door: Door) -> dict[str, str]:
    """Things that definitions name, by short names: their ARNs."""
    secret = door.client("secretsmanager").create_secret(Name="prod/db", SecretString=SECRET)["ARN"]
    door.client("secretsmanager").put_secret_value(
        SecretId="prod/db", SecretString=SECRET.replace("5432", "1")
    )
    door.client("secretsmanager").create_secret(Name="binary", SecretBinary=b"\xff")
    ssm = door.client("ssm")
    ssm.put_parameter(Name="/app/key", Value="hunter3", Type="SecureString")
    ssm.put_parameter(Name="plain", Value="p1", Type="String")
    ssm.put_parameter(Name="plain", Value="p2", Overwrite=True)
    s3 = door.client("s3")
    s3.create_bucket(Bucket="config")
    s3.put_object(Bucket="config", Key="a/first.env", Body=b"# all\nFROM_FILE=1\nTWICE=first\nPLAIN=file\n")
    s3.put_object(Bucket="config", Key="second.env", Body=b"TWICE=second\nQUOTED='q'\n")
    return {"secret": secret, "parameter": "arn:aws:ssm:us-east-1:000000000000:parameter/app/key"}


def run(door: Door, **members: Any) -> dict[str, Any]:
    """A task of one container with these members: RUNNING, or STOPPED."""
    ecs, ec2 = door.client("ecs"), door.client("ec2")
    ecs.create_cluster(clusterName="default")
    container = {"name": "main", "image": "busybox", **members}
    ecs.register_task_definition(
        family="web",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[container],
    )
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    answer = ecs.run_task(
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
    )
    assert answer["failures"] == []
    (arn,) = [task["taskArn"] for task in answer["tasks"]]
    for _ in range(3000):
        (task,) = ecs.describe_tasks(tasks=[arn])["tasks"]
        if task["lastStatus"] in ("RUNNING", "STOPPED"):
            found: dict[str, Any] = task
            return found
        time.sleep(0.01)
    raise AssertionError(f"neither RUNNING nor STOPPED: {task}")


def environment(door: Door, task: dict[str, Any]) -> dict[str, str]:
    sandbox = door.daemon.driver.sandboxes[task["taskArn"].rpartition("/")[2]]  # type: ignore[attr-defined]
    return dict(sandbox.given("main").environment)


def test_a_container_is_given_them_and_nobody_else(door: Door, stores: dict[str, str]) -> None:
    secret = stores["secret"]
    task = run(
        door,
        environment=[{"name": "PLAIN", "value": "environment"}],
        secrets=[
            {"name": "WHOLE", "valueFrom": secret},
            {"name": "PASSWORD", "valueFrom": f"{secret}:password::"},
            {"name": "PORT", "valueFrom": f"{secret}:port:AWSPREVIOUS:"},
            {"name": "KEY", "valueFrom": stores["parameter"]},
            {"name": "BARE", "valueFrom": "plain"},
        ],
        environmentFiles=[
            {"type": "s3", "value": "arn:aws:s3:::config/a/first.env"},
            {"type": "s3", "value": "arn:aws:s3:::config/second.env"},
        ],
    )
    assert task["lastStatus"] == "RUNNING", task
    given = environment(door, task)
    expected = {
        "PLAIN": "environment", "WHOLE": SECRET.replace("5432", "1"), "PASSWORD": "hunter2", "PORT": "5432",
        "KEY": "hunter3", "BARE": "p2", "FROM_FILE": "1", "TWICE": "first", "QUOTED": "'q'",
    }  # fmt: skip
    assert {name: given.get(name) for name in expected} == expected
    assert "hunter" not in repr(task)
    assert "hunter" not in repr(door.client("ecs").describe_task_definition(taskDefinition="web"))
    for top, _, names in os.walk(door.settings.data_dir):
        for path in (Path(top, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                assert not path.is_file() or b"hunter" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:none-AbCdEf",
            "unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch "
            "secret arn:aws:secretsmanager:us-east-1:000000000000:secret:none-AbCdEf from secrets manager: "
            "ResourceNotFoundException: Secrets Manager can't find the specified secret.",
        ),
        ("{secret}:none::", "retrieved secret from Secrets Manager did not contain json key none"),
        ("{secret}::none:", "can't find the specified secret value for staging label: none"),
        ("{secret}:password", "unexpected ARN format"),
        ("arn:aws:secretsmanager:us-east-1:999999999999:secret:prod/db", "can't find the specified secret"),
        ("arn:aws:secretsmanager:us-east-1:000000000000:secret:binary", "binary data"),
        (
            "/none",
            "unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm "
            "parameters: /none",
        ),
        (
            "arn:aws:ssm:eu-west-1:000000000000:parameter/app/key",
            "invalid ssm parameters: arn:aws:ssm:eu-west-1",
        ),
    ],
)
def test_a_secret_that_cannot_be_had(door: Door, stores: dict[str, str], source: str, reason: str) -> None:
    task = run(door, secrets=[{"name": "S", "valueFrom": source.format(**stores)}])
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
    start = (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
        "failed: "
    )
    assert task["stoppedReason"].startswith(start) and reason in task["stoppedReason"], task["stoppedReason"]
    assert "hunter" not in repr(task)


def test_an_environment_file_that_cannot_be_had(door: Door, stores: dict[str, str]) -> None:
    for arn, cause in (
        ("arn:aws:s3:::config/none.env", "NoSuchKey: The specified key does not exist."),
        ("arn:aws:s3:::none/a.env", "NoSuchBucket: The specified bucket does not exist"),
    ):
        task = run(door, environmentFiles=[{"type": "s3", "value": arn}])
        assert task["lastStatus"] == "STOPPED"
        start = "ResourceInitializationError: failed to download env files: "
        assert task["stoppedReason"].startswith(start) and cause in task["stoppedReason"]


def test_an_override_brings_files_of_its_own(door: Door, stores: dict[str, str]) -> None:
    task = run(door, environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::config/a/first.env"}])
    assert environment(door, task)["TWICE"] == "first"
    ecs = door.client("ecs")
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    files = [{"type": "s3", "value": "arn:aws:s3:::config/second.env"}]
    (other,) = ecs.run_task(
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        overrides={"containerOverrides": [{"name": "main", "environmentFiles": files}]},
    )["tasks"]
    ecs.get_waiter("tasks_running").wait(tasks=[other["taskArn"]], WaiterConfig={"Delay": 1})
    assert environment(door, other)["TWICE"] == "second"
