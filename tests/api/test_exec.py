"""ECS Exec through a whole daemon with the fake driver: refusals, tokens, sessions by target."""

import pytest
from botocore.exceptions import ClientError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.door import Door
from tests.support.exec_tasks import WAIT, Tasks, closed_with, ready, refused
from tests.support.session_client import SessionClient

NOT_ENABLED = (
    "The execute command failed because execute command was not enabled when the task was run or the execute"
    " command agent isn’t running. Wait and try again or run a new task with execute command enabled and try"
    " again."
)


@pytest.fixture
def tasks(door: Door) -> Tasks:
    return ready(door)


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
