"""The tables of log streams, events and spool cursors (store `logs`), behind functions of a transaction.

Called by services/logs (the API) and services/cell/log_intake (containers' lines). Events are ordered by
(timestamp, sequence); the sequence grows over the whole store. Messages are UTF-8 bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from neargate.model.logs import EVENT_OVERHEAD, LogStream, StoredEvent
from neargate.model.sandbox import LogCursor
from neargate.state.store import Tx

Position = tuple[int, int]
"""(timestamp, sequence): a place between events; those at or after it are greater or equal."""
START: Position = (0, 0)
END: Position = (2**63 - 1, 2**63 - 1)

_STREAM = "stream, log_group, name, created, first_ts, last_ts, ingested, bytes"
_PEEK = 512
_SLICE = 20_000
"""Events deleted in one transaction: some 50 ms of the writer."""


def create_stream(tx: Tx, group: int, name: str, now: int) -> LogStream | None:
    """None if the group has one of that name."""
    if get_stream(tx, group, name) is not None:
        return None
    number = tx.next("log-stream")
    tx.execute(
        f"INSERT INTO log_stream ({_STREAM}) VALUES (?, ?, ?, ?, 0, 0, 0, 0)", (number, group, name, now)
    )
    return LogStream(number, group, name, now)


def get_stream(tx: Tx, group: int, name: str) -> LogStream | None:
    rows = tx.execute(f"SELECT {_STREAM} FROM log_stream WHERE log_group = ? AND name = ?", (group, name))
    return LogStream(*rows[0]) if rows else None


def streams_by_name(
    tx: Tx, group: int, *, prefix: str = "", after: str | None = None, descending: bool = False, limit: int
) -> list[LogStream]:
    """Streams of a group in the order of their names, beyond `after`."""
    sql = f"SELECT {_STREAM} FROM log_stream WHERE log_group = ? AND name >= ? AND substr(name, 1, ?) = ?"
    parameters: list[object] = [group, prefix, len(prefix), prefix]
    if after is not None:
        sql += f" AND name {'<' if descending else '>'} ?"
        parameters.append(after)
    sql += f" ORDER BY name {'DESC' if descending else 'ASC'} LIMIT ?"
    return [LogStream(*row) for row in tx.execute(sql, (*parameters, limit))]


def streams_by_time(
    tx: Tx, group: int, *, after: tuple[int, str] | None = None, descending: bool = False, limit: int
) -> list[LogStream]:
    """Streams of a group in the order of their last event, beyond `after` (that time, name)."""
    sql = f"SELECT {_STREAM} FROM log_stream WHERE log_group = ?"
    parameters: list[object] = [group]
    if after is not None:
        sql += f" AND (last_ts, name) {'<' if descending else '>'} (?, ?)"
        parameters += after
    way = "DESC" if descending else "ASC"
    sql += f" ORDER BY last_ts {way}, name {way} LIMIT ?"
    return [LogStream(*row) for row in tx.execute(sql, (*parameters, limit))]


def streams_between(tx: Tx, group: int, first: int, last: int, prefix: str = "") -> list[LogStream]:
    """Streams with an event in [first, last], the one with the oldest event first."""
    sql = (
        f"SELECT {_STREAM} FROM log_stream WHERE log_group = ? AND last_ts >= ? AND first_ts <= ?"
        " AND bytes > 0 AND substr(name, 1, ?) = ? ORDER BY first_ts, name"
    )
    return [LogStream(*row) for row in tx.execute(sql, (group, first, last, len(prefix), prefix))]


def delete_stream(tx: Tx, stream: LogStream) -> None:
    """Forget the stream at once; its events go later, in slices (`sweep`)."""
    tx.execute("DELETE FROM log_stream WHERE stream = ?", (stream.number,))
    tx.execute("INSERT INTO log_garbage (stream) VALUES (?)", (stream.number,))


def delete_streams(tx: Tx, group: int) -> None:
    tx.execute("INSERT INTO log_garbage (stream) SELECT stream FROM log_stream WHERE log_group = ?", (group,))
    tx.execute("DELETE FROM log_stream WHERE log_group = ?", (group,))


def stored_bytes(tx: Tx) -> dict[int, int]:
    """Bytes by group number, as AWS counts them."""
    rows = tx.execute("SELECT log_group, sum(bytes) FROM log_stream GROUP BY log_group")
    return {int(group): int(size) for group, size in rows}


def append(tx: Tx, stream: int, events: Sequence[tuple[int, bytes]], ingested: int) -> None:
    """Add (timestamp, message) events, which need not be in the order of time."""
    if not events:
        return
    first = _reserve(tx, len(events))
    tx.execute_many(
        "INSERT INTO log_event (stream, ts, seq, ingested, message) VALUES (?, ?, ?, ?, ?)",
        [(stream, ts, first + i, ingested, message) for i, (ts, message) in enumerate(events)],
    )
    low, high = min(ts for ts, _ in events), max(ts for ts, _ in events)
    size = sum(len(message) for _, message in events) + EVENT_OVERHEAD * len(events)
    tx.execute(
        "UPDATE log_stream SET bytes = bytes + ?, ingested = ?,"
        " first_ts = CASE WHEN bytes = 0 OR first_ts > ? THEN ? ELSE first_ts END,"
        " last_ts = CASE WHEN last_ts < ? THEN ? ELSE last_ts END WHERE stream = ?",
        (size, ingested, low, low, high, high, stream),
    )


def _reserve(tx: Tx, count: int) -> int:
    """The first of `count` new sequence numbers."""
    sql = (
        "INSERT INTO counter (name, value) VALUES ('log-event', ?)"
        " ON CONFLICT (name) DO UPDATE SET value = counter.value + ? RETURNING value"
    )
    return int(tx.execute(sql, (count, count))[0][0]) - count + 1


def read(
    tx: Tx, stream: int, low: Position, high: Position, *, descending: bool = False, chunk: int = 1 << 20
) -> Iterator[StoredEvent]:
    """Events of a stream in [low, high), oldest first unless `descending`, holding about `chunk` bytes."""
    while low < high:
        sizes = _peek(tx, stream, low, high, descending)
        held = 0
        count = 0
        while count < len(sizes) and (count == 0 or held + sizes[count] <= chunk):
            held += sizes[count]
            count += 1
        rows = _range(tx, "ts, seq, ingested, message", stream, low, high, descending, count)
        for ts, seq, ingested, message in rows:
            yield StoredEvent(ts, seq, ingested, message, stream)
        if not rows or count == len(sizes) < _PEEK:
            return
        last = (int(rows[-1][0]), int(rows[-1][1]))
        low, high = (low, last) if descending else ((last[0], last[1] + 1), high)


def _peek(tx: Tx, stream: int, low: Position, high: Position, descending: bool) -> list[int]:
    rows = _range(tx, "length(message)", stream, low, high, descending, _PEEK)
    return [int(size) for (size,) in rows]


def _range(
    tx: Tx, columns: str, stream: int, low: Position, high: Position, descending: bool, limit: int
) -> list[tuple[Any, ...]]:
    way = "DESC" if descending else "ASC"
    sql = (
        f"SELECT {columns} FROM log_event WHERE stream = ? AND (ts, seq) >= (?, ?) AND (ts, seq) < (?, ?)"
        f" ORDER BY ts {way}, seq {way} LIMIT ?"
    )
    return tx.execute(sql, (stream, *low, *high, limit))


def cursors(tx: Tx, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
    found: dict[str, LogCursor] = {}
    for runtime_id in runtime_ids:
        sql = "SELECT spool_offset, skip, ended FROM log_cursor WHERE runtime_id = ?"
        rows = tx.execute(sql, (runtime_id,))
        if rows:
            found[runtime_id] = LogCursor(
                runtime_id=runtime_id, offset=rows[0][0], skip=rows[0][1], ended=rows[0][2] > 0
            )
    return found


def move_cursor(tx: Tx, cursor: LogCursor, now: int) -> None:
    tx.execute(
        "INSERT INTO log_cursor (runtime_id, spool_offset, skip, ended) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (runtime_id) DO UPDATE SET spool_offset = excluded.spool_offset,"
        " skip = excluded.skip, ended = excluded.ended",
        (cursor.runtime_id, cursor.offset, cursor.skip, now if cursor.ended else 0),
    )


def forget_cursors(tx: Tx, before: int) -> None:
    """Drop the cursors of spools that ended before this moment."""
    tx.execute("DELETE FROM log_cursor WHERE ended > 0 AND ended < ?", (before,))


def sweep_deleted(tx: Tx) -> bool:
    """Delete a slice of a deleted stream's events. True if there may be more to do."""
    rows = tx.execute("SELECT stream FROM log_garbage ORDER BY stream LIMIT 1")
    if not rows:
        return False
    stream = int(rows[0][0])
    edge = _slice_end(tx, stream, END)
    if edge is None:
        tx.execute("DELETE FROM log_event WHERE stream = ?", (stream,))
        tx.execute("DELETE FROM log_garbage WHERE stream = ?", (stream,))
    else:
        tx.execute("DELETE FROM log_event WHERE stream = ? AND (ts, seq) < (?, ?)", (stream, *edge))
    return True


