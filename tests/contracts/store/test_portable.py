"""No SQL that PostgreSQL lacks: a real one prepares every statement of state/ against the real schema.

Every statement is recorded where the transaction hands it to SQLite, by calling everything that makes one.
"""

import inspect
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from neargate.model.sandbox import LogCursor
from neargate.state import log_events
from neargate.state.log_events import END, START
from neargate.state.migrations import MIGRATIONS
from neargate.state.sqlite import SqliteStore
from neargate.state.sqlite_tx import SqliteTx
from neargate.state.store import Tx
from tests.contracts.store.kinds import HERE, SHIP, ship

SERVER = "postgresql (apt-get install -y postgresql)"


class Recorder:
    """A connection that keeps what it was asked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.statements: dict[str, None] = {}

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self.statements[sql] = None
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        self.statements[sql] = None
        return self._connection.executemany(sql, rows)


RECORDS: dict[str, Callable[[Tx], object]] = {
    "put": lambda tx: [tx.put(SHIP, ship("a", "kiel")), tx.put(SHIP, ship("a", "bremen", 1))],
    "insert": lambda tx: tx.insert(SHIP, ship("b")),
    "get": lambda tx: tx.get(SHIP, "a"),
    "find": lambda tx: [tx.find(SHIP, "port", "x"), tx.find(SHIP, "port", "x", limit=1)],
    "ids": lambda tx: [tx.ids(SHIP, "port", "x"), tx.ids(SHIP, "port", "x", limit=1)],
    "count": lambda tx: tx.count(SHIP, "port", "x"),
    "values": lambda tx: tx.values(SHIP, "port", until="x"),
    "all": lambda tx: [tx.all(SHIP), tx.all(SHIP, limit=1), tx.all(SHIP, HERE), tx.all(SHIP, HERE, limit=1)],
    "delete": lambda tx: tx.delete(SHIP, "a"),
    "next": lambda tx: tx.next("counter"),
}
BOTH = (False, True)
LOGS: dict[str, Callable[[Tx], object]] = {
    "create_stream": lambda tx: log_events.create_stream(tx, 1, "s", 1),
    "get_stream": lambda tx: log_events.get_stream(tx, 1, "s"),
    "append": lambda tx: log_events.append(tx, 1, [(n, b"x") for n in range(30)], 1),
    "streams_by_name": lambda tx: [
        log_events.streams_by_name(tx, 1, after=after, descending=way, limit=1)
        for way in BOTH
        for after in (None, "r")
    ],
    "streams_by_time": lambda tx: [
        log_events.streams_by_time(tx, 1, after=after, descending=way, limit=1)
        for way in BOTH
        for after in (None, (1, "r"))
    ],
    "streams_between": lambda tx: log_events.streams_between(tx, 1, 0, 9),
    "stored_bytes": log_events.stored_bytes,
    "read": lambda tx: [list(log_events.read(tx, 1, START, END, descending=way)) for way in BOTH],
    "cursors": lambda tx: log_events.cursors(tx, ["r"]),
    "move_cursor": lambda tx: log_events.move_cursor(tx, LogCursor(runtime_id="r", offset=1), 1),
    "forget_cursors": lambda tx: log_events.forget_cursors(tx, 1),
    "streams_older": lambda tx: [log_events.streams_older(tx, 9), log_events.streams_older(tx, 9, 1)],
    "drop_before": lambda tx: log_events.drop_before(tx, 1, 5),
    "extent": log_events.extent,
    "delete_stream": lambda tx: log_events.delete_stream(tx, _stream(tx)),
    "delete_streams": lambda tx: log_events.delete_streams(tx, 2),
    "sweep_deleted": lambda tx: [log_events.sweep_deleted(tx) for _ in range(9)],
}


def _stream(tx: Tx) -> Any:
    return log_events.get_stream(tx, 1, "s")


def _public(owner: Any) -> set[str]:
    functions = {n: f for n, f in vars(owner).items() if inspect.isfunction(f) and not n.startswith("_")}
    return {
        n for n, f in functions.items() if f.__module__ in ("neargate.state.log_events", SqliteTx.__module__)
    }


async def recorded(directory: Path) -> list[str]:
    async with SqliteStore(directory / "store.db"):
        pass
    connection = sqlite3.connect(directory / "store.db", isolation_level=None)
    recorder = Recorder(connection)
    tx = SqliteTx(recorder)  # type: ignore[arg-type]
    for call in (*RECORDS.values(), *LOGS.values()):
        call(tx)
    connection.close()
    return list(recorder.statements)


async def feed_statements(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store itself asks through a transaction."""
    found: list[str] = []
    execute = SqliteTx.execute

    def recording(tx: SqliteTx, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found.append(sql)
        return execute(tx, sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteTx, "execute", recording)
        async with SqliteStore(directory / "feed.db") as store:
            await store.changes(0)
    return found


def test_everything_that_makes_a_statement_is_called() -> None:
    assert set(RECORDS) == _public(SqliteTx) - {"execute", "execute_many"}
    assert set(LOGS) == _public(log_events)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Callable[[str], str]]:
    """Runs SQL in a PostgreSQL of its own, without port or daemon; answers what the server says of it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, f"this test needs {SERVER}"
    programs = found[-1].parent
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())

    def run(command: list[str], text: str = "") -> str:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, cwd=home, env={"LC_ALL": "C"}, **identity
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    with TemporaryDirectory(prefix="neargate-postgres-") as home:
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(home, user.pw_name)
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = str(Path(home) / "data")
        run([str(programs / "initdb"), "--no-sync", "--encoding=UTF8", "--auth=trust", "-D", data])
        # -j: a statement ends with a semicolon and an empty line.
        server = [str(programs / "postgres"), "--single", "-j", "-F", "-D", data, "postgres"]
        yield lambda sql: run(server, sql)


def complaints(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if re.search(r"\b(ERROR|FATAL|PANIC):", line)]


def prepared(statements: list[str]) -> str:
    made = []
    for n, sql in enumerate(statements):
        parts = sql.split("?")
        numbered = parts[0] + "".join(f"${i}{part}" for i, part in enumerate(parts[1:], 1))
        made.append(f"PREPARE s{n} AS {numbered};\n\n")
    return "".join(made)


async def test_postgres_takes_the_schema_and_every_statement(
    tmp_path: Path, postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_events, "_SLICE", 4)  # so that a stream is swept in slices too
    schema = "".join(f"{statement};\n\n" for migration in MIGRATIONS for statement in migration)
    statements = await recorded(tmp_path) + await feed_statements(tmp_path, monkeypatch)
    assert len(statements) > 50
    # A statement only SQLite has shows that the server would have complained.
    answer = postgres(schema + prepared([*statements, "INSERT OR REPLACE INTO counter VALUES ('a', 1)"]))
    (complaint,) = complaints(answer)
    assert 'syntax error at or near "OR"' in complaint
