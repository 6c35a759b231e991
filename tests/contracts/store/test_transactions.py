"""Writes are serial, whole or absent, and no business of one another; reads see what was acknowledged."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.state.store import Conflict, Store, StoreError, Tx
from tests.contracts.store.kinds import SHIP, Implementation, ship, writer_held


def load(id: str = "x") -> Callable[[Tx], Any]:
    """A write that adds one to a ship's cargo and returns what it is then."""

    def body(tx: Tx) -> int:
        old = tx.get(SHIP, id) or ship(id)
        return tx.put(SHIP, replace(old, cargo=old.cargo + 1)).cargo

    return body


async def test_reads_see_acknowledged_writes(store: Store) -> None:
    for n in range(1, 30):
        assert await store.write(load()) == n
        for look in (store.read, store.scan):
            seen = await look(lambda tx: tx.get(SHIP, "x"))
            assert seen is not None and seen.cargo == n


async def test_writes_are_serial(store: Store) -> None:
    results = await asyncio.gather(*(store.write(load()) for _ in range(500)))
    assert sorted(results) == list(range(1, 501))


async def test_the_order_of_writes_is_the_order_in_which_they_were_made(store: Store) -> None:
    async with writer_held(store):
        tasks = [asyncio.create_task(store.write(lambda tx, n=n: (n, load()(tx)))) for n in range(50)]
        await asyncio.sleep(0)
    assert [await task for task in tasks] == [(n, n + 1) for n in range(50)]


class Mistake(Exception):
    pass


def fails_with(error: BaseException) -> Callable[[Tx], Any]:
    def body(tx: Tx) -> None:
        tx.put(SHIP, ship("bad", "kiel"))
        tx.delete(SHIP, "old")
        tx.next("counter")
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Mistake("no"), Mistake), (Conflict("no"), Conflict), (StopIteration(), RuntimeError)],
)
async def test_a_failing_write_is_undone_alone(
    store: Store, error: BaseException, raised: type[BaseException]
) -> None:
    await store.write(lambda tx: tx.put(SHIP, ship("old", "kiel")))
    head = store.head()
    async with writer_held(store):  # so that all of these wait together and are committed as a group
        good = [asyncio.create_task(store.write(load(f"before{n}"))) for n in range(5)]
        bad = asyncio.create_task(store.write(fails_with(error)))
        good += [asyncio.create_task(store.write(load(f"behind{n}"))) for n in range(5)]
        await asyncio.sleep(0)
    with pytest.raises(raised):
        await bad
    assert [await task for task in good] == [1] * 10
    assert await store.read(lambda tx: tx.get(SHIP, "bad")) is None
    assert await store.read(lambda tx: tx.ids(SHIP, "port", "kiel")) == ["old"]
    feed = await store.changes(head)
    assert [c.id for c in feed.changes] == [f"{w}{n}" for w in ("before", "behind") for n in range(5)]


async def test_bad_sql_of_one_write_harms_no_other(store: Store) -> None:
    async with writer_held(store):
        before = asyncio.create_task(store.write(load("before")))
        bad = asyncio.create_task(
            store.write(lambda tx: (load("bad")(tx), tx.execute("SELECT nothing FROM x")))
        )
        behind = asyncio.create_task(store.write(load("behind")))
        await asyncio.sleep(0)
    with pytest.raises(StoreError):
        await bad
    assert (await before, await behind) == (1, 1)
    assert [s.id for s in await store.read(lambda tx: tx.all(SHIP))] == ["before", "behind"]


async def test_a_read_cannot_write(store: Store) -> None:
    for look in (store.read, store.scan):
        with pytest.raises(StoreError):
            await look(lambda tx: tx.put(SHIP, ship("x")))
    assert await store.read(lambda tx: tx.all(SHIP)) == []


async def test_an_error_out_of_a_read_reaches_the_caller_and_reading_goes_on(store: Store) -> None:
    def body(tx: Tx) -> None:
        raise Mistake

    for look in (store.read, store.scan, store.read, store.scan):
        with pytest.raises(Mistake):
            await look(body)
    await store.write(load())
    assert (
        len(await store.read(lambda tx: tx.all(SHIP))) == len(await store.scan(lambda tx: tx.all(SHIP))) == 1
    )


async def test_a_scan_leaves_the_loop_free_and_keeps_its_snapshot(store: Store) -> None:
    looked, go_on = threading.Event(), threading.Event()

    def body(tx: Tx) -> tuple[int, int]:
        first = len(tx.all(SHIP))
        looked.set()
        assert go_on.wait(60)
        return first, len(tx.all(SHIP))

    scan = asyncio.create_task(store.scan(body))
    assert await asyncio.to_thread(looked.wait, 60)
    await store.write(load())  # neither the loop nor the writer waits for the scan
    go_on.set()
    assert await scan == (0, 0)


async def test_a_cancelled_caller_s_write_is_whole_and_others_go_on(store: Store) -> None:
    async with writer_held(store):
        tasks = [asyncio.create_task(store.write(both(n))) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, asyncio.CancelledError) for r in done[::2])
    assert done[1::2] == list(range(1, 30, 2))
    await store.write(load())
    kept = {s.id for s in await store.read(lambda tx: tx.all(SHIP))}
    for n in range(30):
        assert (f"left{n}" in kept) == (f"right{n}" in kept)
        assert n % 2 == 0 or f"left{n}" in kept


def both(n: int) -> Callable[[Tx], Any]:
    def body(tx: Tx) -> int:
        tx.put(SHIP, ship(f"left{n}"))
        tx.put(SHIP, ship(f"right{n}"))
        return n

    return body


async def test_a_cancelled_caller_whose_write_fails_disturbs_nobody(store: Store) -> None:
    async with writer_held(store):
        task = asyncio.create_task(store.write(fails_with(Mistake())))
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.write(load()) == 1


async def test_closing_does_the_writes_that_wait(implementation: Implementation, tmp_path: Path) -> None:
    opened = AsyncExitStack()
    store = await opened.enter_async_context(implementation.open(tmp_path))
    async with writer_held(store):
        tasks = [asyncio.create_task(store.write(load(f"{n:03}"))) for n in range(400)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(opened.aclose())
        await asyncio.sleep(0)
    await closing
    assert await asyncio.gather(*tasks) == [1] * 400
    for call in (store.write, store.read, store.scan):
        with pytest.raises(StoreError, match="closed"):
            await call(load("late"))
    with pytest.raises(StoreError, match="closed"):
        await store.wait(store.head())
    async with implementation.open(tmp_path) as store:
        assert len(await store.read(lambda tx: tx.all(SHIP))) == 400


async def test_all_is_there_after_opening_anew(implementation: Implementation, tmp_path: Path) -> None:
    heads = []
    for n in range(1, 4):
        async with implementation.open(tmp_path) as store:
            heads.append(store.head())
            assert await store.write(load()) == n
            assert await store.write(lambda tx: tx.next("counter")) == n
    assert heads == [0, 1, 2]
