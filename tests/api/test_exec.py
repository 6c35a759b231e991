"""ECS Exec through a whole daemon with the fake driver: refusals, the channel, what is kept of a session."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from neargate.gateway.exec import session as exec_session
from neargate.wire.channel import frames
from neargate.wire.channel.frames import Frame
from tests.support.door import Door
from tests.support.ecs import container, definition
from tests.support.session_client import SessionClient

NOT_ENABLED = (
    "The execute command failed because execute command was not enabled when the task was run or the execute"
    " command agent isn’t running. Wait and try again or run a new task with execute command enabled and try"
    " again."
)
WAIT = {"Delay": 0.05, "MaxAttempts": 400}
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
        deadline = time.monotonic() + 10
        while True:
            for session in self.ssm.describe_sessions(State=state)["Sessions"]:
                if session["SessionId"] == id:
                    return dict(session)
            assert time.monotonic() < deadline, f"no session {id} in {state}"
            time.sleep(0.02)

    def terminal(self, task: str) -> Any:
        """What the fake driver had attached last."""
        return self.door.daemon.driver.sandboxes[task.rsplit("/", 1)[1]].terminals[-1]  # type: ignore[attr-defined]


@pytest.fixture
def tasks(door: Door) -> Tasks:
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


# --- ExecuteCommand


def test_the_answer(tasks: Tasks) -> None:
    task = tasks.run()
    answer = tasks.ecs.execute_command(cluster="c", task=task, command="/bin/sh -c 'a b'", interactive=True)
    shown = tasks.describe(task)["containers"][0]
    session = answer.pop("session")
    del answer["ResponseMetadata"]
    assert answer == {
        "clusterArn": tasks.describe(task)["clusterArn"],
        "containerArn": shown["containerArn"],
        "containerName": "web-app",
        "interactive": True,
        "taskArn": task,
    }
    assert session["sessionId"].startswith("ecs-execute-command-")
    where = tasks.door.endpoint.replace("http:", "ws:")
    assert session["streamUrl"] == f"{where}/v1/data-channel/{session['sessionId']}?role=publish_subscribe"
    agents = [agent for c in tasks.describe(task)["containers"] for agent in c["managedAgents"]]
    assert [(a["name"], a["lastStatus"]) for a in agents] == [("ExecuteCommandAgent", "RUNNING")]
    assert agents[0]["lastStartedAt"] == tasks.describe(task)["startedAt"]


def test_the_channel_is_where_the_caller_reached_the_door(tasks: Tasks) -> None:
    named = tasks.door.endpoint.replace("127.0.0.1", "localhost")
    ecs = tasks.door.client("ecs", endpoint_url=named)
    answer = ecs.execute_command(cluster="c", task=tasks.run(), command="sh", interactive=True)
    assert answer["session"]["streamUrl"].startswith(named.replace("http:", "ws:") + "/v1/data-channel/")


def test_refusals(tasks: Tasks) -> None:
    task, plain, two = tasks.run(), tasks.run(enabled=False), tasks.run(of="two")
    assert "managedAgents" not in tasks.describe(plain)["containers"][0]
    invalid = "InvalidParameterException"
    with refused(invalid, NOT_ENABLED):
        tasks.session(plain)
    with refused(invalid, "Interactive is the only mode supported currently."):
        tasks.ecs.execute_command(cluster="c", task=task, command="sh", interactive=False)
    with refused(invalid, "The container nobody does not exist in the task."):
        tasks.session(task, container="nobody")
    with refused(invalid, "A container name is required: the task has more than one container."):
        tasks.session(two)
    with refused(invalid, "Command cannot be empty."):
        tasks.session(task, command="  ")
    with refused(invalid, "The command is not valid: No closing quotation."):
        tasks.session(task, command="sh -c 'x")
    with refused(invalid, "The referenced task was not found."):
        tasks.session(f"{'0' * 32}")
    with refused("ClusterNotFoundException", "Cluster not found."):
        tasks.ecs.execute_command(cluster="other", task="0" * 32, command="sh", interactive=True)
    assert tasks.session(two, container="side")["tokenValue"]
    tasks.ecs.stop_task(cluster="c", task=task)
    tasks.ecs.get_waiter("tasks_stopped").wait(cluster="c", tasks=[task], WaiterConfig=WAIT)
    with refused(invalid, NOT_ENABLED):
        tasks.session(task)
    assert tasks.describe(task)["containers"][0]["managedAgents"][0]["lastStatus"] == "STOPPED"


# --- the token


async def closed_with(session: dict[str, Any]) -> str:
    client = SessionClient(session)
    await client.open()
    with pytest.raises(ConnectionClosed) as ended:
        await client.take()
    assert ended.value.rcvd is not None and ended.value.rcvd.code == 1008
    return ended.value.rcvd.reason


async def test_a_token_opens_its_own_session_once(tasks: Tasks) -> None:
    task = tasks.run()
    session, other = tasks.session(task), tasks.session(task)
    for token in ("", "wrong", other["tokenValue"], session["tokenValue"][:-1]):
        assert "token" in await closed_with({**session, "tokenValue": token})
    nowhere = session["streamUrl"].replace(session["sessionId"], "ecs-execute-command-0")
    assert "token" in await closed_with({**session, "streamUrl": nowhere})
    async with SessionClient(session) as client:
        await client.type(b"exit 0\r")
        await client.to_end()
    assert "token" in await closed_with(session)
    with pytest.raises(InvalidStatus):
        await connect(tasks.door.endpoint.replace("http", "ws") + "/v1/other")


async def test_a_token_is_not_kept(tasks: Tasks) -> None:
    task = tasks.run()
    session = tasks.session(task)
    data = (tasks.door.settings.data_dir / "truth.db").read_bytes()
    data += (tasks.door.settings.data_dir / "truth.db-wal").read_bytes()
    assert session["sessionId"].encode() in data
    assert session["tokenValue"].encode() not in data


@pytest.mark.parametrize("first", ["[]", "{", '{"TokenValue": 5}', "[" * 5000, b"\x00\x01"])
async def test_another_first_message(tasks: Tasks, first: str | bytes) -> None:
    session = tasks.session(tasks.run())
    async with connect(session["streamUrl"]) as socket:
        await socket.send(first)
        with pytest.raises(ConnectionClosed):
            await socket.recv()


# --- the channel


async def test_a_session_from_handshake_to_record(tasks: Tasks) -> None:
    async with shell(tasks) as (client, id, task):
        action = client.handshake["RequestedClientActions"][0]
        assert action["ActionParameters"] == {"SessionType": "InteractiveCommands", "Properties": {}}
        told = [(f.payload_type, f.sequence) for f in client.frames if f.type == frames.OUTPUT]
        assert list(dict.fromkeys(told))[:2] == [  # a slow machine sends one twice
            (frames.HANDSHAKE_REQUEST, 0),
            (frames.HANDSHAKE_COMPLETE, 1),
        ]
        assert tasks.record(id, "Active")["Status"] == "Connected"
        await client.resize(132, 43)
        await client.type(b"size\r")
        await client.until(b"43 132")
        await client.type(b"exit 7\r")
        closed = await client.to_end()
    assert (closed["SessionId"], closed["Output"], closed["ExitCode"]) == (id, "", 7)
    kept = tasks.record(id)
    assert (kept["Status"], kept["Details"]) == ("Terminated", "exit code 7")
    assert kept["Owner"].endswith(":root") and kept["EndDate"] >= kept["StartDate"]
    assert kept["Target"].startswith("ecs:c_") and task.rsplit("/", 1)[1] in kept["Target"]


async def test_the_size_is_known_before_the_command_runs(tasks: Tasks) -> None:
    client = SessionClient(tasks.session(tasks.run(), command="size"))
    await client.open()
    while not any(f.payload_type == frames.HANDSHAKE_REQUEST for f in client.frames):
        await client.take()
    await client.resize(101, 37)
    await client.to_end()
    assert client.output == b"37 101\r\n"


async def test_what_cannot_be_run(tasks: Tasks) -> None:
    session = tasks.session(tasks.run(), command="nosuch --at all")
    async with SessionClient(session) as client:
        closed = await client.to_end()
    message = 'Unable to start command: exec: "nosuch": executable file not found in $PATH'
    assert closed["Output"] == message and "ExitCode" not in closed
    assert tasks.record(session["sessionId"])["Details"] == message


async def test_a_megabyte_is_whole_though_acknowledgements_get_lost(tasks: Tasks) -> None:
    session = tasks.session(tasks.run(), command="flood 1048576")
    async with SessionClient(session, forgets=150) as client:
        closed = await client.to_end()
    numbers = [f.sequence for f in client.frames if f.type == frames.OUTPUT]
    assert len(numbers) > len(set(numbers)) > 1024
    assert closed["ExitCode"] == 0
    assert hashlib.sha256(client.output).digest() == hashlib.sha256(b"0123456789abcdef" * 65536).digest()


async def test_what_is_not_acknowledged_comes_again(tasks: Tasks) -> None:
    task = tasks.run()
    client = SessionClient(tasks.session(task), acknowledges=False)
    async with client:
        for _ in range(4):
            frame = await client.take()
            assert (frame.sequence, frame.payload_type) == (0, frames.HANDSHAKE_REQUEST)
        assert len({f.id for f in client.frames}) == 1


async def test_input_is_taken_in_order_and_once(tasks: Tasks) -> None:
    async with shell(tasks) as (client, _, task):
        first = client.number

        def typed(number: int, text: bytes) -> Frame:
            return Frame(frames.INPUT, first + number, text, frames.DATA)

        for frame in (typed(2, b"c"), typed(1, b"b"), typed(0, b"a"), typed(1, b"b"), typed(3, b"d")):
            await client.send_frame(frame)
        await client.until(b"abcd")
        while len(client.acknowledged) < first + 5:
            await client.take()
        assert sorted(set(client.acknowledged)) == list(range(first + 4))
        assert tasks.terminal(task).typed == b"size\rabcd"


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"x" * 1000])
async def test_garbage_ends_the_connection_and_no_more(tasks: Tasks, data: bytes) -> None:
    task = tasks.run()
    async with SessionClient(tasks.session(task)) as client:
        await client.take()
        await client.socket.send(data)
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                await client.take()
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1008
    assert tasks.describe(task)["lastStatus"] == "RUNNING"


async def test_a_message_without_end_is_cut_off(tasks: Tasks) -> None:
    async with SessionClient(tasks.session(tasks.run())) as client:
        with pytest.raises(ConnectionClosed) as ended:
            await client.socket.send(b"x" * 1_000_000)
            while True:
                await client.take()
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009


# --- ends


async def test_the_client_ends_it_by_flag(tasks: Tasks) -> None:
    async with shell(tasks) as (client, id, task):
        await client.terminate()
        assert (await client.to_end())["Output"] == ""
    assert tasks.record(id)["Details"] == "The client ended it."
    assert tasks.terminal(task).closed


async def test_somebody_ends_it(tasks: Tasks) -> None:
    async with shell(tasks) as (client, id, task):
        assert tasks.ssm.terminate_session(SessionId=id)["SessionId"] == id
        assert (await client.to_end())["Output"] == ""
    assert tasks.record(id)["Details"] == "Somebody ended it."
    assert tasks.terminal(task).closed
    assert tasks.ssm.terminate_session(SessionId=id)["SessionId"] == id
    assert tasks.ssm.terminate_session(SessionId="none")["SessionId"] == "none"


async def test_a_session_that_was_never_begun_can_be_ended(tasks: Tasks) -> None:
    session = tasks.session(tasks.run())
    tasks.ssm.terminate_session(SessionId=session["sessionId"])
    assert "token" in await closed_with(session)


async def test_the_client_closes_its_connection(tasks: Tasks) -> None:
    async with shell(tasks) as (_, id, task):
        pass
    assert tasks.record(id)["Details"] == "The client closed the connection."
    assert tasks.terminal(task).closed


async def test_the_client_vanishes(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_session, "RESUME_SECONDS", 0.3)
    async with shell(tasks) as (client, id, task):
        client.socket.transport.abort()
    assert await asyncio.to_thread(tasks.record, id)
    assert tasks.record(id)["Details"] == "The client went away."
    assert tasks.terminal(task).closed


async def test_a_broken_connection_is_resumed(tasks: Tasks) -> None:
    async with shell(tasks) as (client, id, task):
        client.socket.transport.abort()
        again = await asyncio.to_thread(tasks.ssm.resume_session, SessionId=id)
        client.resume({"streamUrl": again["StreamUrl"], "tokenValue": again["TokenValue"]})
        await client.open()
        await client.type(b"still\r")
        await client.until(b"still")
        await client.type(b"exit 3\r")
        assert (await client.to_end())["ExitCode"] == 3
    assert len(tasks.door.daemon.driver.sandboxes[task.rsplit("/", 1)[1]].terminals) == 1  # type: ignore[attr-defined]
    with pytest.raises(ClientError, match="DoesNotExistException"):
        tasks.ssm.resume_session(SessionId=id)
    with pytest.raises(ClientError, match="DoesNotExistException"):
        tasks.ssm.resume_session(SessionId="none")


async def test_the_tasks_end_ends_it(tasks: Tasks) -> None:
    async with shell(tasks) as (client, id, task):
        await asyncio.to_thread(tasks.ecs.stop_task, cluster="c", task=task)
        await client.to_end()
    assert tasks.record(id)["Status"] == "Terminated"


async def test_idle_it_is_ended() -> None:
    door = Door(exec_idle_seconds=0.4).start()
    try:
        subnets = [subnet["SubnetId"] for subnet in door.client("ec2").describe_subnets()["Subnets"]]
        ecs = door.client("ecs")
        ecs.create_cluster(clusterName="c")
        ecs.register_task_definition(**{**definition(container()), "taskRoleArn": ROLE})
        tasks = Tasks(door, ecs, door.client("ssm"), {"awsvpcConfiguration": {"subnets": subnets}})
        async with shell(tasks) as (client, id, task):
            closed = await client.to_end()
        assert closed["Output"] == "Your session timed out due to inactivity."
        assert tasks.record(id)["Details"] == "It timed out."
        assert tasks.terminal(task).closed
    finally:
        door.stop()


async def test_the_daemons_end_is_told() -> None:
    door = Door().start()
    try:
        subnets = [subnet["SubnetId"] for subnet in door.client("ec2").describe_subnets()["Subnets"]]
        ecs = door.client("ecs")
        ecs.create_cluster(clusterName="c")
        ecs.register_task_definition(**{**definition(container()), "taskRoleArn": ROLE})
        tasks = Tasks(door, ecs, door.client("ssm"), {"awsvpcConfiguration": {"subnets": subnets}})
        async with shell(tasks) as (client, _, task):
            terminal = tasks.terminal(task)
            began = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(door.stop))
            closed = await client.to_end()
            await stopping
        assert "daemon stopped" in closed["Output"]
        assert terminal.closed
        assert time.monotonic() - began < 20
    finally:
        door.stop()


# --- StartSession, DescribeSessions


def target(tasks: Tasks, task: str) -> str:
    runtime = tasks.describe(task)["containers"][0]["runtimeId"]
    return f"ecs:c_{task.rsplit('/', 1)[1]}_{runtime}"


async def test_a_session_by_target(tasks: Tasks) -> None:
    task = tasks.run()
    started = tasks.ssm.start_session(Target=target(tasks, task), Reason="to look")
    session = {"streamUrl": started["StreamUrl"], "tokenValue": started["TokenValue"]}
    async with SessionClient(session) as client:
        await client.type(b"exit 0\r")
        await client.to_end()
    action = client.handshake["RequestedClientActions"][0]
    assert action["ActionParameters"]["SessionType"] == "Standard_Stream"
    kept = tasks.record(started["SessionId"])
    assert (kept["Reason"], kept["Target"]) == ("to look", target(tasks, task))


def test_targets_and_documents_refused(tasks: Tasks) -> None:
    task, plain = tasks.run(), tasks.run(enabled=False)
    for one in ("i-0123456789abcdef0", "ecs:c_x_y", target(tasks, plain), target(tasks, task)[:-1] + "x"):
        with refused("TargetNotConnected", f"{one} is not connected."):
            tasks.ssm.start_session(Target=one)
    with pytest.raises(ClientError, match="InvalidDocument"):
        tasks.ssm.start_session(Target=target(tasks, task), DocumentName="AWS-StartPortForwardingSession")
    document, parameters = "AWS-StartInteractiveCommand", {"command": ["size"]}
    tasks.ssm.start_session(Target=target(tasks, task), DocumentName=document, Parameters=parameters)


def test_sessions_are_listed_in_pages(tasks: Tasks) -> None:
    task = tasks.run()
    ids = sorted(tasks.session(task)["sessionId"] for _ in range(5))
    pages = tasks.ssm.get_paginator("describe_sessions").paginate(
        State="Active", PaginationConfig={"PageSize": 2}
    )
    assert [s["SessionId"] for page in pages for s in page["Sessions"]] == ids


# --- the log group


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
