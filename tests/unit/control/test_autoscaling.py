"""The loop of Application Auto Scaling and the one that scales to zero: a real store, virtual time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.model.alarm import OK, alarm_arn
from neargate.model.balancer import TargetGroup
from neargate.model.scaling import Suspended
from neargate.state.catalog_alarms import ALARM, ALARM_HISTORY
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCALING_POLICY, SCHEDULED_ACTION
from neargate.state.catalog_services import SERVICE_EVENT
from tests.unit.control.house import SCOPE
from tests.unit.control.scaling_world import ARN, GROUP, STEPS, World, action, depth, made, new_target


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with made(tmp_path) as world:
        yield world


async def test_an_alarm_scales_out_and_says_so_in_aws_words(world: World) -> None:
    policy = await world.policy(tracking=depth())
    await world.measure(140.0, 140.0, 140.0)
    await world.turn(policy.alarms[0])
    assert await world.look() == 4
    service = await world.service()
    assert service.steady_at is None
    [activity] = await world.activities()
    assert activity.description == "Setting desired count to 4."
    assert activity.cause == (
        "monitor alarm TargetTracking-service/web/api-AlarmHigh-p-1 in state ALARM triggered policy p"
    )
    assert activity.status == "InProgress"
    assert activity.message == (
        "Successfully set desired count to 4. Waiting for change to be fulfilled by ecs."
    )
    [event] = await world.parts.store.read(lambda tx: tx.find(SERVICE_EVENT, "service", ARN))
    assert event.message == f"Message: {activity.message} Cause: {activity.cause}"
    [done] = await world.parts.store.read(lambda tx: tx.all(ALARM_HISTORY))
    assert (done.alarm_arn, done.type) == (policy.alarms[0], "Action")
    assert done.summary == f"Successfully executed action {policy.arn}"
    assert await world.look() == 4
    await world.running(4)
    await world.service(steady_at=world.now)
    await world.look()
    [activity] = await world.activities()
    assert (activity.status, activity.ended_at) == ("Successful", world.now)
    assert activity.message == ("Successfully set desired count to 4. Change successfully fulfilled by ecs.")


async def test_a_count_that_a_caller_changed_is_overridden(world: World) -> None:
    await world.target(minimum=3, bound=True)
    assert await world.look() == 3
    await world.service(desired_count=7)
    assert await world.look() == 7
    [activity] = await world.activities()
    assert activity.cause == "minimum capacity was set to 3"
    assert (activity.status, activity.message) == (
        "Overridden",
        "Successfully set desired count to 3. Found it was later changed to 7.",
    )


async def test_bounds_that_are_set_hold_at_once_but_are_not_enforced_later(world: World) -> None:
    await world.target(minimum=4, maximum=8, bound=True)
    assert await world.look() == 4
    await world.service(desired_count=1)
    assert await world.look() == 1
    await world.service(desired_count=20)
    await world.target(bound=True)
    assert await world.look() == 8
    assert (await world.activities())[0].cause == "maximum capacity was set to 8"


async def test_an_alarm_that_stays_asks_again_but_not_within_its_period(world: World) -> None:
    policy = await world.policy(steps=STEPS)
    await world.alarm(policy)
    await world.measure(60.0, period=10)
    assert await world.look() == 3
    assert await world.look() == 3
    world.parts.clock.advance(9.9)
    assert await world.look() == 3
    world.parts.clock.advance(0.1)
    await world.measure(90.0, period=10)
    assert await world.look() == 6
    await world.turn(alarm_arn(SCOPE, "steps"), OK)
    world.parts.clock.advance(30)
    assert await world.look() == 6


async def test_an_alarm_without_data_takes_the_step_at_its_threshold(world: World) -> None:
    policy = await world.policy(steps=STEPS)
    await world.alarm(policy)
    assert await world.look() == 3


async def test_a_step_is_chosen_by_the_newest_data_points_together(world: World) -> None:
    policy = await world.policy(steps=replace(STEPS, aggregation="Maximum"))
    await world.alarm(policy, evaluation_periods=2)
    await world.measure(99.0, 85.0, 60.0, period=10)
    assert await world.look() == 5


async def test_data_points_that_do_not_breach_choose_no_step(world: World) -> None:
    policy = await world.policy(steps=STEPS)
    await world.alarm(policy, evaluation_periods=3, datapoints_to_alarm=2)
    await world.measure(90.0, 1.0, 90.0, period=10)
    assert await world.look() == 5
    world.parts.clock.advance(30)
    await world.measure(1.0, 1.0, 1.0, period=10)
    assert await world.look() == 5


async def test_alarms_that_may_not_act_do_not(world: World) -> None:
    policy = await world.policy(steps=STEPS)
    await world.measure(60.0, period=10)
    await world.alarm(policy, actions_enabled=False)
    assert await world.look() == 2
    await world.alarm(policy, alarm_actions=())
    assert await world.look() == 2
    await world.target(suspended=Suspended(scale_out=True))
    await world.alarm(policy)
    assert await world.look() == 2


async def test_scaling_in_waits_for_deployments_and_for_all_policies(world: World) -> None:
    await world.service(desired_count=4)
    await world.running(4)
    one, two = await world.policy("one", tracking=depth()), await world.policy("two", tracking=depth())
    await world.measure(*[10.0] * 15)
    await world.turn(one.alarms[1])
    assert await world.look() == 4
    await world.turn(two.alarms[1])
    service = await world.service()
    rolling = replace(service.deployments[0], rollout_state="IN_PROGRESS")
    await world.service(deployments=(rolling,))
    assert await world.look() == 4
    await world.service(deployments=service.deployments)
    assert await world.look() == 2
    world.parts.clock.advance(299)
    await world.running(2)
    await world.measure(*[10.0] * 15)
    assert await world.look() == 2
    world.parts.clock.advance(61)
    await world.measure(*[10.0] * 15)
    assert await world.look() == 1


async def test_what_is_not_scaled_is_told_once(world: World) -> None:
    policy = await world.policy(tracking=depth())
    await world.service(desired_count=10)
    await world.running(10)
    await world.measure(90.0)
    await world.turn(policy.alarms[0])
    for _ in range(3):
        assert await world.look() == 10
        world.parts.clock.advance(60)
        await world.measure(90.0)
    [activity] = await world.activities()
    assert activity.not_scaled == {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 10}
    assert (activity.status, activity.description) == ("Failed", "Attempting to scale due to alarm triggered")
    await world.target(maximum=20)
    assert await world.look() == 13


async def test_a_service_that_is_gone_takes_its_target_policies_and_alarms_along(world: World) -> None:
    await world.policy(tracking=depth())
    await world.put(SCHEDULED_ACTION, action(world, "x", "rate(1 hour)", minimum=3))
    await world.service(status="DRAINING")
    await world.look()
    assert await world.parts.store.read(lambda tx: len(tx.all(SCALABLE_TARGET))) == 1
    await world.service(status="INACTIVE")
    await world.look()
    for kind in (SCALABLE_TARGET, SCALING_POLICY, SCHEDULED_ACTION, ALARM):
        assert await world.parts.store.read(lambda tx, kind=kind: tx.all(kind)) == []


async def test_the_loop_is_woken_by_alarms_and_by_moments(world: World) -> None:
    policy = await world.policy(steps=STEPS)
    running = asyncio.create_task(world.loop.run())
    await world.measure(60.0, period=10)
    await world.alarm(policy)
    await world.until(lambda service: service.desired_count == 3)
    world.parts.clock.advance(10)
    await world.until(lambda service: service.desired_count == 4)
    await world.put(SCHEDULED_ACTION, action(world, "x", "rate(1 minute)", minimum=8))
    await world.turn(alarm_arn(SCOPE, "steps"), OK)
    for _ in range(20):  # the loop may not sleep yet when the clock moves on
        world.parts.clock.advance(10)
        await asyncio.sleep(0.05)
        if (await world.service()).desired_count == 8:
            break
    assert (await world.service()).desired_count == 8
    running.cancel()


def group(world: World, **fields: Any) -> TargetGroup:
    attributes = {
        "neargate.scale_to_zero.enabled": "true",
        "neargate.scale_to_zero.idle_seconds": "60",
    }
    values = {"attributes": attributes, "created_at": world.now, **fields}
    return TargetGroup(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=GROUP,
        name="blue",
        protocol="HTTP",
        port=80,
        vpc_id="vpc-1",
        **values,
    )


async def test_an_idle_service_sleeps_and_a_request_wakes_it(world: World) -> None:
    await world.target(minimum=0)
    await world.put(TARGET_GROUP, group(world))
    world.parts.clock.advance(59)
    assert await world.look_for_zero() == 2
    await world.put(TARGET_GROUP, group(world, last_request_at=world.now))
    world.parts.clock.advance(59)
    assert await world.look_for_zero() == 2
    world.parts.clock.advance(1)
    assert await world.look_for_zero() == 0
    assert (await world.activities())[0].cause == f"target group {GROUP} had no request for 60 seconds"
    assert await world.look() == 0
    world.parts.clock.advance(1)
    await world.put(TARGET_GROUP, group(world, woken_at=world.now))
    assert await world.look_for_zero() == 1
    newest, before = await world.activities()
    assert (newest.cause, newest.status) == (f"a request waited at target group {GROUP}", "InProgress")
    assert before.status == "Overridden"
    [asked] = await world.parts.store.read(lambda tx: tx.all(TARGET_GROUP))
    assert (asked.woken_at, asked.last_request_at) == (None, world.now)
    # Until it is steady, and then for its idle time, it is left alone.
    world.parts.clock.advance(600)
    assert await world.look_for_zero() == 1
    await world.service(steady_at=world.now)
    world.parts.clock.advance(59)
    assert await world.look_for_zero() == 1
    world.parts.clock.advance(1)
    assert await world.look_for_zero() == 0


async def test_who_does_not_sleep_and_who_is_not_woken(world: World) -> None:
    world.parts.clock.advance(1000)
    await world.put(TARGET_GROUP, group(world, attributes={}, created_at=0.0))
    assert await world.look_for_zero() == 2
    await world.put(TARGET_GROUP, group(world, created_at=0.0))
    assert await world.look_for_zero() == 2, "its minimum is 1"
    await world.target(minimum=0)
    await world.service(steady_at=None)
    assert await world.look_for_zero() == 2, "a deployment goes on"
    await world.service(desired_count=0)
    await world.put(TARGET_GROUP, group(world, woken_at=world.now - 61))
    assert await world.look_for_zero() == 0, "nobody waits any more"
    await world.target(maximum=0)
    await world.put(TARGET_GROUP, group(world, woken_at=world.now))
    assert await world.look_for_zero() == 0, "its maximum is 0"
    await world.target(minimum=3, maximum=5)
    assert await world.look_for_zero() == 3


async def test_a_service_without_a_scalable_target_sleeps_too(world: World) -> None:
    await world.parts.store.write(lambda tx: tx.delete(SCALABLE_TARGET, SCALABLE_TARGET.id(new_target())))
    await world.put(TARGET_GROUP, group(world))
    world.parts.clock.advance(60)
    assert await world.look_for_zero() == 0
    running = asyncio.create_task(world.zero.run())
    await world.put(TARGET_GROUP, group(world, woken_at=world.now))
    await world.until(lambda service: service.desired_count == 1)
    running.cancel()
