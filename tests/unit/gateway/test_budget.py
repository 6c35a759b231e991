"""What a door holds of bodies: senders that stall or trickle cannot take all. On sockets and in numbers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.gateway import server
from neargate.gateway.budget import SMALL_BYTES, Budget, Held
from neargate.kit.settings import Settings
from tests.unit.gateway.test_http1 import EchoApp, door, exchange, post, status

LARGEST = 200_000
SECONDS = 20.0
SLOW = LARGEST / SECONDS


async def almost(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request of the largest size but for its last byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(post(bytes(LARGEST))[:-1])
    await writer.drain()
    return reader, writer


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The status of the answer to `almost` once its last byte is sent."""
    with contextlib.suppress(ConnectionError):
        writer.write(b"\0")
        await writer.drain()
    async with asyncio.timeout(5):
        found = status(await reader.read())
    writer.close()
    return found


@asynccontextmanager
async def task_door(tmp_path: Path) -> AsyncIterator[int]:
    settings = Settings(data_dir=tmp_path, max_body_bytes=LARGEST, request_timeout_seconds=SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app: Any = EchoApp()
        serving = asyncio.create_task(server.serve_tasks(app, settings, listening))
        try:
            yield listening.getsockname()[1]
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def test_senders_that_stall_give_way_to_the_next() -> None:
    async with door(EchoApp(), max_body_bytes=LARGEST, request_timeout_seconds=SECONDS) as port:
        stalled = [await almost(port) for _ in range(5)]
        await asyncio.sleep(2.1)
        assert status(await exchange(port, post(bytes(LARGEST)))) == 200
        found = sorted([await answered(*each) for each in stalled])
    # One was one too many from the start; one gave way; the rest were in nobody's way.
    assert found == [200, 200, 200, 503, 503]


async def test_senders_that_trickle_give_way_as_well() -> None:
    async with door(EchoApp(), max_body_bytes=LARGEST, request_timeout_seconds=SECONDS) as port:
        senders = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(bytes(LARGEST))[:-100])
            senders.append((reader, writer))
        for _ in range(22):
            await asyncio.sleep(0.1)
            for _, writer in senders:
                with contextlib.suppress(ConnectionError):
                    writer.write(b"\0")
        assert status(await exchange(port, post(bytes(LARGEST)))) == 200
        for _, writer in senders:
            writer.transport.abort()


async def test_senders_that_get_on_are_left_to_finish() -> None:
    async with door(EchoApp(), max_body_bytes=LARGEST, request_timeout_seconds=SECONDS) as port:
        quick = [await almost(port) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert status(await exchange(port, post(bytes(LARGEST)))) == 503
        assert [await answered(*each) for each in quick] == [200] * 4
        assert status(await exchange(port, post(bytes(LARGEST)))) == 200


async def test_small_bodies_are_taken_whatever_is_held() -> None:
    async with door(EchoApp(), max_body_bytes=LARGEST, request_timeout_seconds=SECONDS) as port:
        held = [await almost(port) for _ in range(5)]
        assert status(await exchange(port, post(bytes(SMALL_BYTES)))) == 200
        for _, writer in held:
            writer.transport.abort()


async def test_one_task_has_its_share_only(tmp_path: Path) -> None:
    async with task_door(tmp_path) as port:
        hostile = [await almost(port, "127.0.0.2") for _ in range(8)]
        await asyncio.sleep(0.1)
        neighbour = await almost(port, "127.0.0.3")
        assert await answered(*neighbour) == 200
        found = sorted([await answered(*each) for each in hostile])
    assert found == [200] + [503] * 7


async def test_what_is_being_answered_is_not_given_up() -> None:
    app = EchoApp()
    app.hold = asyncio.Event()
    async with door(app, max_body_bytes=LARGEST, request_timeout_seconds=SECONDS) as port:
        waiting = [
            asyncio.create_task(exchange(port, post(bytes(LARGEST), path="/hold"), timeout=20))
            for _ in range(4)
        ]
        await asyncio.sleep(2.1)
        assert status(await exchange(port, post(bytes(LARGEST)))) == 503
        app.hold.set()
        assert [status(await each) for each in waiting] == [200] * 4


# --- in numbers


class Sender:
    def __init__(self, budget: Budget, peer: str) -> None:
        self.peer, self.budget, self.held, self.gone = peer, budget, Held(), False

    def take(self, size: int) -> bool:
        return self.budget.take(self, self.held, size)

    def give_way(self) -> None:
        self.gone = True
        self.budget.give_back(self, self.held)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(clock: Clock) -> tuple[Budget, list[Sender]]:
    """Four bodies, so large that there is room for 1,000 bytes more."""
    budget = Budget(LARGEST, SECONDS, clock, shared=False)
    senders = [Sender(budget, "a") for _ in range(4)]
    for sender in senders:
        assert sender.take(LARGEST + SMALL_BYTES - 250)
    return budget, senders


@pytest.mark.parametrize(
    ("paces", "gone"),
    [
        ((3, 2, 2, 1.1), None),
        ((3, 0.9, 2, 0.5), 3),
        ((0.5, 0.9, 2, 0.6), 0),
        ((0, 0, 0, 0), 0),
    ],
)
@pytest.mark.parametrize("begun", [0.0, 0.7])
def test_the_slowest_of_the_slow_gives_way(begun: float, paces: tuple[float, ...], gone: int | None) -> None:
    clock = Clock()
    clock.now = begun
    budget, senders = filled(clock)
    for _ in range(3):
        clock.now += 1
        for sender, pace in zip(senders, paces, strict=True):
            sender.held.grew(int(pace * SLOW), clock.now)
    assert Sender(budget, "b").take(SMALL_BYTES + 2000) is (gone is not None)
    assert [sender.gone for sender in senders] == [place == gone for place in range(4)]


@pytest.mark.parametrize(("seconds", "gives_way"), [(0.0, False), (0.9, False), (2.0, True), (50.0, True)])
def test_a_sender_has_a_second_to_show_its_pace(seconds: float, gives_way: bool) -> None:
    clock = Clock()
    budget, senders = filled(clock)
    clock.now = seconds
    assert Sender(budget, "b").take(SMALL_BYTES + 2000) is gives_way
    assert senders[0].gone is gives_way


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(["take", "arrive", "end"]), st.integers(1, 90_000)),
        max_size=80,
    ),
    st.booleans(),
)
def test_nothing_is_lost_or_counted_twice(steps: list[tuple[int, str, int]], shared: bool) -> None:
    clock = Clock()
    budget = Budget(LARGEST, SECONDS, clock, shared=shared)
    senders: dict[int, Sender] = {}
    for place, step, size in steps:
        clock.now += 0.3
        sender = senders.get(place)
        if sender is None or sender.gone:
            sender = senders[place] = Sender(budget, f"10.0.0.{place % 3}")
        if step == "take":
            sender.take(size)
        elif step == "arrive":
            budget.arrived(sender)
        else:
            budget.give_back(sender, sender.held)
            del senders[place]
        held = [each.held.charged for each in senders.values() if not each.gone]
        assert budget._all == sum(held) == budget._peers.total() <= 4 * LARGEST
    for sender in senders.values():
        budget.give_back(sender, sender.held)
    assert (budget._all, dict(budget._peers), budget._arriving) == (0, {}, {})
