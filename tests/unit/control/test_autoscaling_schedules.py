"""The loop of Application Auto Scaling: bounds that a schedule sets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.model.scaling import Suspended
from neargate.state.catalog_scaling import SCHEDULED_ACTION
from tests.unit.control.scaling_world import World, action, made


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with made(tmp_path) as world:
        yield world


async def test_a_schedule_sets_the_bounds_when_its_moment_comes(world: World) -> None:
    await world.put(SCHEDULED_ACTION, action(world, "day", "rate(1 hour)", minimum=5))
    assert await world.look() == 2
    world.parts.clock.advance(3599)
    assert await world.look() == 2
    world.parts.clock.advance(1)
    assert await world.look() == 5
    target = await world.target()
    assert (target.minimum, target.maximum) == (5, 10)
    by_cause = {activity.cause: activity for activity in await world.activities()}
    set_ = by_cause["scheduled action name day was triggered"]
    assert (set_.description, set_.status) == (
        "Setting min capacity to 5 and max capacity to 10",
        "Successful",
    )
    assert set_.message == "Successfully set min capacity to 5 and max capacity to 10"
    assert "minimum capacity was set to 5" in by_cause
    [kept] = await world.parts.store.read(lambda tx: tx.all(SCHEDULED_ACTION))
    assert kept.due_at == world.now + 3600


async def test_actions_that_were_missed_run_once_in_their_order(world: World) -> None:
    await world.put(SCHEDULED_ACTION, action(world, "a-up", "rate(1 hour)", minimum=6, maximum=6))
    await world.put(SCHEDULED_ACTION, action(world, "b-down", "rate(50 minutes)", minimum=1, maximum=1))
    world.parts.clock.advance(3 * 3600 + 1)
    assert await world.look() == 6
    assert len([a for a in await world.activities() if a.cause.endswith("was triggered")]) == 2


async def test_a_suspended_or_impossible_schedule_sets_nothing(world: World) -> None:
    await world.put(SCHEDULED_ACTION, action(world, "x", "rate(1 hour)", minimum=11))
    world.parts.clock.advance(3600)
    assert await world.look() == 2
    [activity] = await world.activities()
    assert (activity.status, activity.message) == (
        "Failed",
        "Maximum capacity cannot be less than minimum capacity",
    )
    await world.target(suspended=Suspended(scheduled=True), maximum=20)
    world.parts.clock.advance(3600)
    assert await world.look() == 2
    assert len(await world.activities()) == 1
