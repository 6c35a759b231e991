"""The store on SQLite (WAL). One writer thread commits many waiting writes in one fsync (group commit);
reads run on a connection of the caller's loop, long scans on a thread.

Built by `main` (one file for the truth, one for log events). Ordering: a write's future is resolved, and the
head moved, only after its commit is on disk.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from neargate.model.record import Scope
from neargate.state.migrations import MIGRATIONS
from neargate.state.store import Change, Conflict, Feed, Kind, R, StoreError, Tx

T = TypeVar("T")
_BATCH = 256
_FEED_KEPT = 100_000
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_encode = msgspec.json.Encoder().encode


def _decode(kind: Kind[R], body: str) -> R:
    decoder = _decoders.get(kind.record)
    if decoder is None:
        decoder = _decoders[kind.record] = msgspec.json.Decoder(kind.record)
    return decoder.decode(body)  # type: ignore[no-any-return]


class SqliteTx:
    """A transaction on one connection. See store.Tx."""

    def __init__(self, connection: sqlite3.Connection, seq: int = 0) -> None:
        self._db = connection
        self.seq = seq

    def get(self, kind: Kind[R], id: str) -> R | None:
        row = self._db.execute(
            "SELECT body FROM record WHERE kind = ? AND id = ?", (kind.name, id)
        ).fetchone()
        return None if row is None else _decode(kind, row[0])

    def find(
        self, kind: Kind[R], index: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[R]:
        if index not in kind.indexes:
            raise KeyError(f"{kind.name} has no index {index}")
        sql = (
            "SELECT r.body FROM record_index i JOIN record r ON r.kind = i.kind AND r.id = i.id"
            " WHERE i.kind = ? AND i.name = ? AND i.value = ? AND i.id > ? ORDER BY i.id"
        )
        rows = self._limited(sql, (kind.name, index, value, after), limit)
        return [_decode(kind, body) for (body,) in rows]

    def count(self, kind: Kind[R], index: str, value: str) -> int:
        sql = "SELECT count(*) FROM record_index WHERE kind = ? AND name = ? AND value = ?"
        return int(self._db.execute(sql, (kind.name, index, value)).fetchone()[0])

    def ids(
        self, kind: Kind[R], index: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[str]:
        if index not in kind.indexes:
            raise KeyError(f"{kind.name} has no index {index}")
        sql = "SELECT id FROM record_index WHERE kind = ? AND name = ? AND value = ? AND id > ? ORDER BY id"
        return [id for (id,) in self._limited(sql, (kind.name, index, value, after), limit)]

    def values(self, kind: Kind[R], index: str, *, until: str, limit: int = 1000) -> list[str]:
        if index not in kind.indexes:
            raise KeyError(f"{kind.name} has no index {index}")
        sql = (
            "SELECT DISTINCT value FROM record_index WHERE kind = ? AND name = ? AND value <= ?"
            " ORDER BY value LIMIT ?"
        )
        return [value for (value,) in self._db.execute(sql, (kind.name, index, until, limit))]

    def all(
        self, kind: Kind[R], scope: Scope | None = None, *, after: str = "", limit: int | None = None
    ) -> list[R]:
        if scope is None:
            sql, parameters = (
                "SELECT body FROM record WHERE kind = ? AND id > ? ORDER BY id",
                (kind.name, after),
            )
            return [_decode(kind, body) for (body,) in self._limited(sql, parameters, limit)]
        sql = "SELECT body FROM record WHERE kind = ? AND account = ? AND region = ? AND id > ? ORDER BY id"
        rows = self._limited(sql, (kind.name, scope.account, scope.region, after), limit)
        return [_decode(kind, body) for (body,) in rows]

    def put(self, kind: Kind[R], record: R, *, expected: R | None = None) -> R:
        id = kind.id(record)
        old = self.get(kind, id)
        if expected is not None and old != expected:
            raise Conflict(f"{kind.name} {id} has changed")
        if old == record:
            return record
        self._db.execute(
            "INSERT INTO record (kind, id, account, region, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind.name, id, record.account, record.region, _encode(record).decode()),
        )
        self._reindex(kind, id, old, record)
        self._feed(kind.name, id, deleted=False)
        return record

    def insert(self, kind: Kind[R], record: R) -> R:
        if self.get(kind, kind.id(record)) is not None:
            raise Conflict(f"{kind.name} {kind.id(record)} exists")
        return self.put(kind, record)

    def delete(self, kind: Kind[R], id: str) -> bool:
        old = self.get(kind, id)
        if old is None:
            return False
        self._db.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind.name, id))
        self._reindex(kind, id, old, None)
        self._feed(kind.name, id, deleted=True)
        return True

    def next(self, counter: str) -> int:
        sql = (
            "INSERT INTO counter (name, value) VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value"
        )
        return int(self._db.execute(sql, (counter,)).fetchone()[0])

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, tuple(parameters)).fetchall()

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._db.executemany(sql, rows)

    def _limited(self, sql: str, parameters: tuple[Any, ...], limit: int | None) -> list[tuple[Any, ...]]:
        if limit is not None:
            sql, parameters = sql + " LIMIT ?", (*parameters, limit)
        return self._db.execute(sql, parameters).fetchall()

    def _reindex(self, kind: Kind[R], id: str, old: R | None, new: R | None) -> None:
        for name, value_of in kind.indexes.items():
            was = None if old is None else value_of(old)
            now = None if new is None else value_of(new)
            if was == now:
                continue
            if was is not None:
                self._db.execute(
                    "DELETE FROM record_index WHERE kind = ? AND name = ? AND value = ? AND id = ?",
                    (kind.name, name, was, id),
                )
            if now is not None:
                self._db.execute(
                    "INSERT INTO record_index (kind, name, value, id) VALUES (?, ?, ?, ?)",
                    (kind.name, name, now, id),
                )

    def _feed(self, kind: str, id: str, *, deleted: bool) -> None:
        self.seq += 1
        self._db.execute(
            "INSERT INTO change (seq, kind, id, deleted) VALUES (?, ?, ?, ?)",
            (self.seq, kind, id, int(deleted)),
        )


class _Job:
    __slots__ = ("body", "error", "future", "value")

    def __init__(self, body: Callable[[Tx], Any], future: "asyncio.Future[Any]") -> None:
        self.body = body
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class SqliteStore:
    """See store.Store. Use as an async context manager: `async with SqliteStore(path) as store`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._head = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"scan-{path.stem}")
        self._local = threading.local()
        self._closed = False

    async def __aenter__(self) -> "SqliteStore":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        writer = self._connect()
        _migrate(writer)
        self._head = int(writer.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0])
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = ON")
        self._thread = threading.Thread(
            target=self._write_loop, args=(writer, self._head), name="store-writer"
        )
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._threads.shutdown(wait=True)
        self._reader.close()
        for waiter in self._waiters:
            waiter.cancel()

    def head(self) -> int:
        return self._head

    async def read(self, body: Callable[[Tx], T]) -> T:
        return _snapshot(self._reader, body)

    async def scan(self, body: Callable[[Tx], T]) -> T:
        def run() -> T:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
            return _snapshot(connection, body)

        return await self._loop.run_in_executor(self._threads, run)

    async def write(self, body: Callable[[Tx], T]) -> T:
        if self._closed:
            raise StoreError("the store is closed")
        job = _Job(body, self._loop.create_future())
        self._jobs.put(job)
        # Shielded: once handed over, the write happens whether or not the caller still waits for it.
        return await asyncio.shield(job.future)

    async def changes(self, after: int, limit: int = 1000) -> Feed:
        def body(tx: Tx) -> Feed:
            oldest = int(tx.execute("SELECT coalesce(min(seq), 0) FROM change")[0][0])
            rows = tx.execute(
                "SELECT seq, kind, id, deleted FROM change WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            found = [Change(seq, kind, id, bool(deleted)) for seq, kind, id, deleted in rows]
            return Feed(found, found[-1].seq if found else self._head, gap=oldest > after + 1)

        return await self.read(body)

    async def wait(self, after: int) -> int:
        while self._head <= after:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "temp_store = MEMORY",
            "cache_size = -16000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _write_loop(self, connection: sqlite3.Connection, seq: int) -> None:
        with contextlib.closing(connection):
            while (batch := self._next_batch()) is not None:
                seq = self._commit(connection, batch, seq)

    def _next_batch(self) -> list[_Job] | None:
        job = self._jobs.get()
        if job is None:
            return None
        batch = [job]
        with contextlib.suppress(queue.Empty):
            while len(batch) < _BATCH:
                job = self._jobs.get_nowait()
                if job is None:
                    self._jobs.put(None)
                    break
                batch.append(job)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job], seq: int) -> int:
        start = seq
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                seq = _run_job(connection, job, seq)
            if seq // 1000 != start // 1000:
                connection.execute("DELETE FROM change WHERE seq <= ?", (seq - _FEED_KEPT,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            seq = start
            for job in batch:
                job.error = StoreError(f"the store could not keep a write: {error}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._publish, batch, seq)
        return seq

    def _publish(self, batch: list[_Job], head: int) -> None:
        moved, self._head = head > self._head, head
        for job in batch:
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
                job.future.exception()  # a caller that has gone need not hear of it
            else:
                job.future.set_result(job.value)
        if moved:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)


def _run_job(connection: sqlite3.Connection, job: _Job, seq: int) -> int:
    """Run one write inside the batch's transaction; an exception undoes it alone. Returns the feed's seq."""
    tx = SqliteTx(connection, seq)
    connection.execute("SAVEPOINT job")
    try:
        job.value = job.body(tx)
    except sqlite3.OperationalError:
        raise  # disk full, I/O: the whole batch fails
    except BaseException as error:
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        job.error = error
        return seq
    connection.execute("RELEASE job")
    return tx.seq


def _snapshot(connection: sqlite3.Connection, body: Callable[[Tx], T]) -> T:
    connection.execute("BEGIN")
    try:
        return body(SqliteTx(connection))
    finally:
        connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS migration (version INTEGER NOT NULL PRIMARY KEY)")
    done = int(connection.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()[0])
    if done > len(MIGRATIONS):
        raise StoreError(
            f"the data directory is of a newer neargate (schema {done}, this one knows {len(MIGRATIONS)})"
        )
    for version, statements in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migration (version) VALUES (?)", (version,))
        connection.execute("COMMIT")
