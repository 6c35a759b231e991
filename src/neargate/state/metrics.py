"""The tables of metrics and their points (store `metrics`), behind functions of a transaction.

`put` is called by whoever measures (services/cloudwatch for callers, services/cell for the node, control/ for
services), `read` by services/cloudwatch and control/. A point lies in one row per metric, resolution, start
and unit; rows of the same place are summed up. `roll_up` (services/cloudwatch/expiry) turns rows that have
grown old into coarser ones, as AWS does, so each point is in exactly one row and a period is the sum of what
lies in it.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from neargate.model.metric import Bucket, Listed, Metric, Pairs, Point, Query, Summary, merged
from neargate.model.record import Scope
from neargate.state.store import Tx

_ROW_BYTES = 96
"""About what a row takes beside its pairs."""
_SLICE = 5_000
KEPT = ((1, 3 * 3600), (60, 15 * 86_400), (300, 63 * 86_400), (3600, 455 * 86_400))
"""Resolution of rows, and after how many seconds they go over into the next; the last are deleted."""
_Place = tuple[int, int, str]
"""Resolution, start and unit of a row."""


def put(tx: Tx, points: Iterable[Point]) -> None:
    """Add points; those of the same metric, moment and unit are summed up."""
    waiting: dict[Metric, dict[_Place, list[Summary]]] = {}
    for it in points:
        start = int(it.at // it.resolution) * it.resolution
        rows = waiting.setdefault(it.metric, {})
        rows.setdefault((it.resolution, start, it.unit), []).append(it.summary)
    for owner, rows in waiting.items():
        series, known = _series(tx, owner)
        grown = _add(tx, series, rows)
        last = max(known, *(start for _, start, _ in rows))
        if grown or last > known:
            sql = "UPDATE metric SET bytes = bytes + ?, last_ts = ? WHERE series = ?"
            tx.execute(sql, (grown, last, series))


def _series(tx: Tx, owner: Metric) -> tuple[int, int]:
    """The metric's number, made at its first point, and the time of its newest."""
    place = (owner.account, owner.region, owner.namespace, owner.name, _text(owner.dimensions))
    found = tx.execute(f"SELECT series, last_ts FROM metric WHERE {_IS_METRIC}", place)
    if found:
        return int(found[0][0]), int(found[0][1])
    number = tx.next("metric")
    tx.execute(
        "INSERT INTO metric (account, region, namespace, name, dimensions, series, last_ts, bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        (*place, number, _ROW_BYTES + 2 * sum(map(len, place))),  # its names are in the row, and in its key
    )
    return number, 0


def _add(tx: Tx, series: int, rows: Mapping[_Place, Sequence[Summary]]) -> int:
    """Sum rows up with those that are there; by how many bytes they grew."""
    grown = 0
    for (resolution, start, unit), summaries in rows.items():
        place = (series, resolution, start, unit)
        where = "series = ? AND resolution = ? AND ts = ? AND unit = ?"
        old = tx.execute(f"SELECT {_SUMMARY} FROM metric_point WHERE {where}", place)
        if old:
            grown -= _size(old[0][4])
        total = merged([*map(_decode, old), *summaries])
        assert total is not None
        encoded = _encode(total)
        grown += _size(encoded[4])
        tx.execute(
            f"INSERT INTO metric_point (series, resolution, ts, unit, {_SUMMARY})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, resolution, ts, unit) DO UPDATE SET"
            " count = excluded.count, total = excluded.total, minimum = excluded.minimum,"
            " maximum = excluded.maximum, pairs = excluded.pairs",
            (*place, *encoded),
        )
    return grown


_IS_METRIC = "account = ? AND region = ? AND namespace = ? AND name = ? AND dimensions = ?"
_SUMMARY = "count, total, minimum, maximum, pairs"
_NONE, _ONE = b"", b"1"
"""Pairs that are not known; and those that say nothing that the minimum does not."""


def _encode(total: Summary) -> tuple[float, float, float, float, bytes]:
    if total.pairs is None:
        pairs = _NONE
    elif len(total.pairs) == 1:
        pairs = _ONE
    else:
        pairs = array("d", (number for pair in total.pairs for number in pair)).tobytes()
    return total.count, total.sum, total.minimum, total.maximum, pairs


def _decode(row: Sequence[Any]) -> Summary:
    count, total, minimum, maximum, blob = row
    pairs: Pairs | None
    if blob == _NONE:
        pairs = None
    elif blob == _ONE:
        pairs = ((minimum, count),)
    else:
        numbers = array("d", blob)
        pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return Summary(count, total, minimum, maximum, pairs)


def _size(pairs: bytes) -> int:
    return _ROW_BYTES + len(pairs)


def _text(dimensions: tuple[tuple[str, str], ...]) -> str:
    """Names and values end with a character that neither may hold."""
    return "".join(f"{name}\x1f{value}\x1f" for name, value in dimensions)


def _dimensions(text: str) -> tuple[tuple[str, str], ...]:
    parts = text.split("\x1f")
    return tuple(zip(parts[:-1:2], parts[1::2], strict=True))


# -- reading ---------------------------------------------------------------------------------------------


def read(tx: Tx, query: Query) -> list[Bucket]:
    """The metric's periods that have data, oldest first."""
    return [bucket for _, bucket in _buckets(tx, query, by_unit=False)]


def read_units(tx: Tx, query: Query) -> list[tuple[str, Bucket]]:
    """Like read, but points of different units are kept apart."""
    return list(_buckets(tx, query, by_unit=True))


