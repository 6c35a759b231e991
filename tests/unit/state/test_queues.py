"""Queues against a plain model of them: whatever is sent, received, hidden and deleted, at whatever times."""

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.control.retention import Retention
from neargate.kit.clock import ManualClock
from neargate.model.queue import Queue, attributes_digest, body_digest
from neargate.state import queues
from neargate.state.catalog_events import QUEUE, QUEUE_DEDUPLICATION, QUEUE_MESSAGE
from neargate.state.queues import Outgoing
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx
from tests.unit.control.house import SCOPE, house

NOW = ManualClock().now()
HIDDEN = 30.0


def queue(name: str = "q", number: int = 1, **attributes: str) -> Queue:
    arn = queues.queue_arn(SCOPE, name)
    fifo = name.endswith(".fifo")
    return Queue(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=arn,
        name=name,
        number=number,
        fifo=fifo,
        attributes=attributes,
    )


@dataclass
class Plain:
    """A message as the model has it."""

    id: str
    group: str
    visible_at: float
    received: int = 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("abc"), st.integers(0, 20)),
        st.tuples(st.just("receive"), st.integers(1, 10), st.none()),
        st.tuples(st.just("delete"), st.integers(0, 20), st.none()),
        st.tuples(st.just("hide"), st.integers(0, 20), st.integers(0, 60)),
        st.tuples(st.just("later"), st.integers(1, 40), st.none()),
    ),
    max_size=40,
)


@pytest.mark.parametrize("fifo", [False, True])
@settings(deadline=None, max_examples=60)
@given(steps)
def test_a_queue_is_what_its_model_is(fifo: bool, steps: list[Any]) -> None:
    asyncio.run(_against_model(fifo, steps))


async def _against_model(fifo: bool, steps: list[Any]) -> None:
    made = queue("q.fifo" if fifo else "q")
    with tempfile.TemporaryDirectory() as directory:
        async with SqliteStore(Path(directory) / "s.db") as store:
            await store.write(lambda tx: _run(tx, made, steps))


def _run(tx: Tx, made: Queue, steps: list[Any]) -> None:
    model: list[Plain] = []
    handles: list[tuple[str, int]] = []  # (id, sequence) of what was received
    now = NOW
    for number, (step, first, second) in enumerate(steps):
        if step == "send":
            id = f"m{number}"
            delay = 0 if made.fifo else second
            queues.send(tx, made, Outgoing(body=id, group=first, delay=delay), id, now)
            model.append(Plain(id, first, now + delay))
        elif step == "receive":
            found = queues.receive(tx, made, first, HIDDEN, now, lambda: "r")
            assert [m.id for m in found] == [m.id for m in _expected(model, made.fifo, first, now)]
            for message in found:
                handles.append((message.id, message.sequence))
                plain = next(m for m in model if m.id == message.id)
                plain.visible_at, plain.received = now + HIDDEN, plain.received + 1
                assert message.received == plain.received
        elif step in ("delete", "hide") and handles:
            id, sequence = handles[first % len(handles)]
            message = queues.of_receipt(tx, made, sequence)
            assert (message is not None) == any(m.id == id for m in model)
            if message is not None and step == "delete":
                queues.delete(tx, message)
                model = [m for m in model if m.id != id]
            elif message is not None:
                queues.hide(tx, message, now + second)
                next(m for m in model if m.id == id).visible_at = now + second
        elif step == "later":
            now += first
        hidden = [m for m in model if m.visible_at > now]
        flying = sum(1 for m in hidden if m.received)
        assert queues.counts(tx, made, now) == (len(model) - len(hidden), flying, len(hidden) - flying)
        assert queues.in_flight(tx, made, now) == (flying if made.fifo else len(hidden))
        assert queues.next_visible(tx, made, now) == min((m.visible_at for m in hidden), default=None)


