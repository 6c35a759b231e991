"""A service through boto3 against a daemon with the fake driver: made, watched, changed.

Used by tests/api/test_ecs_service_loop*.py.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from neargate.state.catalog_balancers import TARGET
from neargate.state.store import Tx
from tests.support.door import Door
from tests.support.ecs import container, definition

T = TypeVar("T")
PATIENCE = 60.0


def until(look: Callable[[], T]) -> T:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {PATIENCE} s"
        time.sleep(0.01)
    return seen


class Keeper:
    """Cluster `default`, definition family `web`, and one service at a time, named `web`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.ecs = door.client("ecs")
        self.ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
        subnets = door.client("ec2").describe_subnets()["Subnets"]
        self.subnets = sorted(s["SubnetId"] for s in subnets)
        self.zones = {s["AvailabilityZone"] for s in subnets}
        self.network = {"awsvpcConfiguration": {"subnets": self.subnets}}

    def define(self, image: str = "nginx", **changes: Any) -> str:
        answer = self.ecs.register_task_definition(**definition(container("web", image=image, **changes)))
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def create(self, definition: str, count: int = 2, **changes: Any) -> dict[str, Any]:
        params = {
            "serviceName": "web",
            "taskDefinition": definition,
            "desiredCount": count,
            "launchType": "FARGATE",
            "networkConfiguration": self.network,
            **changes,
        }
        return dict(self.ecs.create_service(**{k: v for k, v in params.items() if v is not None})["service"])

    def update(self, **changes: Any) -> dict[str, Any]:
        return dict(self.ecs.update_service(service="web", **changes)["service"])

    def see(self) -> dict[str, Any]:
        return dict(self.ecs.describe_services(services=["web"])["services"][0])

    def process(self) -> dict[str, Any]:
        """The newest service deployment."""
        briefs = self.ecs.list_service_deployments(service="web")["serviceDeployments"]
        arn = max(briefs, key=lambda b: b["createdAt"])["serviceDeploymentArn"]
        (found,) = self.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
        return dict(found)

    def tasks(self, status: str = "RUNNING") -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(serviceName="web", desiredStatus=status)["taskArns"]
        return list(self.ecs.describe_tasks(tasks=arns)["tasks"]) if arns else []

    def running(self) -> list[dict[str, Any]]:
        return [t for t in self.tasks() if t["lastStatus"] == "RUNNING"]

    def messages(self) -> list[str]:
        """Oldest first, without what differs each time."""
        return [e["message"] for e in reversed(self.see()["events"])]

    def steady(self) -> dict[str, Any]:
        """Wait until the service has said that it is steady since its last change."""
        return until(self._steady)

    def _steady(self) -> dict[str, Any]:
        service = self.see()
        (first, *more) = service["deployments"]
        done = (
            not more
            and first["rolloutState"] == "COMPLETED"
            and service["runningCount"] == service["desiredCount"]
            and service["pendingCount"] == 0
            and service["events"]
            and service["events"][0]["message"].endswith("has reached a steady state.")
        )
        return service if done else {}

    def end(self, task: dict[str, Any], code: int = 1) -> None:
        """The task's first container ends by itself."""
        id = task["taskArn"].rpartition("/")[2]

        async def end() -> None:
            sandbox = self.door.daemon.driver.sandboxes[id]  # type: ignore[attr-defined]
            sandbox.end(task["containers"][0]["name"], code)

        self.door.call(end())


class Checker:
    """The data plane's part, played in the daemon's own loop: targets turn healthy, drained ones go.

    `sick` -- addresses whose checks fail; `kept` -- draining targets are not let go.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self.sick: set[str] = set()
        self.all_sick = False
        self.kept = False
        self.seen: list[tuple[str, str]] = []
        """(address, state) of targets, as they were found."""

    def __enter__(self) -> "Checker":
        self._task = self._door.call(self._start())
        return self

    def __exit__(self, *exc: object) -> None:
        self._door.call(self._stop())

    async def _start(self) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(self._run())

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        store = self._door.daemon.house.store
        while True:
            head = store.head()  # before the look: what comes during it is not missed
            await store.write(self._check)
            await store.wait(head)

    def _check(self, tx: Tx) -> None:
        for target in tx.all(TARGET):
            self.seen.append((target.address, target.state))
            wanted = "unhealthy" if self.all_sick or target.address in self.sick else "healthy"
            if target.state == "draining":
                if not self.kept:
                    tx.delete(TARGET, TARGET.id(target))
            elif target.state != wanted:
                tx.put(TARGET, replace(target, state=wanted, description="Health checks failed"))

    def again(self) -> None:
        """Look anew, as what is healthy has changed."""

        async def look() -> None:
            await self._door.daemon.house.store.write(self._check)

        self._door.call(look())


class Balanced(Keeper):
    """With a load balancer whose listener forwards to group `blue`; `green` and a test listener beside it."""

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self.elb = elb = door.client("elbv2")
        self._vpc = door.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        balancer = elb.create_load_balancer(Name="lb", Subnets=self.subnets)["LoadBalancers"][0]
        self.balancer = balancer["LoadBalancerArn"]
        self.blue, self.green = (self.group(name) for name in ("blue", "green"))
        self.listener = self._listener(80, self.blue)
        self.test_listener = self._listener(8080, self.blue)
        self.rule = self._rule(self.listener)
        self.test_rule = self._rule(self.test_listener)

    def group(self, name: str) -> str:
        made = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=self._vpc, TargetType="ip"
        )
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "300"}
        self.elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
        return arn

    def _listener(self, port: int, group: str) -> str:
        made = self.elb.create_listener(
            LoadBalancerArn=self.balancer,
            Protocol="HTTP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def _rule(self, listener: str) -> str:
        groups = [{"TargetGroupArn": self.blue, "Weight": 100}, {"TargetGroupArn": self.green, "Weight": 0}]
        made = self.elb.create_rule(
            ListenerArn=listener,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
            Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
        )
        return str(made["Rules"][0]["RuleArn"])

    def weights(self, rule: str) -> tuple[int, int]:
        """Of blue and of green."""
        (found,) = self.elb.describe_rules(RuleArns=[rule])["Rules"]
        groups = found["Actions"][0]["ForwardConfig"]["TargetGroups"]
        by_arn = {g["TargetGroupArn"]: g["Weight"] for g in groups}
        return by_arn[self.blue], by_arn[self.green]

    def plain(self) -> list[dict[str, Any]]:
        """loadBalancers of a rolling service."""
        return [{"targetGroupArn": self.blue, "containerName": "web", "containerPort": 80}]

    def shifting(self) -> list[dict[str, Any]]:
        """loadBalancers of a service whose deployments shift traffic."""
        advanced = {
            "alternateTargetGroupArn": self.green,
            "productionListenerRule": self.rule,
            "testListenerRule": self.test_rule,
            "roleArn": "arn:aws:iam::000000000000:role/ecs",
        }
        return [{**self.plain()[0], "advancedConfiguration": advanced}]

    def states(self, group: str) -> list[str]:
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return sorted(t["TargetHealth"]["State"] for t in found)

    def define(self, image: str = "nginx", **changes: Any) -> str:
        return super().define(image, **{"portMappings": [{"containerPort": 80}], **changes})