def _buckets(tx: Tx, query: Query, *, by_unit: bool) -> Iterator[tuple[str, Bucket]]:
    number = find(tx, query.metric)
    if number is None:
        return
    found: dict[tuple[int, str], list[Summary]] = {}
    for resolution, _ in KEPT:
        if resolution > query.period:
            break  # rows that are coarser than what is asked for
        sql = (
            f"SELECT ts, unit, {_SUMMARY} FROM metric_point"
            " WHERE series = ? AND resolution = ? AND ts >= ? AND ts < ?"
        )
        for ts, unit, *row in tx.execute(sql, (number, resolution, query.start, query.end)):
            if query.unit in (None, unit):
                at = query.start + (ts - query.start) // query.period * query.period
                found.setdefault((at, unit if by_unit else ""), []).append(_decode(row))
    for (at, unit), summaries in sorted(found.items()):
        total = merged(summaries)
        assert total is not None
        yield unit, Bucket(at, total)


def find(tx: Tx, owner: Metric) -> int | None:
    place = (owner.account, owner.region, owner.namespace, owner.name, _text(owner.dimensions))
    rows = tx.execute(f"SELECT series FROM metric WHERE {_IS_METRIC}", place)
    return int(rows[0][0]) if rows else None


def listed(
    tx: Tx,
    scope: Scope,
    *,
    namespace: str | None = None,
    name: str | None = None,
    since: int = 0,
    after: int = 0,
    limit: int | None = None,
) -> Iterator[Listed]:
    """Metrics with a point at or after `since`, in the order in which they came up; `after` -- a number."""
    sql = (
        "SELECT series, namespace, name, dimensions, last_ts FROM metric"
        " WHERE account = ? AND region = ? AND last_ts >= ? AND series > ?"
    )
    parameters: list[Any] = [scope.account, scope.region, since, after]
    for column, value in (("namespace", namespace), ("name", name)):
        if value is not None:
            sql += f" AND {column} = ?"
            parameters.append(value)
    sql += " ORDER BY series"
    if limit is not None:
        sql += " LIMIT ?"
        parameters.append(limit)
    for series, of, called, dimensions, last in tx.execute(sql, parameters):
        owner = Metric(scope.account, scope.region, of, called, _dimensions(dimensions))
        yield Listed(series, owner, last)


# -- growing old -----------------------------------------------------------------------------------------


def all_series(tx: Tx) -> list[int]:
    return [int(number) for (number,) in tx.execute("SELECT series FROM metric ORDER BY series")]


def roll_up(tx: Tx, series: int, now: int) -> bool:
    """Make a slice of a metric's old rows coarser, or delete it. True if there may be more to do."""
    more = False
    for place, (resolution, seconds) in enumerate(KEPT):
        coarser = KEPT[place + 1][0] if place + 1 < len(KEPT) else None
        edge = now - seconds
        if coarser is not None:
            edge -= edge % coarser  # whole rows of the next resolution
        rows = tx.execute(
            f"SELECT ts, unit, {_SUMMARY} FROM metric_point WHERE series = ? AND resolution = ? AND ts < ?"
            " ORDER BY ts LIMIT ?",
            (series, resolution, edge, _SLICE),
        )
        if rows:
            _age(tx, series, resolution, coarser, rows)
            more = more or len(rows) == _SLICE
    _forget_if_empty(tx, series)
    return more


def _age(tx: Tx, series: int, resolution: int, coarser: int | None, rows: list[tuple[Any, ...]]) -> None:
    grown = 0
    if coarser is not None:
        grouped: dict[_Place, list[Summary]] = {}
        for ts, unit, *row in rows:
            grouped.setdefault((coarser, ts // coarser * coarser, unit), []).append(_decode(row))
        grown = _add(tx, series, grouped)
    tx.execute_many(
        "DELETE FROM metric_point WHERE series = ? AND resolution = ? AND ts = ? AND unit = ?",
        [(series, resolution, ts, unit) for ts, unit, *_ in rows],
    )
    grown -= sum(_size(row[-1]) for row in rows)
    tx.execute("UPDATE metric SET bytes = bytes + ? WHERE series = ?", (grown, series))


def drop_before(tx: Tx, series: int, cutoff: int) -> None:
    """Delete a metric's points older than `cutoff`, whatever their resolution."""
    for resolution, _ in KEPT:
        place = (series, resolution, cutoff)
        where = "series = ? AND resolution = ? AND ts < ?"
        freed = tx.execute(
            f"SELECT count(*), coalesce(sum(length(pairs)), 0) FROM metric_point WHERE {where}", place
        )[0]
        tx.execute(f"DELETE FROM metric_point WHERE {where}", place)
        bytes_freed = int(freed[0]) * _ROW_BYTES + int(freed[1])
        tx.execute("UPDATE metric SET bytes = bytes - ? WHERE series = ?", (bytes_freed, series))
    _forget_if_empty(tx, series)


def _forget_if_empty(tx: Tx, series: int) -> None:
    tx.execute(
        "DELETE FROM metric WHERE series = ?"
        " AND NOT EXISTS (SELECT 1 FROM metric_point WHERE metric_point.series = metric.series)",
        (series,),
    )


def stored_bytes(tx: Tx) -> int:
    return int(tx.execute("SELECT coalesce(sum(bytes), 0) FROM metric")[0][0])


def span(tx: Tx) -> tuple[int, int]:
    """(oldest, newest) time of all points; looks through all of them."""
    oldest, newest = tx.execute("SELECT coalesce(min(ts), 0), coalesce(max(ts), 0) FROM metric_point")[0]
    return int(oldest), int(newest)


def forget_all(tx: Tx) -> None:
    for table in ("metric_point", "metric"):
        tx.execute(f"DELETE FROM {table}")