def _expected(model: list[Plain], fifo: bool, count: int, now: float) -> list[Plain]:
    if not fifo:
        order = {m.id: n for n, m in enumerate(model)}
        visible = [m for m in model if m.visible_at <= now]
        return sorted(visible, key=lambda m: (m.visible_at, order[m.id]))[:count]
    closed: set[str] = set()
    found = []
    for message in model:
        if message.visible_at > now:
            closed.add(message.group)
        elif message.group not in closed:
            found.append(message)
    return found[:count]


async def test_messages_end_when_their_time_is_over(tmp_path: Path) -> None:
    made = queue(MessageRetentionPeriod="60")
    fifo = queue("q.fifo", 2, MessageRetentionPeriod="60")
    async with house(tmp_path) as parts:

        def body(tx: Tx) -> None:
            for each in (made, fifo):
                tx.put(QUEUE, each)
                queues.send(tx, each, Outgoing(body="x", group="g"), "id", NOW)

        await parts.store.write(body)
        found = await parts.store.write(lambda tx: queues.receive(tx, made, 1, 0.0, NOW + 60, lambda: "r"))
        assert found == []
        parts.clock.advance(600)
        await Retention(parts).round()
        for kind in (QUEUE_MESSAGE, QUEUE_DEDUPLICATION):
            assert await parts.store.read(lambda tx, k=kind: tx.all(k)) == []  # type: ignore[misc]


async def test_very_many_that_are_over_are_removed_by_and_by(tmp_path: Path) -> None:
    """A daemon that was away for days finds a whole queue over: no write is as long as that."""
    made = queue(MessageRetentionPeriod="60")
    async with house(tmp_path) as parts:

        def fill(tx: Tx) -> None:
            for n in range(500):
                queues.send(tx, made, Outgoing(body="old"), f"{n}", NOW)
            queues.send(tx, made, Outgoing(body="new"), "new", NOW + 70)

        await parts.store.write(fill)
        rounds: list[list[str]] = []
        while not rounds or not rounds[-1]:
            before = parts.store.head()
            found = await parts.store.write(
                lambda tx: queues.receive(tx, made, 10, 30.0, NOW + 80, lambda: "r")
            )
            rounds.append([message.body for message in found])
            assert parts.store.head() - before <= 210
        assert rounds == [[], [], ["new"]]


async def test_a_message_is_known_again_for_five_minutes(tmp_path: Path) -> None:
    made = queue("q.fifo")
    async with house(tmp_path) as parts:

        def sent(at: float, group: str = "g") -> Any:
            out = Outgoing(body="x", group=group, deduplication="d")
            return parts.store.write(lambda tx: queues.send(tx, made, out, f"at {at} {group}", NOW + at))

        assert (await sent(0))[0] == (await sent(299))[0] == (await sent(299, "other"))[0]
        assert (await sent(300))[0] == "at 300 g"


async def test_a_dead_letter_keeps_its_age_and_tells_where_it_was(tmp_path: Path) -> None:
    grave = queue("grave", 2)
    policy = json.dumps({"deadLetterTargetArn": grave.arn, "maxReceiveCount": "1"})
    made = queue(RedrivePolicy=policy)
    async with house(tmp_path) as parts:

        def body(tx: Tx) -> None:
            tx.put(QUEUE, grave)
            queues.send(tx, made, Outgoing(body="x"), "id", NOW)
            assert len(queues.receive(tx, made, 1, 0.0, NOW + 1, lambda: "r")) == 1
            assert queues.receive(tx, made, 1, 0.0, NOW + 2, lambda: "r") == []
            (dead,) = queues.receive(tx, grave, 1, 0.0, NOW + 3, lambda: "r")
            assert dead.dead_from == made.arn and dead.sent_at == NOW and dead.id == "id"

        await parts.store.write(body)


def test_digests_are_those_that_clients_check() -> None:
    assert body_digest("This is a test message") == "fafb00f5732ab283681e124bf8747ed1"
    assert attributes_digest({}) is None
    text = {"timestamp": {"StringValue": "1493147359900", "DataType": "Number"}}
    assert attributes_digest(text) == "235c5c510d26fb653d073faed50ae77c"
