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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from neargate.state.migrations import MIGRATIONS
from neargate.state.sqlite_tx import SqliteTx
from neargate.state.store import Change, Feed, StoreError, Tx

T = TypeVar("T")
_BATCH = 256
_FEED_KEPT = 100_000
_TRIM_EVERY = 1000
"""Changes between two cuts of the feed."""
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY", "cache_size = -16000")


class _Job:
    __slots__ = ("body", "error", "future", "value")

    def __init__(self, body: Callable[[Tx], Any], future: "asyncio.Future[Any]") -> None:
        self.body = body
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class SqliteStore:
    """See store.Store. Use as an async context manager: `async with SqliteStore(path) as store`."""

    def __init__(self, path: Path, *, feed_kept: int = _FEED_KEPT) -> None:
        self._path = path
        self._feed_kept = feed_kept
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._head = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._told: tuple[tuple[int, int, int], Feed] | None = None
        """The newest answer of `changes`; the head is a part of what was asked."""
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"scan-{path.stem}")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False

    async def __aenter__(self) -> "SqliteStore":
        self._loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as opened:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                writer = opened.enter_context(contextlib.closing(self._connect()))
                _migrate(writer)
                self._head = int(writer.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0])
                self._reader = self._connect_reader()
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"the store {self._path} cannot be opened: {error}") from error
            opened.pop_all()
        self._thread = threading.Thread(
            target=self._write_loop, args=(writer, self._head), name="store-writer"
        )
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Do the writes that wait, then close. Whoever waits for a change is told."""
        self._closed = True
        self._jobs.put(None)
        try:
            await asyncio.to_thread(self._thread.join)
            await asyncio.to_thread(self._threads.shutdown)
        finally:
            for reader in self._readers:
                reader.close()
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(self._is_closed())

    def _is_closed(self) -> StoreError:
        return StoreError(f"the store {self._path} is closed")

    def head(self) -> int:
        return self._head

    async def read(self, body: Callable[[Tx], T]) -> T:
        if self._closed:
            raise self._is_closed()
        return _snapshot(self._reader, body)

    async def scan(self, body: Callable[[Tx], T]) -> T:
        if self._closed:
            raise self._is_closed()

        def run() -> T:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect_reader()
            return _snapshot(connection, body)

        return await self._loop.run_in_executor(self._threads, run)

    async def write(self, body: Callable[[Tx], T]) -> T:
        if self._closed:
            raise self._is_closed()
        job = _Job(body, self._loop.create_future())
        self._jobs.put(job)
        # Shielded: once handed over, the write happens whether or not the caller still waits for it.
        return await asyncio.shield(job.future)

    async def changes(self, after: int, limit: int = 1000) -> Feed:
        """All loops and long polls, woken by one change, ask the same: it is read once."""
        if self._closed:
            raise self._is_closed()
        question = (after, limit, self._head)
        if self._told is not None and self._told[0] == question:
            return self._told[1]
        feed = await self._changes(after, limit)
        if feed.changes:  # else the next one may be there before the head has moved
            self._told = question, feed
        return feed

    async def _changes(self, after: int, limit: int) -> Feed:
        def body(tx: Tx) -> Feed:
            # The snapshot may be ahead of the acknowledged head: nothing but its own rows is looked at.
            # Two questions: one for both would look through the whole feed, for each loop at each change.
            oldest, newest = tx.execute(
                "SELECT coalesce((SELECT min(seq) FROM change), 0),"
                " coalesce((SELECT max(seq) FROM change), 0)"
            )[0]
            rows = tx.execute(
                "SELECT seq, kind, id, deleted FROM change WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
            found = [Change(seq, kind, id, bool(deleted)) for seq, kind, id, deleted in rows]
            return Feed(found, found[-1].seq if found else int(newest), gap=oldest > after + 1)

        return await self.read(body)

    async def wait(self, after: int) -> int:
        while self._head <= after:
            if self._closed:
                raise self._is_closed()
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect()
        self._readers.append(connection)
        connection.execute("PRAGMA query_only = ON")
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
        """Run the writes in one transaction. Returns the feed's seq; whatever happens, all are answered."""
        start = seq
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                seq = _run_job(connection, job, seq)
            if seq // _TRIM_EVERY != start // _TRIM_EVERY:
                connection.execute("DELETE FROM change WHERE seq <= ?", (seq - self._feed_kept,))
            connection.execute("COMMIT")
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            seq = start
            for job in batch:
                job.error = _not_kept(error)
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
    except BaseException as error:
        if not connection.in_transaction:
            raise  # SQLite gave up the whole transaction (disk full, I/O): so does the batch
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        job.error = _answer(error)
        return seq
    connection.execute("RELEASE job")
    return tx.seq


def _not_kept(error: BaseException) -> StoreError:
    told = StoreError(f"the store could not keep a write: {error}")
    told.__cause__ = error
    return told


def _answer(error: BaseException) -> BaseException:
    """What the caller of a write gets to see of an error out of its body."""
    if isinstance(error, sqlite3.Error):
        return _not_kept(error)
    if isinstance(error, StopIteration):  # no future takes one
        told = RuntimeError("a write's body raised StopIteration")
        told.__cause__ = error
        return told
    return error


def _snapshot(connection: sqlite3.Connection, body: Callable[[Tx], T]) -> T:
    try:
        connection.execute("BEGIN")
        try:
            return body(SqliteTx(connection))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreError(f"the store could not be read: {error}") from error


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
