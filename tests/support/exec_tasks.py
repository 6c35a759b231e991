"""Tasks of a whole daemon with the fake driver, and shells in them through ECS Exec.

Used by tests/api/test_exec.py and test_exec_*.py.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed

from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.support.session_client import SessionClient

WAIT = {"Delay": 0.05, "MaxAttempts": 1200}
ROLE = "arn:aws:iam::000000000000:role/task"


@dataclass
class Tasks:
    door: Door
    ecs: Any
    ssm: Any
    network: dict[str, Any]

    def run(self, *, enabled: bool = True, cluster: str = "c", of: str = "web") -> str:
        answer = self.ecs.run_task(
            cluster=cluster, taskDefinition=of, launchType="FARGATE", enableExecuteCommand=enabled,
            networkConfiguration=self.network,
        )  # fmt: skip
        arn: str = answer["tasks"][0]["taskArn"]
        self.ecs.get_waiter("tasks_running").wait(cluster=cluster, tasks=[arn], WaiterConfig=WAIT)
        return arn

    def session(self, task: str, command: str = "/bin/sh", **more: Any) -> dict[str, Any]:
        answer = self.ecs.execute_command(cluster="c", task=task, command=command, interactive=True, **more)
        session: dict[str, Any] = answer["session"]
        return session

    def describe(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_tasks(cluster="c", tasks=[task])["tasks"][0]
        return found

    def record(self, id: str, state: str = "History") -> dict[str, Any]:
        """The session as it is kept; soon after its channel was closed."""
        deadline = time.monotonic() + 60
        while True:
            for session in self.ssm.describe_sessions(State=state)["Sessions"]:
                if session["SessionId"] == id:
                    return dict(session)
            assert time.monotonic() < deadline, f"no session {id} in {state}"
            time.sleep(0.02)

    def terminal(self, task: str) -> Any:
        """What the fake driver had attached last."""
        return self.door.daemon.driver.sandboxes[task.rsplit("/", 1)[1]].terminals[-1]  # type: ignore[attr-defined]


def ready(door: Door) -> Tasks:
    """In cluster `c`, of definitions `web` and, with two containers, `two`."""
    subnets = [subnet["SubnetId"] for subnet in door.client("ec2").describe_subnets()["Subnets"]]
    ecs = door.client("ecs")
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(**{**definition(container()), "taskRoleArn": ROLE})
    both = {
        **definition(container(), container("side", essential=False)),
        "taskRoleArn": ROLE,
        "family": "two",
    }
    ecs.register_task_definition(**both)
    return Tasks(door, ecs, door.client("ssm"), {"awsvpcConfiguration": {"subnets": subnets}})


@contextlib.contextmanager
def refused(code: str, message: str) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == (code, message)


@contextlib.asynccontextmanager
async def shell(tasks: Tasks, **more: Any) -> AsyncIterator[tuple[SessionClient, str, str]]:
    """A client in a shell of a new task; with the session's id and the task's ARN."""
    task = tasks.run()
    session = tasks.session(task, **more)
    async with SessionClient(session) as client:
        await client.type(b"size\r")
        await client.until(b"24 80")
        yield client, session["sessionId"], task


async def closed_with(session: dict[str, Any]) -> str:
    client = SessionClient(session)
    await client.open()
    with pytest.raises(ConnectionClosed) as ended:
        await client.take()
    assert ended.value.rcvd is not None and ended.value.rcvd.code == 1008
    return ended.value.rcvd.reason
