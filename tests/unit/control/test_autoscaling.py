"""The loop of Application Auto Scaling and the one that scales to zero: a real store, virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.control.autoscaling import Autoscaling
from neargate.control.autoscaling_zero import ScaleToZero
from neargate.model import scaling_schedule
from neargate.model.alarm import ALARM as ALARMING
from neargate.model.alarm import OK, Alarm, alarm_arn
from neargate.model.balancer import TargetGroup
from neargate.model.metric import metric, point
from neargate.model.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    Step,
    Steps,
    Suspended,
    Tracking,
)
from neargate.model.scaling_alarms import alarms_of
from neargate.model.service import Deployment, Service
from neargate.state import metrics
from neargate.state.catalog import TASK
from neargate.state.catalog_alarms import ALARM, ALARM_HISTORY
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCALING_ACTIVITY, SCALING_POLICY, SCHEDULED_ACTION
from neargate.state.catalog_services import SERVICE, SERVICE_EVENT
from neargate.state.store import Kind, Tx
from tests.unit.control.house import SCOPE, Parts, house, make_task

RESOURCE = "service/web/api"
ARN = SCOPE.arn("ecs", RESOURCE)
GROUP = SCOPE.arn("elasticloadbalancing", "targetgroup/blue/fedcba9876543210")
DEPLOYMENT = "ecs-svc/1234567890123456789"
DEPTH = metric(SCOPE, "App", "Depth")


class World:
    """A service with a scalable target, and the loop that is looked through once per call of `look`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.loop = Autoscaling(parts)
        self.zero = ScaleToZero(parts)

    @property
    def now(self) -> float:
        return self.parts.clock.now()

    async def put(self, kind: Kind[Any], record: Any) -> Any:
        return await self.parts.store.write(lambda tx: tx.put(kind, record))

    async def service(self, **changed: Any) -> Service:
        found = await self.parts.store.read(lambda tx: tx.get(SERVICE, ARN))
        assert found is not None
        return await self.put(SERVICE, replace(found, **changed)) if changed else found

    async def target(self, **changed: Any) -> ScalableTarget:
        id = SCALABLE_TARGET.id(new_target())
        found = await self.parts.store.read(lambda tx: tx.get(SCALABLE_TARGET, id))
        assert found is not None
        return await self.put(SCALABLE_TARGET, replace(found, **changed)) if changed else found

    async def running(self, count: int) -> None:
        """Exactly so many tasks of the service run."""

        def body(tx: Tx) -> None:
            for task in tx.all(TASK):
                tx.delete(TASK, task.arn)
            for number in range(count):
                fields = {"last_status": "RUNNING", "started_by": DEPLOYMENT, "service_arn": ARN}
                tx.insert(TASK, make_task(number + 1, (), self.now, **fields))

        await self.parts.store.write(body)

    async def measure(self, *values: float, period: int = 60) -> None:
        """Data points of the metric, the last of them in the newest whole period."""
        end = int(self.now) // period * period
        points = [
            point(DEPTH, end - (len(values) - number) * period, value, resolution=1)
            for number, value in enumerate(values)
        ]
        await self.parts.metrics.write(lambda tx: metrics.put(tx, points))

    async def policy(self, name: str = "p", *, ago: float = 0.0, **rule: Any) -> ScalingPolicy:
        record = ScalingPolicy(
            account=SCOPE.account,
            region=SCOPE.region,
            arn=SCOPE.arn("autoscaling", f"scalingPolicy:{name}:resource/ecs/{RESOURCE}:policyName/{name}"),
            name=name,
            resource_id=RESOURCE,
            rule={},
            created_at=self.now,
            **rule,
        )
        if record.tracking is not None:
            high, low = alarms_of(record, record.tracking, (f"{name}-1", f"{name}-2"), self.now)
            record = replace(record, alarms=(high.arn, low.arn))
            for alarm in (high, low):
                await self.put(ALARM, replace(alarm, state=OK, unit=None))
        return await self.put(SCALING_POLICY, record)

    async def alarm(self, policy: ScalingPolicy, name: str = "steps", **fields: Any) -> Alarm:
        values = {
            "arn": alarm_arn(SCOPE, name),
            "name": name,
            "namespace": "App",
            "metric_name": "Depth",
            "statistic": "Average",
            "period": 10,
            "comparison": "GreaterThanOrEqualToThreshold",
            "threshold": 50.0,
            "alarm_actions": (policy.arn,),
            "state": ALARMING,
            "state_transitioned_at": self.now,
            **fields,
        }
        return await self.put(ALARM, Alarm(account=SCOPE.account, region=SCOPE.region, **values))

    async def turn(self, arn: str, state: str = ALARMING, **changed: Any) -> None:
        found = await self.parts.store.read(lambda tx: tx.get(ALARM, arn))
        assert found is not None
        await self.put(ALARM, replace(found, state=state, state_transitioned_at=self.now, **changed))

    async def look(self) -> int:
        """The desired count after everything was looked at."""
        await self.loop.work(await self.loop.concerned(None))
        return (await self.service()).desired_count

    async def look_for_zero(self) -> int:
        await self.zero.work(await self.zero.concerned(None))
        return (await self.service()).desired_count

    async def activities(self) -> list[ScalingActivity]:
        """The newest first."""
        return await self.parts.store.read(lambda tx: tx.all(SCALING_ACTIVITY))

    async def until(self, met: Callable[[Service], bool]) -> None:
        def body(tx: Tx) -> bool:
            found = tx.get(SERVICE, ARN)
            return found is not None and met(found)

        async with asyncio.timeout(20):
            await self.parts.until(body)


def new_target(**fields: Any) -> ScalableTarget:
    values = {"minimum": 1, "maximum": 10, "role_arn": "arn:role", "arn": "arn:target", **fields}
    return ScalableTarget(
        account=SCOPE.account, region=SCOPE.region, resource_id=RESOURCE, service_arn=ARN, **values
    )


def new_service(desired: int, **fields: Any) -> Service:
    deployment = Deployment(
        id=DEPLOYMENT, revision_arn="arn:r", definition_arn="arn:d", rollout_state="COMPLETED"
    )
    values = {
        "body": {"loadBalancers": [{"targetGroupArn": GROUP}]},
        "deployments": (deployment,),
        "steady_at": 1.0,
        **fields,
    }
    return Service(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=ARN,
        name="api",
        cluster_arn=SCOPE.arn("ecs", "cluster/web"),
        desired_count=desired,
        definition_arn="arn:d",
        revision_arn="arn:r",
        **values,
    )


@asynccontextmanager
async def made(directory: Path) -> AsyncIterator[World]:
    async with house(directory) as parts:
        world = World(parts)
        await world.put(SERVICE, new_service(2))
        await world.put(SCALABLE_TARGET, new_target())
        await world.running(2)
        yield world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with made(tmp_path) as world:
        yield world


def depth(target: float = 70.0, **more: Any) -> Tracking:
    custom = {"MetricName": "Depth", "Namespace": "App", "Statistic": "Average"}
    return Tracking(target=target, customized=custom, **more)


STEPS = Steps(
    adjustment_type="ChangeInCapacity",
    steps=(Step(lower=0.0, upper=30.0, adjustment=1), Step(lower=30.0, adjustment=3)),
    cooldown=0,
)


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


def action(world: World, name: str, schedule: str, **fields: Any) -> ScheduledAction:
    made = ScheduledAction(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=f"arn:{name}",
        name=name,
        resource_id=RESOURCE,
        schedule=schedule,
        created_at=world.now,
        **fields,
    )
    return replace(made, due_at=scaling_schedule.due_after(made, world.now))


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
