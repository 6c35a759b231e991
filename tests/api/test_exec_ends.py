"""ECS Exec through a whole daemon with the fake driver: how sessions end, and what is kept of them."""

import asyncio
import time

import pytest
from botocore.exceptions import ClientError

from neargate.gateway.exec import session as exec_session
from tests.support.door import Door
from tests.support.exec_tasks import Tasks, closed_with, ready, shell


@pytest.fixture
def tasks(door: Door) -> Tasks:
    return ready(door)


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
    door = Door(exec_idle_seconds=3.0).start()
    try:
        tasks = ready(door)
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
        tasks = ready(door)
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
