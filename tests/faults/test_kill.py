"""kill -9 of the daemon at random moments while tasks start, run and stop.

Held here: no acknowledged write lost, no task lost or doubled, running tasks run on and are adopted again
with exit codes, log lines and usage right, nothing orphaned. NEARGATE_TEST_KILLS kills (CI: 10, full: 100).
"""

import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually, nothing_left

KILLS = int(os.environ.get("NEARGATE_TEST_KILLS", "10"))
GROUP = "/faults"
# (family, command, exit code, last line): `short` ends by itself, `long` counts until it is stopped.
SHORT = "i=0; while [ $i -lt 40 ]; do echo line-$i; i=$((i+1)); sleep 0.02; done; exit 7"
LONG = "trap 'echo bye; exit 0' TERM; i=0; while true; do echo line-$i; i=$((i+1)); sleep 0.1; done"


class User:
    """Somebody who starts and stops tasks through all the kills, and remembers what was acknowledged."""

    def __init__(self, daemon: RealDaemon, network: dict[str, Any], seed: int) -> None:
        self._ecs = daemon.client("ecs", connect_timeout=2, read_timeout=5)
        self._network = network
        self._random = random.Random(seed)
        self.started: dict[str, str] = {}
        """Task ARN -> family, of acknowledged RunTask calls."""
        self.stopped: set[str] = set()
        self.finished = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.finished.is_set():
            count += 1
            family = "long" if self._random.random() < 0.3 else "short"
            arn = self._insist(
                lambda f=family, c=count: self._ecs.run_task(
                    cluster="faults",
                    taskDefinition=f,
                    launchType="FARGATE",
                    clientToken=f"token-{c}",
                    networkConfiguration=self._network,
                )["tasks"][0]["taskArn"]
            )
            assert arn not in self.started, "two client tokens gave one task"
            self.started[arn] = family
            running = [a for a, f in self.started.items() if f == "long" and a not in self.stopped]
            if len(running) > 4:
                oldest = running[0]
                self._insist(lambda a=oldest: self._ecs.stop_task(cluster="faults", task=a))
                self.stopped.add(running[0])
            time.sleep(self._random.random() * 0.4)

    def _insist(self, call: Any) -> Any:
        """Repeat a call until it is acknowledged: with its client token it means the same task."""
        while True:
            try:
                return call()
            except (ConnectionError, HTTPClientError):
                time.sleep(0.05)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
                time.sleep(0.05)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(20261)
    daemon = RealDaemon(tmp_path / "data")
    with nothing_left(daemon.data_dir), daemon:
        network = _prepare(daemon, tmp_path)
        user = User(daemon, network, seed=7)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(user.run)
            for _ in range(KILLS):
                time.sleep(chance.random() * 1.5)
                assert not working.done(), working.exception()
                daemon.kill()
                daemon.up()
            eventually(lambda: len(user.started) >= KILLS or working.done(), "tasks enough were started")
            user.finished.set()
            working.result(120)
        tasks = _settled(daemon, user)
        _check_tasks(daemon, user, tasks)
        _check_logs(daemon, user, tasks)
        _check_usage(daemon, tasks)


def _prepare(daemon: RealDaemon, tmp_path: Path) -> dict[str, Any]:
    image = daemon.push(busybox_image(tmp_path / "image"), "busybox")
    daemon.client("logs").create_log_group(logGroupName=GROUP)
    ecs = daemon.client("ecs")
    ecs.create_cluster(clusterName="faults")
    for family, script in (("short", SHORT), ("long", LONG)):
        ecs.register_task_definition(
            family=family,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/execution",
            containerDefinitions=[
                {
                    "name": "main",
                    "image": image,
                    "entryPoint": ["/bin/busybox", "sh", "-c"],
                    "command": [script],
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {
                            "awslogs-group": GROUP,
                            "awslogs-region": "us-east-1",
                            "awslogs-stream-prefix": family,
                        },
                    },
                }
            ],
        )
    subnet = daemon.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    return {"awsvpcConfiguration": {"subnets": [subnet]}}


def _describe(daemon: RealDaemon) -> dict[str, dict[str, Any]]:
    ecs = daemon.client("ecs")
    arns: list[str] = []
    for desired in ("RUNNING", "STOPPED"):
        for page in ecs.get_paginator("list_tasks").paginate(cluster="faults", desiredStatus=desired):
            arns += page["taskArns"]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(arns), 100):
        for task in ecs.describe_tasks(cluster="faults", tasks=arns[start : start + 100])["tasks"]:
            found[task["taskArn"]] = task
    return found


def _settled(daemon: RealDaemon, user: User) -> dict[str, dict[str, Any]]:
    """The tasks once every short one and every stopped one is STOPPED, and the rest RUNNING."""

    def check() -> dict[str, dict[str, Any]] | None:
        tasks = _describe(daemon)
        for arn, task in tasks.items():
            ends = user.started.get(arn) == "short" or arn in user.stopped
            if task["lastStatus"] != ("STOPPED" if ends else "RUNNING"):
                return None
        return tasks

    found: dict[str, dict[str, Any]] = eventually(check, "all tasks where they belong", 120)
    return found


def _check_tasks(daemon: RealDaemon, user: User, tasks: dict[str, dict[str, Any]]) -> None:
    assert set(tasks) == set(user.started), "a task was lost or doubled"
    assert len(tasks) >= KILLS
    addresses = []
    for arn, task in tasks.items():
        container = task["containers"][0]
        if user.started[arn] == "short":
            assert (container.get("exitCode"), task["stopCode"]) == (7, "EssentialContainerExited"), task
        elif arn in user.stopped:
            assert task["stopCode"] == "UserInitiated", task
            assert container.get("exitCode") in (0, None), task
        else:
            addresses.append(container["networkInterfaces"][0]["privateIpv4Address"])
    assert len(set(addresses)) == len(addresses), "two running tasks share an address"


def _lines(daemon: RealDaemon, stream: str) -> list[str]:
    logs = daemon.client("logs")
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **token)
        if not page["events"]:
            return found
        found += [event["message"] for event in page["events"]]
        token = {"nextToken": page["nextForwardToken"]}


def _check_logs(daemon: RealDaemon, user: User, tasks: dict[str, dict[str, Any]]) -> None:
    for arn, task in tasks.items():
        family, task_id = user.started[arn], arn.rsplit("/", 1)[1]
        if "startedAt" not in task:
            continue  # stopped before it ran
        lines = _lines(daemon, f"{family}/main/{task_id}")
        counted = [line for line in lines if line != "bye"]
        assert counted == [f"line-{i}" for i in range(len(counted))], f"{arn}: lines lost or doubled"
        if family == "short":
            assert len(counted) == 40, arn
        elif arn in user.stopped and task["containers"][0].get("exitCode") == 0:
            assert lines[-1] == "bye", arn


def _check_usage(daemon: RealDaemon, tasks: dict[str, dict[str, Any]]) -> None:
    rows = json.loads(daemon.cli("cost", "--by", "task", "--json").stdout)["rows"]
    billed = {row["name"]: row for row in rows}
    assert len(billed) == len(rows), "a task is billed twice"
    for arn, task in tasks.items():
        row = billed.get(arn) or billed.get(arn.rsplit("/", 1)[1])
        if task["lastStatus"] != "STOPPED":
            assert row is None or row["seconds"] >= 0
            continue
        if "pullStartedAt" not in task:
            continue
        assert row is not None, f"{arn} has no usage record"
        lasted = (task["stoppedAt"] - task["pullStartedAt"]).total_seconds()
        assert abs(row["seconds"] - max(60, lasted)) <= 1, (arn, row, lasted)
