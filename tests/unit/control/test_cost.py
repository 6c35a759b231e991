"""What tasks cost: by cluster, family and task, finished and running, and with other prices."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from neargate.control.cost import cost
from neargate.control.metering import usage_of
from neargate.kit.errors import ApiError
from neargate.model.task import Task
from neargate.state.catalog import USAGE
from tests.unit.control.house import SCOPE, Parts, add_tasks, house, make_task

HOUR = 3600.0
# A quarter of a vCPU and half a GB for an hour, in us-east-1.
SMALL = Decimal("0.04048") / 4 + Decimal("0.004445") / 2


async def spend(parts: Parts, number: int, seconds: float, **fields: Any) -> Task:
    now = parts.clock.now()
    task = make_task(number, (), now, pull_started_at=now, stopped_at=now + seconds, **fields)
    await parts.store.write(lambda tx: tx.put(USAGE, usage_of(task)))
    return task


def dollars(row: dict[str, Any]) -> Decimal:
    return Decimal(row["usd"])


async def test_finished_tasks_by_the_hour(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await spend(parts, 1, HOUR)
        await spend(parts, 2, 2 * HOUR, family="other")
        await spend(parts, 3, HOUR, cluster_arn=SCOPE.arn("ecs", "cluster/d"))
        tasks = await cost(parts, {})
        families = await cost(parts, {"by": "family"})
        clusters = await cost(parts, {"by": "cluster"})
    assert [(r["name"], r["tasks"], r["seconds"]) for r in families["rows"]] == [
        ("f", 2, 7200),
        ("other", 1, 7200),
    ]
    assert [(r["name"], r["tasks"]) for r in clusters["rows"]] == [("c", 2), ("d", 1)]
    assert [r["name"] for r in tasks["rows"]] == [f"{2:032x}", f"{1:032x}", f"{3:032x}"], "dearest first"
    for report in (tasks, families, clusters):
        assert abs(Decimal(report["total_usd"]) - 4 * SMALL) < Decimal("1e-7")
        assert abs(sum(map(dollars, report["rows"])) - 4 * SMALL) < Decimal("1e-7")


async def test_a_second_costs_a_minute(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await spend(parts, 1, 1.0)
        (row,) = (await cost(parts, {}))["rows"]
    assert row["seconds"] == 60
    assert (row["vcpu_seconds"], row["gib_seconds"], row["storage_gib_seconds"]) == (15.0, 30.0, 0.0)


async def test_a_running_task_costs_what_it_has_used_up_to_now(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        now = parts.clock.now()
        await add_tasks(parts, 1, pull_started_at=now, last_status="RUNNING")
        await add_tasks(parts, 1, first=2)  # has not begun to pull: it costs nothing and is not shown
        parts.clock.advance(10)
        (row,) = (await cost(parts, {}))["rows"]
        parts.clock.advance(10)
        (later,) = (await cost(parts, {}))["rows"]
    assert (row["seconds"], later["seconds"]) == (10, 20)
    assert dollars(later) == pytest.approx(2 * dollars(row), abs=Decimal("2e-8"))


async def test_storage_beyond_twenty_gib_costs(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await spend(parts, 1, HOUR, ephemeral_gib=30)
        (row,) = (await cost(parts, {}))["rows"]
    assert row["storage_gib_seconds"] == 36000.0
    assert Decimal(row["storage_usd"]) == Decimal("0.00111000")


async def test_nothing_used_costs_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        assert await cost(parts, {"by": "family"}) == {"by": "family", "rows": [], "total_usd": "0.00000000"}


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        with pytest.raises(ApiError, match="by is 'moon': it must be cluster, family or task"):
            await cost(parts, {"by": "moon"})
    broken = tmp_path / "prices.json"
    broken.write_text("{")
    (tmp_path / "b").mkdir()
    async with house(tmp_path / "b", pricing_file=str(broken)) as parts:
        with pytest.raises(ApiError, match=rf"NEARGATE_PRICING_FILE {broken}: "):
            await cost(parts, {})


async def test_a_file_changes_the_prices(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"FARGATE": {"X86_64": {"vcpu_hour": "1"}}}))
    async with house(tmp_path, pricing_file=str(prices)) as parts:
        await spend(parts, 1, HOUR)
        (row,) = (await cost(parts, {}))["rows"]
    assert Decimal(row["vcpu_usd"]) == Decimal("0.25")
