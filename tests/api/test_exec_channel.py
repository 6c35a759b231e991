"""ECS Exec through a whole daemon with the fake driver: the channel, from handshake to record."""

import hashlib

import pytest
from websockets.exceptions import ConnectionClosed

from neargate.gateway.exec import session as exec_session
from neargate.wire.channel import frames
from neargate.wire.channel.frames import Frame
from tests.support.door import Door
from tests.support.exec_tasks import Tasks, ready, shell
from tests.support.session_client import SessionClient


@pytest.fixture
def tasks(door: Door) -> Tasks:
    return ready(door)


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


async def test_the_size_is_known_before_the_command_runs(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_session, "_SIZE_SECONDS", 30.0)  # it is waited for, however slow this client is
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
