"""A service with a scalable target and the loops that scale it, on a real store in virtual time.

Used by test_autoscaling*.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from neargate.control.autoscaling import Autoscaling
from neargate.control.autoscaling_zero import ScaleToZero
from neargate.model import scaling_schedule
from neargate.model.alarm import ALARM as ALARMING
from neargate.model.alarm import OK, Alarm, alarm_arn
from neargate.model.metric import metric, point
from neargate.model.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    Step,
    Steps,
    Tracking,
)
from neargate.model.scaling_alarms import alarms_of
from neargate.model.service import Deployment, Service
from neargate.state import metrics
from neargate.state.catalog import TASK
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCALING_ACTIVITY, SCALING_POLICY
from neargate.state.catalog_services import SERVICE
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


def depth(target: float = 70.0, **more: Any) -> Tracking:
    custom = {"MetricName": "Depth", "Namespace": "App", "Statistic": "Average"}
    return Tracking(target=target, customized=custom, **more)


STEPS = Steps(
    adjustment_type="ChangeInCapacity",
    steps=(Step(lower=0.0, upper=30.0, adjustment=1), Step(lower=30.0, adjustment=3)),
    cooldown=0,
)


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
