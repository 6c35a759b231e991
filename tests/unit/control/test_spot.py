"""Placement with Spot tasks: they make room for tasks on demand, which wait for it; nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.control.placement import Placement
from neargate.control.spot import interrupt_some
from neargate.control.tasks import Tasks
from neargate.kit.errors import ApiError
from neargate.model.service import Service
from neargate.model.task import Cluster, Task
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.catalog_services import SERVICE
from tests.unit.control.house import SCOPE, Parts, add_node, add_tasks, house

SPOT = {"capacity_provider": "FARGATE_SPOT"}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A node of four tasks' room, and the loops that place and finish them."""
    async with house(tmp_path, overcommit_cpu=1.0) as parts:
        await add_node(parts, cpu_units=1024, memory_mib=8192)
        loops = [asyncio.create_task(loop.run()) for loop in (Placement(parts), Tasks(parts))]
        yield parts
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def all_of(parts: Parts) -> dict[str, Task]:
    return {task.arn: task for task in await parts.store.read(lambda tx: tx.all(TASK))}


async def placed(parts: Parts, tasks: list[Task]) -> None:
    arns = [task.arn for task in tasks]
    async with asyncio.timeout(20):
        await parts.until(lambda tx: all(getattr(tx.get(TASK, arn), "node", "") for arn in arns))


async def ended(parts: Parts, arn: str) -> Task:
    async with asyncio.timeout(20):
        await parts.until(lambda tx: getattr(tx.get(TASK, arn), "last_status", "") == "STOPPED")
    return await parts.get(arn)


async def interrupted(parts: Parts, count: int) -> list[Task]:
    async with asyncio.timeout(20):
        await parts.until(lambda tx: sum(t.stop_code == "SpotInterruption" for t in tx.all(TASK)) >= count)
    return [task for task in (await all_of(parts)).values() if task.stop_code == "SpotInterruption"]


async def gone(parts: Parts, tasks: list[Task]) -> None:
    """What the node does once the tasks were told to stop."""
    for task in tasks:
        stopped = replace(await parts.get(task.arn), last_status="STOPPED", stopped_at=parts.clock.now())
        await parts.store.write(lambda tx, stopped=stopped: tx.put(TASK, stopped))


async def test_a_task_on_demand_waits_for_the_youngest_spot_task_to_leave(parts: Parts) -> None:
    spot = []
    for number in range(4):
        spot += await add_tasks(parts, 1, first=number + 1, **SPOT)
        parts.clock.advance(10)
    await placed(parts, spot)
    (wanted,) = await add_tasks(parts, 1, first=9)
    (victim,) = await interrupted(parts, 1)
    assert victim.arn == spot[3].arn
    assert (victim.desired_status, victim.last_status) == ("STOPPED", "PROVISIONING")
    assert victim.stopped_reason == "Your Spot Task was interrupted."
    waiting = await parts.get(wanted.arn)
    assert (waiting.node, waiting.desired_status) == ("", "RUNNING")
    await gone(parts, [victim])
    await placed(parts, [wanted])
    assert len(await interrupted(parts, 1)) == 1


async def test_a_spot_task_takes_no_room_from_anybody(parts: Parts) -> None:
    await placed(parts, await add_tasks(parts, 4, **SPOT))
    (late,) = await add_tasks(parts, 1, first=9, **SPOT)
    task = await ended(parts, late.arn)
    assert task.stop_code == "TaskFailedToStart"
    assert (task.stopped_reason or "").startswith("Capacity is unavailable at this time.")
    assert not [task for task in (await all_of(parts)).values() if task.stop_code == "SpotInterruption"]


async def test_room_that_is_waited_for_is_nobody_elses(parts: Parts) -> None:
    await placed(parts, await add_tasks(parts, 2, **SPOT))
    await placed(parts, await add_tasks(parts, 1, first=3))
    # A quarter is free; the large one needs it and both Spot tasks' room.
    (large,) = await add_tasks(parts, 1, first=5, cpu="768")
    victims = await interrupted(parts, 2)
    (small,) = await add_tasks(parts, 1, first=6, **SPOT)
    assert (await ended(parts, small.arn)).stop_code == "TaskFailedToStart"
    await gone(parts, victims)
    await placed(parts, [large])


async def test_without_enough_spot_tasks_nobody_is_interrupted(parts: Parts) -> None:
    await placed(parts, await add_tasks(parts, 3))
    await placed(parts, await add_tasks(parts, 1, first=4, **SPOT))
    (late,) = await add_tasks(parts, 1, first=9, cpu="512")
    assert (await ended(parts, late.arn)).stop_code == "TaskFailedToStart"
    assert not [task for task in (await all_of(parts)).values() if task.stop_code == "SpotInterruption"]


@pytest.mark.parametrize("where", ["cluster", "service", "task"])
async def test_a_spot_task_without_room_falls_back_where_it_may(parts: Parts, where: str) -> None:
    tags = {"neargate:spot-fallback": "on-demand"}
    cluster_arn, service_arn = SCOPE.arn("ecs", "cluster/c"), SCOPE.arn("ecs", "service/c/s")
    of = {"account": SCOPE.account, "region": SCOPE.region}
    cluster = Cluster(**of, arn=cluster_arn, name="c", tags=tags if where == "cluster" else {})
    service = Service(
        **of,
        arn=service_arn,
        name="s",
        cluster_arn=cluster_arn,
        definition_arn="arn:d",
        revision_arn="arn:r",
        body={},
        tags=tags if where == "service" else {},
    )
    await parts.store.write(lambda tx: (tx.put(CLUSTER, cluster), tx.put(SERVICE, service)))
    await placed(parts, await add_tasks(parts, 3))
    await placed(parts, await add_tasks(parts, 1, first=4, **SPOT))
    fields: dict[str, Any] = {**SPOT, "service_arn": service_arn, "tags": tags if where == "task" else {}}
    (late,) = await add_tasks(parts, 1, first=9, **fields)
    victims = await interrupted(parts, 1)
    assert (await parts.get(late.arn)).capacity_provider == "FARGATE"
    await gone(parts, victims)
    await placed(parts, [late])


async def test_interrupting_by_command(parts: Parts) -> None:
    await add_node(parts, id="n2")
    tasks = []
    for number in range(4):
        tasks += await add_tasks(parts, 1, first=number + 1, **SPOT)
        parts.clock.advance(1)
    await placed(parts, [*tasks, *await add_tasks(parts, 1, first=9)])
    arns = [task.arn for task in tasks]
    assert await interrupt_some(parts, {"count": "1"}) == {"interrupted": [arns[3]]}
    assert await interrupt_some(parts, {"task": tasks[0].id, "cluster": "c"}) == {"interrupted": [arns[0]]}
    assert await interrupt_some(parts, {"all": "yes", "cluster": "other"}) == {"interrupted": []}
    assert await interrupt_some(parts, {"all": "yes"}) == {"interrupted": [arns[2], arns[1]]}
    assert await interrupt_some(parts, {"all": "yes"}) == {"interrupted": []}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"count": "0"},
        {"count": "x"},
        {"count": "-1"},
        {"count": "1", "all": "yes"},
        {"task": "ffff"},
        {"task": "0000000000000000"},
        {"all": "yes", "clutser": "c"},
    ],
)
async def test_commands_that_are_refused(parts: Parts, asked: dict[str, str]) -> None:
    await placed(parts, await add_tasks(parts, 2, **SPOT))
    with pytest.raises(ApiError):
        await interrupt_some(parts, asked)
    assert not [task for task in (await all_of(parts)).values() if task.desired_status == "STOPPED"]