def streams_older(tx: Tx, cutoff: int, group: int | None = None) -> list[int]:
    """Numbers of streams (of one group) that have an event before `cutoff`."""
    sql = "SELECT stream FROM log_stream WHERE bytes > 0 AND first_ts < ?"
    if group is None:
        return [int(stream) for (stream,) in tx.execute(sql, (cutoff,))]
    return [int(stream) for (stream,) in tx.execute(sql + " AND log_group = ?", (cutoff, group))]


def drop_before(tx: Tx, stream: int, cutoff: int) -> bool:
    """Delete a slice of a stream's events older than `cutoff`. True if there is more to do."""
    limit: Position = (cutoff, 0)
    edge = _slice_end(tx, stream, limit) or limit
    where = "stream = ? AND (ts, seq) < (?, ?)"
    found = tx.execute(
        f"SELECT count(*), coalesce(sum(length(message)), 0) FROM log_event WHERE {where}", (stream, *edge)
    )
    count, size = found[0]
    tx.execute(f"DELETE FROM log_event WHERE {where}", (stream, *edge))
    first = tx.execute("SELECT coalesce(min(ts), 0) FROM log_event WHERE stream = ?", (stream,))[0][0]
    tx.execute(
        "UPDATE log_stream SET bytes = bytes - ?, first_ts = ? WHERE stream = ?",
        (size + EVENT_OVERHEAD * count, first, stream),
    )
    return edge != limit


def _slice_end(tx: Tx, stream: int, limit: Position) -> Position | None:
    """Where a slice of the oldest events below `limit` ends; None if all of them are one slice."""
    rows = tx.execute(
        "SELECT ts, seq FROM log_event WHERE stream = ? AND (ts, seq) < (?, ?)"
        " ORDER BY ts, seq LIMIT 1 OFFSET ?",
        (stream, *limit, _SLICE),
    )
    return (int(rows[0][0]), int(rows[0][1])) if rows else None


def extent(tx: Tx) -> tuple[int, int, int]:
    """(bytes, oldest timestamp, newest timestamp) of all events."""
    row = tx.execute(
        "SELECT coalesce(sum(bytes), 0), coalesce(min(first_ts), 0), coalesce(max(last_ts), 0)"
        " FROM log_stream WHERE bytes > 0"
    )[0]
    return int(row[0]), int(row[1]), int(row[2])
