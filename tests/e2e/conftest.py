"""One real daemon for the e2e tests of a session, with a busybox image in its registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import busybox_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually


class Stack:
    """The daemon with a cluster, a log group and an image: `run` a task, `wait` for it, read its `lines`."""

    def __init__(self, daemon: RealDaemon, image: str) -> None:
        self.daemon = daemon
        self.image = image
        self.ecs = daemon.client("ecs")
        self.logs = daemon.client("logs")
        self.subnets = [s["SubnetId"] for s in daemon.client("ec2").describe_subnets()["Subnets"]]
        self._families = 0

    def container(self, script: str = "sleep 600", name: str = "main", **more: Any) -> dict[str, Any]:
        """A container definition that runs a shell script and logs to /e2e."""
        options = {"awslogs-group": "/e2e", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}
        return {
            "name": name,
            "image": self.image,
            "entryPoint": ["/bin/sh", "-c"],
            "command": [script],
            "stopTimeout": 2,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
            **more,
        }

    def run(self, *containers: dict[str, Any], cpu: str = "256", memory: str = "512", **more: Any) -> str:
        """Register a definition of these containers and run it; the task's ARN."""
        self._families += 1
        definition = self.ecs.register_task_definition(
            family=f"family-{self._families}",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu=cpu,
            memory=memory,
            executionRoleArn="arn:aws:iam::000000000000:role/execution",
            containerDefinitions=list(containers),
            **more,
        )["taskDefinition"]["taskDefinitionArn"]
        return self.run_definition(definition)

    def run_definition(self, definition: str, **more: Any) -> str:
        answer = self.ecs.run_task(
            cluster="e2e",
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.subnets}},
            **more,
        )
        assert answer["failures"] == []
        arn: str = answer["tasks"][0]["taskArn"]
        return arn

    def describe(self, arn: str) -> dict[str, Any]:
        task: dict[str, Any] = self.ecs.describe_tasks(cluster="e2e", tasks=[arn])["tasks"][0]
        return task

    def wait(self, arn: str, status: str, seconds: float = 90) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            task = self.describe(arn)
            if task["lastStatus"] == "STOPPED" and status != "STOPPED":
                raise AssertionError(f"{arn} stopped: {task.get('stoppedReason')} {task['containers']}")
            return task if task["lastStatus"] == status else None

        found: dict[str, Any] = eventually(reached, f"{arn} {status}", seconds)
        return found

    def stop(self, arn: str) -> dict[str, Any]:
        self.ecs.stop_task(cluster="e2e", task=arn)
        return self.wait(arn, "STOPPED")

    def address(self, task: dict[str, Any]) -> str:
        address: str = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        return address

    def lines(self, arn: str, container: str = "main") -> list[str]:
        """What a container has said; nothing of one that has no stream yet."""
        stream = f"t/{container}/{arn.rsplit('/', 1)[1]}"
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            try:
                page = self.logs.get_log_events(
                    logGroupName="/e2e", logStreamName=stream, startFromHead=True, **token
                )
            except self.logs.exceptions.ResourceNotFoundException:
                return []
            if not page["events"]:
                return found
            found += [event["message"] for event in page["events"]]
            token = {"nextToken": page["nextForwardToken"]}

    def finished(self, *containers: dict[str, Any], **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run a task to its end; the task and its containers by name."""
        task = self.wait(self.run(*containers, **more), "STOPPED")
        return task, {c["name"]: c for c in task["containers"]}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    work: Path = tmp_path_factory.mktemp("e2e")
    with RealDaemon(work / "data") as daemon:
        image = daemon.push(busybox_image(work / "image"), "busybox")
        daemon.client("logs").create_log_group(logGroupName="/e2e")
        daemon.client("ecs").create_cluster(clusterName="e2e")
        yield Stack(daemon, image)
    assert_nothing_left(work / "data")
