"""What only the SQLite store has to answer for: its file, its migrations, its disk, its commits."""

import asyncio
import os
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neargate.state import sqlite
from neargate.state.migrations import MIGRATIONS
from neargate.state.sqlite import SqliteStore
from neargate.state.store import StoreError
from tests.contracts.store.kinds import SHIP, ship, writer_held


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that SQLite itself says it runs, on any connection of a store."""
    seen: list[str] = []
    connect = SqliteStore._connect

    def traced(store: SqliteStore) -> sqlite3.Connection:
        connection = connect(store)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(SqliteStore, "_connect", traced)
    return seen


async def test_writes_that_wait_together_share_a_commit(tmp_path: Path, statements: list[str]) -> None:
    async with SqliteStore(tmp_path / "store.db") as store:
        statements.clear()
        async with writer_held(store):
            tasks = [
                asyncio.create_task(store.write(lambda tx, n=n: tx.put(SHIP, ship(f"{n}"))))
                for n in range(1000)
            ]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        # One for the write that held the others up, and one per group of at most 256.
        assert statements.count("COMMIT") == statements.count("BEGIN IMMEDIATE") == 1 + 4
        assert len(await store.read(lambda tx: tx.all(SHIP))) == 1000


async def test_concurrent_writers_need_far_fewer_commits_than_writes(
    tmp_path: Path, statements: list[str]
) -> None:
    async with SqliteStore(tmp_path / "store.db") as store:
        statements.clear()

        async def writer(name: int) -> None:
            for n in range(20):
                await store.write(lambda tx, n=n: tx.put(SHIP, ship(f"{name}-{n}")))

        async with asyncio.TaskGroup() as group:
            for name in range(100):
                group.create_task(writer(name))
        assert 20 <= statements.count("COMMIT") <= 2000 / 5


async def test_what_is_new_is_found_without_looking_through_the_feed(tmp_path: Path) -> None:
    """Every loop asks at each change, of a feed that is as long as it is kept."""
    async with SqliteStore(tmp_path / "store.db") as store:
        for count in (100, 10_000):
            await store.write(lambda tx, n=count: [tx.put(SHIP, ship(f"{i}", cargo=n)) for i in range(n)])
            steps: list[None] = []
            store._reader.set_progress_handler(lambda steps=steps: steps.append(None), 50)
            await store.changes(store.head() - 1)
            store._reader.set_progress_handler(None, 0)
            assert len(steps) < 10, f"{len(steps) * 50} steps of SQLite's for a feed of {count}"


async def test_a_change_that_many_wait_for_is_read_once(tmp_path: Path, statements: list[str]) -> None:
    async with SqliteStore(tmp_path / "store.db") as store:
        for n in range(3):
            head = store.head()
            await store.write(lambda tx, n=n: tx.put(SHIP, ship(f"{n}")))
            statements.clear()
            found = await asyncio.gather(*(store.changes(head) for _ in range(100)))
            assert all([change.id for change in feed.changes] == [f"{n}"] for feed in found)
            assert len([text for text in statements if "FROM change WHERE" in text]) == 1
        assert [change.id for change in (await store.changes(0)).changes] == ["0", "1", "2"]


async def test_a_commit_is_on_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    """By SQLite's promise for these two settings; kill -9 (test_durability) cannot show a power failure."""
    async with SqliteStore(tmp_path / "store.db") as store:
        assert await store.write(lambda tx: tx.execute("PRAGMA synchronous")) == [(2,)]
        assert await store.write(lambda tx: tx.execute("PRAGMA journal_mode")) == [("wal",)]


# Migrations


async def test_a_file_of_the_first_version_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file made with the first migration only, filled by hand as that version filled it."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE migration (version INTEGER NOT NULL PRIMARY KEY)")
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("INSERT INTO migration VALUES (1)")
        body = '{"account":"111111111111","region":"us-east-1","id":"a","port":"kiel"}'
        old.execute("INSERT INTO record VALUES ('ship', 'a', '111111111111', 'us-east-1', ?)", (body,))
        old.execute("INSERT INTO record_index VALUES ('ship', 'port', 'kiel', 'a')")
        old.execute("INSERT INTO change VALUES (7, 'ship', 'a', 0)")
        old.execute("INSERT INTO counter VALUES ('n', 41)")
    old.close()
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE added (x BIGINT NOT NULL)",)))
    for number in (42, 43):  # once with the migrations to do, once with them done
        async with SqliteStore(path) as store:
            assert await store.read(lambda tx: tx.find(SHIP, "port", "kiel")) == [ship("a", "kiel")]
            assert store.head() == 7
            assert await store.write(lambda tx: tx.next("n")) == number
            assert await store.read(lambda tx: tx.execute("SELECT * FROM added")) == []
            versions = await store.read(
                lambda tx: tx.execute("SELECT version FROM migration ORDER BY version")
            )
            assert [v for (v,) in versions] == list(range(1, len(MIGRATIONS) + 2))


