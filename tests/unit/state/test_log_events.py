"""state/log_events on a real store: reading in bounded chunks, order, cursors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.logs import EVENT_OVERHEAD
from neargate.model.sandbox import LogCursor
from neargate.state import log_events
from neargate.state.log_events import END, START
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "logs.db") as store:
        yield store


EVENTS = st.lists(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=30)), max_size=30), max_size=4)


@given(EVENTS, st.integers(1, 80), st.booleans())
@settings(max_examples=40, deadline=None)
def test_reading_in_any_chunks_gives_all_in_order(
    batches: list[list[tuple[int, bytes]]], chunk: int, descending: bool
) -> None:
    import asyncio
    import tempfile

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            patch.setattr(log_events, "_PEEK", 7)
            async with SqliteStore(Path(directory) / "logs.db") as store:

                def write(tx: Tx) -> None:
                    for batch in batches:
                        log_events.append(tx, 1, batch, 0)
                    log_events.append(tx, 2, [(3, b"other")], 0)

                await store.write(write)
                found = await store.read(
                    lambda tx: list(log_events.read(tx, 1, START, END, descending=descending, chunk=chunk))
                )
                whole = sorted((e for b in batches for e in b), key=lambda e: e[0])
                got = [(e.timestamp, e.message) for e in found]
                assert (got[::-1] if descending else got) == whole
                some = await store.read(lambda tx: list(log_events.read(tx, 1, (5, 0), (9, 0), chunk=chunk)))
                assert [e.timestamp for e in some] == [ts for ts, _ in whole if 5 <= ts < 9]

    asyncio.run(run())


async def test_a_stream_s_row_sums_up_its_events(store: SqliteStore) -> None:
    def write(tx: Tx) -> None:
        stream = log_events.create_stream(tx, 1, "s", 5)
        assert stream is not None and log_events.create_stream(tx, 1, "s", 6) is None
        log_events.append(tx, stream.number, [(30, b"abc"), (20, b"")], 100)
        log_events.append(tx, stream.number, [(25, b"x")], 101)

    await store.write(write)
    stream = await store.read(lambda tx: log_events.get_stream(tx, 1, "s"))
    assert stream is not None
    assert (stream.first_event, stream.last_event, stream.last_ingestion) == (20, 30, 101)
    assert stream.bytes == 4 + 3 * EVENT_OVERHEAD
    assert await store.read(log_events.stored_bytes) == {1: stream.bytes}
    assert await store.read(log_events.extent) == (stream.bytes, 20, 30)


async def test_events_and_cursor_are_one_transaction(store: SqliteStore) -> None:
    def write(tx: Tx) -> None:
        log_events.append(tx, 1, [(1, b"x")], 1)
        log_events.move_cursor(tx, LogCursor(runtime_id="r", offset=10, skip=2), 1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await store.write(write)
    assert await store.read(lambda tx: list(log_events.read(tx, 1, START, END))) == []
    assert await store.read(lambda tx: log_events.cursors(tx, ["r"])) == {}


async def test_only_cursors_of_ended_spools_are_forgotten(store: SqliteStore) -> None:
    def write(tx: Tx) -> None:
        log_events.move_cursor(tx, LogCursor(runtime_id="open", offset=10, skip=2), 1)
        log_events.move_cursor(tx, LogCursor(runtime_id="old", offset=9, ended=True), 1)
        log_events.move_cursor(tx, LogCursor(runtime_id="new", offset=9, ended=True), 50)
        log_events.forget_cursors(tx, 50)

    await store.write(write)
    kept = await store.read(lambda tx: log_events.cursors(tx, ["open", "old", "new", "none"]))
    assert kept == {
        "open": LogCursor(runtime_id="open", offset=10, skip=2),
        "new": LogCursor(runtime_id="new", offset=9, ended=True),
    }


async def test_deleted_streams_go_in_slices(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_events, "_SLICE", 4)

    def write(tx: Tx) -> None:
        stream = log_events.create_stream(tx, 1, "s", 5)
        assert stream is not None
        log_events.append(tx, stream.number, [(i, b"x") for i in range(10)], 1)
        log_events.delete_stream(tx, stream)

    await store.write(write)
    counts = []
    while await store.write(log_events.sweep_deleted):
        counts.append((await store.read(lambda tx: tx.execute("SELECT count(*) FROM log_event")))[0][0])
    assert counts == [6, 2, 0]
