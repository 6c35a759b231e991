"""Secrets and environment files in real containers: what a task prints of them, and what is kept."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support.real import eventually

PRINT = 'echo "$WHOLE|$PASSWORD|$KEY|$BARE|$FILE|$PLAIN"'
VALUES = ("hunter2", "hunter3", "hunter4")


@pytest.fixture(scope="module")
def members(stack: Stack) -> dict[str, Any]:
    """What a container needs to be given all of them."""
    secret = stack.daemon.client("secretsmanager").create_secret(
        Name="e2e/db", SecretString='{"password": "hunter2"}'
    )["ARN"]
    ssm = stack.daemon.client("ssm")
    ssm.put_parameter(Name="/e2e/key", Value="hunter3", Type="SecureString")
    ssm.put_parameter(Name="bare", Value="1", Type="String")
    stack.daemon.aws("s3", "mb", "s3://e2e-config")
    path = stack.daemon.data_dir.parent / "x.env"
    path.write_text("# for the test\nFILE=hunter4\nPLAIN=file\n")
    stack.daemon.aws("s3", "cp", str(path), "s3://e2e-config/a/x.env")
    path.unlink()
    return {
        "environment": [{"name": "PLAIN", "value": "environment"}],
        "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::e2e-config/a/x.env"}],
        "secrets": [
            {"name": "WHOLE", "valueFrom": secret},
            {"name": "PASSWORD", "valueFrom": f"{secret}:password::"},
            {"name": "KEY", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/e2e/key"},
            {"name": "BARE", "valueFrom": "bare"},
        ],
    }


def test_a_task_prints_what_it_was_given(stack: Stack, members: dict[str, Any]) -> None:
    task, containers = stack.finished(stack.container(PRINT, **members))
    assert containers["main"]["exitCode"] == 0, task
    (line,) = stack.lines(task["taskArn"])
    assert line == '{"password": "hunter2"}|hunter2|hunter3|1|hunter4|environment'
    assert not any(value in repr(task) for value in VALUES)


def test_no_value_is_on_the_disk_while_a_task_runs(stack: Stack, members: dict[str, Any]) -> None:
    arn = stack.run(stack.container("sleep 600", **members))
    stack.wait(arn, "RUNNING")
    objects = stack.daemon.data_dir / "objects"
    try:
        kept = [path for path in files(stack.daemon.data_dir) if holds(path, VALUES[:2])]
        kept += [p for p in files(stack.daemon.data_dir) if objects not in p.parents and holds(p, VALUES[2:])]
        assert kept == []
    finally:
        stack.stop(arn)


def files(root: Path) -> list[Path]:
    """All but what lines of the test before have gone into."""
    found = [Path(top, name) for top, _, names in os.walk(root) for name in names]  # whatever goes meanwhile
    return [p for p in found if p.is_file() and not p.name.startswith("logs.db")]


def holds(path: Path, values: tuple[str, ...]) -> bool:
    try:
        data = b"".join(_extents(path))
    except FileNotFoundError:
        return False  # gone meanwhile
    return any(value.encode() in data for value in values)


def _extents(path: Path) -> Iterator[bytes]:
    """What a file really has: a task's disk is sparse, and as large as its storage."""
    with path.open("rb") as file:
        end, place = os.fstat(file.fileno()).st_size, 0
        while place < end:
            try:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError:
                return
            hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
            yield os.pread(file.fileno(), hole - place, place)
            place = hole


def test_a_container_started_again_reads_them_again(stack: Stack, members: dict[str, Any]) -> None:
    """By its restart policy, and after a restart of the daemon."""
    ssm = stack.daemon.client("ssm")
    ssm.put_parameter(Name="bare", Value="before", Overwrite=True)
    policy = {"enabled": True, "restartAttemptPeriod": 60}
    arn = stack.run(stack.container("echo $BARE; sleep 65", restartPolicy=policy, **members))
    try:
        stack.wait(arn, "RUNNING")
        stack.daemon.cli("down", "--keep-tasks")
        stack.daemon.up()
        ssm.put_parameter(Name="bare", Value="after", Overwrite=True)
        eventually(lambda: stack.lines(arn)[:2] == ["before", "after"], "it was started again", 150)
    finally:
        stack.stop(arn)


def test_a_missing_secret_stops_the_task_with_its_cause(stack: Stack) -> None:
    task, containers = stack.finished(
        stack.container("true", secrets=[{"name": "S", "valueFrom": "/e2e/none"}])
    )
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"] == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
        "failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm "
        "parameters: /e2e/none"
    )
    assert "exitCode" not in containers["main"]
