"""The change feed: ordered, complete, bounded; and waiting on it."""

import asyncio
from pathlib import Path

import pytest

from neargate.state.store import Change, Store, StoreError, Tx
from tests.contracts.store.kinds import CREW, SHIP, Crew, Implementation, ship, writer_held


async def test_each_change_is_in_the_feed_in_order(store: Store) -> None:
    assert store.head() == 0
    assert await store.changes(0) == await store.changes(0, limit=1)
    await store.write(lambda tx: tx.put(SHIP, ship("a")))
    await store.write(lambda tx: [tx.put(SHIP, ship("b")), tx.put(SHIP, ship("a", cargo=1))])
    await store.write(lambda tx: tx.put(CREW, Crew(account="1", region="r", name="a")))
    await store.write(lambda tx: tx.delete(SHIP, "a"))
    feed = await store.changes(0)
    assert list(feed.changes) == [
        Change(1, "ship", "a", False),
        Change(2, "ship", "b", False),
        Change(3, "ship", "a", False),
        Change(4, "crew", "a", False),
        Change(5, "ship", "a", True),
    ]
    assert (feed.head, feed.gap, store.head()) == (5, False, 5)


async def test_what_changes_nothing_is_no_change(store: Store) -> None:
    await store.write(lambda tx: tx.put(SHIP, ship("a", cargo=1)))
    head = store.head()
    await store.write(lambda tx: tx.put(SHIP, ship("a", cargo=1)))
    await store.write(lambda tx: tx.delete(SHIP, "none"))
    await store.write(lambda tx: tx.next("counter"))
    assert store.head() == head == 1


async def test_the_feed_is_read_in_pieces(store: Store) -> None:
    await store.write(lambda tx: [tx.put(SHIP, ship(f"{n}")) for n in range(10)])
    seen: list[int] = []
    after = 0
    while after < store.head():
        feed = await store.changes(after, limit=3)
        assert len(feed.changes) <= 3 and feed.head > after
        seen += [c.seq for c in feed.changes]
        after = feed.head
    assert seen == list(range(1, 11))
    feed = await store.changes(after)
    assert (list(feed.changes), feed.head, feed.gap) == ([], 10, False)


async def test_a_reader_is_not_sent_back_to_what_it_has_seen(store: Store) -> None:
    """The feed may show a change just before it is acknowledged; who has read that far goes on from there."""
    write = asyncio.create_task(store.write(lambda tx: tx.put(SHIP, ship("a"))))
    await asyncio.sleep(0)
    feed = await store.changes(0)
    while not feed.changes:
        feed = await store.changes(0)
    assert feed.head == 1
    assert (await store.changes(1)).head == 1
    await write


async def test_a_gap_is_told_after_trimming(implementation: Implementation, tmp_path: Path) -> None:
    async with implementation.open(tmp_path, feed_kept=100) as store:
        for start in range(0, 5000, 500):
            await store.write(
                lambda tx, start=start: [tx.put(SHIP, ship(f"{n}")) for n in range(start, start + 500)]
            )
        assert store.head() == 5000
        feed = await store.changes(0, limit=10_000)
        assert feed.gap and feed.head == 5000
        assert 100 <= len(feed.changes) < 5000
        oldest = feed.changes[0].seq
        assert [c.seq for c in feed.changes] == list(range(oldest, 5001))
        assert not (await store.changes(oldest - 1)).gap
        assert (await store.changes(oldest - 2)).gap
        assert not (await store.changes(5000)).gap
    async with implementation.open(tmp_path, feed_kept=100) as store:
        assert store.head() == 5000
        await store.write(lambda tx: tx.put(SHIP, ship("last")))
        assert [c.seq for c in (await store.changes(5000)).changes] == [5001]


async def test_waiting_ends_with_the_change_and_not_before(store: Store) -> None:
    assert await store.wait(-1) == 0
    async with writer_held(store):
        write = asyncio.create_task(store.write(lambda tx: tx.put(SHIP, ship("a"))))
        waits = [asyncio.create_task(store.wait(0)) for _ in range(3)]
        later = asyncio.create_task(store.wait(1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in (*waits, write))
    assert [await task for task in waits] == [1, 1, 1]
    await write
    assert not later.done()
    await store.write(lambda tx: tx.put(SHIP, ship("b")))
    assert await later == 2


async def test_a_failed_write_wakes_nobody(store: Store) -> None:
    def body(tx: Tx) -> None:
        tx.put(SHIP, ship("a"))
        raise LookupError

    wait = asyncio.create_task(store.wait(0))
    await asyncio.sleep(0)
    with pytest.raises(LookupError):
        await store.write(body)
    await store.write(lambda tx: tx.next("counter"))
    assert not wait.done() and store.head() == 0
    await store.write(lambda tx: tx.put(SHIP, ship("b")))
    assert await wait == 1


async def test_a_cancelled_wait_is_gone_and_others_stay(store: Store) -> None:
    waits = [asyncio.create_task(store.wait(0)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    await asyncio.sleep(0)
    await store.write(lambda tx: tx.put(SHIP, ship("a")))
    assert await waits[1] == 1
    assert waits[0].cancelled()


async def test_closing_tells_those_who_wait(implementation: Implementation, tmp_path: Path) -> None:
    async with implementation.open(tmp_path) as store:
        wait = asyncio.create_task(store.wait(0))
        await asyncio.sleep(0)
    with pytest.raises(StoreError, match="closed"):
        await wait


async def test_what_the_head_names_can_be_read(store: Store) -> None:
    """Whoever is woken by a change finds it: the head moves no earlier than the commit."""

    async def watch() -> None:
        head = 0
        while head < 100:
            head = await store.wait(head)
            assert len(await store.read(lambda tx: tx.all(SHIP))) >= head

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        for n in range(100):
            await store.write(lambda tx, n=n: tx.put(SHIP, ship(f"{n}")))
