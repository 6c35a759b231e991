"""A transaction on one SQLite connection: records, their indexes, the feed's rows, counters.

Made by sqlite.py for each read and write; see store.Tx for what each method promises.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from neargate.model.record import Scope
from neargate.state.store import Conflict, Kind, R

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_encode = msgspec.json.Encoder().encode


def _decode(kind: Kind[R], body: str) -> R:
    decoder = _decoders.get(kind.record)
    if decoder is None:
        decoder = _decoders[kind.record] = msgspec.json.Decoder(kind.record)
    return decoder.decode(body)  # type: ignore[no-any-return]


def _check_index(kind: Kind[R], index: str) -> None:
    if index not in kind.indexes:
        raise KeyError(f"{kind.name} has no index {index}")


class SqliteTx:
    """See store.Tx. `seq` is the feed's newest sequence number, this transaction's changes included."""

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
        _check_index(kind, index)
        sql = (
            "SELECT r.body FROM record_index i JOIN record r ON r.kind = i.kind AND r.id = i.id"
            " WHERE i.kind = ? AND i.name = ? AND i.value = ? AND i.id > ? ORDER BY i.id"
        )
        rows = self._limited(sql, (kind.name, index, value, after), limit)
        return [_decode(kind, body) for (body,) in rows]

    def count(self, kind: Kind[R], index: str, value: str) -> int:
        _check_index(kind, index)
        sql = "SELECT count(*) FROM record_index WHERE kind = ? AND name = ? AND value = ?"
        return int(self._db.execute(sql, (kind.name, index, value)).fetchone()[0])

    def ids(
        self, kind: Kind[R], index: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[str]:
        _check_index(kind, index)
        sql = "SELECT id FROM record_index WHERE kind = ? AND name = ? AND value = ? AND id > ? ORDER BY id"
        return [id for (id,) in self._limited(sql, (kind.name, index, value, after), limit)]

    def values(self, kind: Kind[R], index: str, *, until: str, limit: int = 1000) -> list[str]:
        _check_index(kind, index)
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
            " ON CONFLICT (kind, id) DO UPDATE SET account = excluded.account, region = excluded.region,"
            " body = excluded.body",
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
