"""Points in the store: summed up where they meet, read by periods, made coarser with age."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.metric import Bucket, Metric, Point, Query, metric, point, statistic_set, summary
from neargate.model.record import Scope
from neargate.state import metrics
from neargate.state.sqlite import SqliteStore

SCOPE = Scope("000000000000", "us-east-1")
CPU = metric(SCOPE, "AWS/ECS", "CPUUtilization", {"ServiceName": "web", "ClusterName": "c"})
NOW = 1_800_000_000  # a whole day: 20,833 days and 8 hours
DAY = 86_400


async def buckets(store: SqliteStore, owner: Metric, start: int, end: int, period: int = 60) -> list[Bucket]:
    return await store.read(lambda tx: metrics.read(tx, Query(owner, start, end, period)))


async def put(store: SqliteStore, *points: Point) -> None:
    await store.write(lambda tx: metrics.put(tx, points))


async def test_points_of_one_minute_are_one_row_however_they_come(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(CPU, NOW + 1, 10.0, "Percent"), point(CPU, NOW + 59.9, 30.0, "Percent"))
        await put(store, point(CPU, NOW + 20, 20.0, "Percent"), point(CPU, NOW + 60, 99.0, "Percent"))
        found = await buckets(store, CPU, NOW, NOW + 120)
    assert [(b.at, b.summary.count, b.summary.sum) for b in found] == [(NOW, 3, 60.0), (NOW + 60, 1, 99.0)]
    assert found[0].summary.pairs == ((10.0, 1), (20.0, 1), (30.0, 1))


async def test_an_order_of_dimensions_is_no_other_metric_but_fewer_of_them_are(tmp_path: Path) -> None:
    other = metric(SCOPE, "AWS/ECS", "CPUUtilization", {"ClusterName": "c", "ServiceName": "web"})
    fewer = metric(SCOPE, "AWS/ECS", "CPUUtilization", {"ClusterName": "c"})
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(other, NOW, 1.0))
        assert len(await buckets(store, CPU, NOW, NOW + 60)) == 1
        assert await buckets(store, fewer, NOW, NOW + 60) == []
        found = await store.read(lambda tx: list(metrics.listed(tx, SCOPE)))
    assert [(it.metric, it.last) for it in found] == [(CPU, NOW)]


async def test_units_are_kept_apart_and_read_together_or_alone(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(CPU, NOW, 1.0, "Seconds"), point(CPU, NOW, 2.0, "Count"))
        together = await buckets(store, CPU, NOW, NOW + 60)
        alone = await store.read(lambda tx: metrics.read(tx, Query(CPU, NOW, NOW + 60, 60, "Count")))
        apart = await store.read(lambda tx: metrics.read_units(tx, Query(CPU, NOW, NOW + 60, 60)))
    assert [b.summary.sum for b in together] == [3.0]
    assert [b.summary.sum for b in alone] == [2.0]
    assert [(unit, b.summary.sum) for unit, b in apart] == [("Count", 2.0), ("Seconds", 1.0)]


async def test_a_period_that_is_finer_than_what_was_kept_has_no_data(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(CPU, NOW + 5, 1.0), point(CPU, NOW + 7, 5.0, resolution=1))
        assert [b.at for b in await buckets(store, CPU, NOW, NOW + 60, 10)] == [NOW]
        assert [b.summary.sum for b in await buckets(store, CPU, NOW, NOW + 60, 60)] == [6.0]


async def test_what_grows_old_is_made_coarser_and_then_forgotten(tmp_path: Path) -> None:
    moments = (NOW - 100, NOW - 4 * 3600, NOW - 16 * DAY, NOW - 64 * DAY, NOW - 456 * DAY)
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, *(point(CPU, at + s, 1.0, resolution=1) for at in moments for s in (0, 1)))
        series = (await store.read(metrics.all_series))[0]
        for _ in range(5):  # each round carries a row one step further
            await store.write(lambda tx: metrics.roll_up(tx, series, NOW))
        rows = await store.read(
            lambda tx: tx.execute("SELECT resolution, count FROM metric_point ORDER BY ts")
        )
        size = await store.read(metrics.stored_bytes)
    assert rows == [(3600, 2.0), (300, 2.0), (60, 2.0), (1, 1.0), (1, 1.0)]
    assert 5 * 96 <= size < 5 * 200


NAMES = " + ".join(f"length({part})" for part in ("account", "region", "namespace", "name", "dimensions"))


async def test_names_of_metrics_count_as_well(tmp_path: Path) -> None:
    """A metric for each request fills the disk by its names, not by its points."""
    async with SqliteStore(tmp_path / "m.db") as store:
        many = [metric(SCOPE, "N", "m", {"RequestId": f"{i}" * 100}) for i in range(10)]
        await put(store, *(point(it, NOW, 1.0) for it in many))
        assert await store.read(metrics.stored_bytes) > 10 * 2 * 100
        for series in range(1, 11):
            await store.write(lambda tx, series=series: metrics.drop_before(tx, series, NOW + 60))
        assert await store.read(metrics.stored_bytes) == 0


async def test_a_metric_without_points_is_forgotten(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(CPU, NOW - 500 * DAY, 1.0), point(CPU, NOW - 499 * DAY, 2.0, resolution=1))
        await store.write(lambda tx: metrics.drop_before(tx, 1, NOW))
        assert await store.read(metrics.all_series) == []
        assert await store.read(metrics.stored_bytes) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 500 * DAY),
            st.sampled_from((1, 60)),
            st.floats(-1e6, 1e6).map(lambda v: round(v, 3)),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_growing_old_loses_nothing_that_is_young_enough(given_points: list[tuple[int, int, float]]) -> None:
    import asyncio
    import tempfile

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with SqliteStore(Path(directory) / "m.db") as store:
                await put(store, *(point(CPU, NOW - age, v, resolution=r) for age, r, v in given_points))
                series = (await store.read(metrics.all_series))[0]
                for _ in range(5):
                    await store.write(lambda tx: metrics.roll_up(tx, series, NOW))
                kept = [v for age, _, v in given_points if NOW - age >= (NOW - 455 * DAY)]
                found = await buckets(store, CPU, NOW - 501 * DAY, NOW + 60, 502 * DAY)
                size, rows = await store.read(
                    lambda tx: (
                        metrics.stored_bytes(tx),
                        tx.execute("SELECT coalesce(sum(96 + length(pairs)), 0) FROM metric_point")[0][0]
                        + tx.execute(f"SELECT coalesce(sum(96 + 2 * ({NAMES})), 0) FROM metric")[0][0],
                    )
                )
        assert size == rows
        if found:
            # A row that straddles the edge stays whole until all of it is too old.
            assert found[0].summary.count >= len(kept)
            assert math.isclose(
                found[0].summary.sum,
                sum(v for age, _, v in given_points if age <= 455 * DAY),
                rel_tol=1e-9,
                abs_tol=1e-3,
            ) or found[0].summary.count > len(kept)
        else:
            assert not kept

    asyncio.run(run())


async def test_pairs_survive_the_store(tmp_path: Path) -> None:
    values = [float(v) for v in range(50)]
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, Point(CPU, NOW, summary(values)))
        assert (await buckets(store, CPU, NOW, NOW + 60))[0].summary == summary(values)
        await put(store, Point(CPU, NOW, statistic_set(3, 6.0, 1.0, 3.0)))
        mixed = (await buckets(store, CPU, NOW, NOW + 60))[0].summary
    assert mixed.pairs is None
    assert (mixed.count, mixed.sum) == (53, sum(values) + 6.0)


@pytest.mark.parametrize("name", ["a", "€uro", "x" * 1024])
async def test_dimensions_are_what_they_were(tmp_path: Path, name: str) -> None:
    owner = metric(SCOPE, "N", "m", {name: "v=1,2;", "b": name})
    async with SqliteStore(tmp_path / "m.db") as store:
        await put(store, point(owner, NOW, 1.0))
        assert [it.metric for it in await store.read(lambda tx: list(metrics.listed(tx, SCOPE)))] == [owner]