async def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path) as store:
        await store.write(lambda tx: tx.put(SHIP, ship("a")))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("DELETE FROM record", "CREATE TABLE record (x)")))
        with pytest.raises(StoreError, match="record already exists"):
            await SqliteStore(path).__aenter__()
    async with SqliteStore(path) as store:
        assert await store.read(lambda tx: tx.all(SHIP)) == [ship("a")]


async def test_a_file_of_a_newer_neargate_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path):
        pass
    with sqlite3.connect(path) as newer:
        newer.execute("INSERT INTO migration VALUES (999)")
    newer.close()
    with pytest.raises(StoreError, match=f"newer neargate .schema 999, this one knows {len(MIGRATIONS)}"):
        await SqliteStore(path).__aenter__()


# Damage, and disks that take no more


async def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"store\.db cannot be opened: file is not a database"):
        await SqliteStore(path).__aenter__()
    assert path.read_bytes().startswith(b"not a database")


async def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path) as store:
        await store.write(lambda tx: [tx.put(SHIP, ship(f"{n:05}", "kiel")) for n in range(2000)])
    content = bytearray(path.read_bytes())
    half = len(content) // 2 // 4096 * 4096
    content[half : half + 20 * 4096] = b"\xff" * (20 * 4096)
    path.write_bytes(content)
    async with SqliteStore(path) as store:
        for look in (store.read, store.scan, store.write):
            with pytest.raises(StoreError, match="malformed"):
                await look(lambda tx: [tx.get(SHIP, f"{n:05}") for n in range(2000)])


@pytest.mark.parametrize("directory", ["a-file/below", "/proc/neargate-store-test"])
async def test_a_directory_that_cannot_be_written(tmp_path: Path, directory: str) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        await SqliteStore(tmp_path / directory / "store.db").__aenter__()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A full disk, as far as this process can tell: no file of its grows beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_keeps_nothing_and_the_store_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path) as store:
        await store.write(lambda tx: tx.put(SHIP, ship("before")))
        wait = asyncio.create_task(store.wait(store.head()))
        log = path.with_name("store.db-wal")
        with files_no_larger_than(log.stat().st_size):
            async with writer_held(store):
                tasks = [
                    asyncio.create_task(store.write(lambda tx, n=n: tx.put(SHIP, ship(f"{n}", "x" * 5000))))
                    for n in range(20)
                ]
                await asyncio.sleep(0)
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, StoreError) and "could not keep" in str(result)
            assert [s.id for s in await store.read(lambda tx: tx.all(SHIP))] == ["before"]
            assert store.head() == 1 and not wait.done()
        await store.write(lambda tx: tx.put(SHIP, ship("behind")))
        assert await wait == 2
    async with SqliteStore(path) as store:
        assert [s.id for s in await store.read(lambda tx: tx.all(SHIP))] == ["before", "behind"]
        assert [c.id for c in (await store.changes(0)).changes] == ["before", "behind"]


async def test_another_writer_of_the_same_file_spoils_nothing(tmp_path: Path) -> None:
    """Two daemons on one directory is main's lock to refuse; should it happen, the feed's order holds."""
    path = tmp_path / "store.db"
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        await one.write(lambda tx: tx.put(SHIP, ship("one")))
        with pytest.raises(StoreError, match=r"change\.seq"):
            await two.write(lambda tx: tx.put(SHIP, ship("two")))
        assert [s.id for s in await two.read(lambda tx: tx.all(SHIP))] == ["one"]


async def test_no_thread_or_file_is_left_open(tmp_path: Path) -> None:
    def files() -> list[str]:
        open_now = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
        return [name for name in open_now if name.startswith(str(tmp_path))]

    before = set(threading.enumerate())
    async with SqliteStore(tmp_path / "store.db") as store:
        await store.write(lambda tx: tx.put(SHIP, ship("a")))
        await asyncio.gather(*(store.scan(lambda tx: tx.all(SHIP)) for _ in range(5)))
        assert files()
    assert files() == []
    ours = ("store-writer", "scan-store")
    assert not [t.name for t in set(threading.enumerate()) - before if t.name.startswith(ours)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store.db"]
