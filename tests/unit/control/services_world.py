"""A service in memory: its records, tasks that run, fail and turn healthy as chance has it, and a clock.

What control/services plans is carried out here without a store. Used by test_services_plan.py.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from neargate.control.services.draft import Weights
from neargate.control.services.plan import Plan, plan
from neargate.control.services.snapshot import Snapshot
from neargate.kit.ids import SeededIds
from neargate.model import service_begin, task_maker
from neargate.model.balancer import Target, TargetGroup, target_id
from neargate.model.record import Scope
from neargate.model.service import Service, ServiceDeployment, ServiceRevision
from neargate.model.task import Cluster, Task, TaskDefinition

SCOPE = Scope("000000000000", "us-east-1")
BLUE, GREEN = (SCOPE.arn("elasticloadbalancing", f"targetgroup/{name}/1") for name in ("blue", "green"))
GROUPS = {
    arn: TargetGroup(
        account=SCOPE.account,
        region=SCOPE.region,
        arn=arn,
        name=arn.split("/")[1],
        protocol="HTTP",
        port=80,
        vpc_id="vpc-1",
        attributes={"deregistration_delay.timeout_seconds": "0"},
    )
    for arn in (BLUE, GREEN)
}
RULE, TEST_RULE = "arn:rule", "arn:test-rule"
ZONES = {"subnet-a": "a", "subnet-b": "b", "subnet-c": "c"}


def _definition() -> TaskDefinition:
    container = {"name": "web", "image": "i", "essential": True, "cpu": 0}
    body = {"cpu": "256", "memory": "512", "containerDefinitions": [container], "volumes": []}
    arn = SCOPE.arn("ecs", "task-definition/web:1")
    return TaskDefinition(
        account=SCOPE.account, region=SCOPE.region, arn=arn, family="web", revision=1, body=body
    )


@dataclass
class World:
    chance: random.Random
    configuration: dict[str, Any]
    desired: int
    balanced: bool = False
    now: float = 1_000_000.0
    tasks: dict[str, Task] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    revisions: dict[str, ServiceRevision] = field(default_factory=dict)
    processes: dict[str, ServiceDeployment] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    weights: dict[str, Weights] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Revisions whose tasks never run, or never turn healthy."""
    lost: set[str] = field(default_factory=set)
    """Rules that are gone, or forward nowhere."""
    there: bool = False
    """Whether what is lost is still there, and forwards nowhere."""
    never_healthy: bool = False
    dies: float = 0.0
    sickens: float = 0.0

    def __post_init__(self) -> None:
        self.ids = SeededIds(self.chance.randrange(2**32))
        self.cluster = Cluster(
            account=SCOPE.account, region=SCOPE.region, arn=SCOPE.arn("ecs", "cluster/c"), name="c"
        )
        self.definition = _definition()
        self.service = Service(
            account=SCOPE.account,
            region=SCOPE.region,
            arn=SCOPE.arn("ecs", "service/c/web"),
            name="web",
            cluster_arn=self.cluster.arn,
            desired_count=self.desired,
            definition_arn=self.definition.arn,
            revision_arn="",
            body={"deploymentConfiguration": {"strategy": "ROLLING", **self.configuration}},
        )
        self.deploy()

    # -- what callers do -------------------------------------------------------------------------------

    def deploy(self, *, broken: bool = False) -> None:
        advanced = {
            "alternateTargetGroupArn": GREEN,
            "productionListenerRule": RULE,
            "testListenerRule": TEST_RULE,
        }
        balancer = {
            "targetGroupArn": BLUE,
            "containerName": "web",
            "containerPort": 80,
            "advancedConfiguration": advanced,
        }
        body = {
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": list(ZONES)}},
            "loadBalancers": [balancer] if self.balanced else [],
        }
        revision = service_begin.revision(self.service, body, self.ids, self.now)
        for process in service_begin.superseded([p for p in self.processes.values() if open_(p)], self.now):
            self.processes[process.arn] = process
        self.service, process = service_begin.begin(self.service, revision, self.ids, self.now)
        self.revisions[revision.arn] = revision
        self.processes[process.arn] = process
        if broken:
            self.broken.add(revision.arn)

    @property
    def process(self) -> ServiceDeployment:
        """The newest."""
        return list(self.processes.values())[-1]

    def lose(self, *rules: str) -> None:
        """Nothing else leads to the groups: nobody checks their targets any more."""
        self.lost |= set(rules)
        for id, target in self.targets.items():
            if target.state != "draining":
                self.targets[id] = replace(target, state="initial")

    # -- one step of the loop --------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        by_task: dict[str, list[Target]] = {}
        for target in self.targets.values():
            by_task.setdefault(target.task_arn, []).append(target)
        return Snapshot(
            service=self.service,
            cluster=self.cluster,
            tasks=tuple(t for t in self.tasks.values() if not t.accounted),
            targets={arn: tuple(found) for arn, found in by_task.items()},
            groups=GROUPS,
            revisions=dict(self.revisions),
            definitions={self.definition.arn: self.definition},
            processes=tuple(p for p in self.processes.values() if open_(p)),
            zones=ZONES,
            leads=self._leads(),
        )

    def _leads(self) -> dict[str, frozenset[str]]:
        rules = {arn: frozenset(() if arn in self.lost else GROUPS) for arn in (RULE, TEST_RULE)}
        return {arn: groups for arn, groups in rules.items() if groups or self.there}

    def step(self) -> Plan:
        made = plan(self.snapshot(), self.now)
        self.service = made.service
        self.tasks.update((t.arn, t) for t in made.tasks)
        self.targets.update((target_id(t.group_arn, t.address, t.port), t) for t in made.targets)
        for id in made.targets_gone:
            del self.targets[id]
        self.processes.update((p.arn, p) for p in made.processes)
        self.revisions.update((r.arn, r) for r in made.revisions)
        self.weights.update((w.rule_arn, w) for w in made.weights)
        for start in made.starts:
            for provider in start.providers:
                task = task_maker.make(start.order, provider, self.ids, self.now)
                task = replace(task, service_arn=self.service.arn, revision_arn=start.revision_arn)
                self.tasks[task.arn] = task
        self.messages += made.messages
        return made

    # -- what the world does ---------------------------------------------------------------------------

    def live(self) -> list[Task]:
        return [t for t in self.tasks.values() if t.desired_status == "RUNNING"]

    def healthy(self) -> list[Task]:
        return [t for t in self.live() if self.is_healthy(t)]

    def is_healthy(self, task: Task) -> bool:
        if task.last_status != "RUNNING" or task.started_at is None:
            return False
        states = [t.state for t in self.targets.values() if t.task_arn == task.arn]
        return states == ["healthy"] if self.balanced else task.started_at + 40 <= self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for task in list(self.tasks.values()):
            self.tasks[task.arn] = self._on(task)
        for id, target in list(self.targets.items()):
            self._check(id, target)

    def _on(self, task: Task) -> Task:
        luck = self.chance.random()
        if task.last_status == "STOPPED":
            return task
        if task.desired_status == "STOPPED":
            return task if task.draining or luck < 0.3 else self._ended(task)
        broken = task.revision_arn in self.broken and not self.never_healthy
        if luck < self.dies or (broken and luck < 0.7):
            return self._ended(replace(task, stop_code="EssentialContainerExited"))
        if task.last_status != "RUNNING" and not broken and luck > 0.4:
            containers = tuple(replace(c, last_status="RUNNING") for c in task.containers)
            address = f"10.0.{len(self.tasks) // 250}.{list(self.tasks).index(task.arn) % 250}"
            return replace(
                task,
                last_status="RUNNING",
                node="n",
                started_at=self.now,
                containers=containers,
                private_ip=address,
                availability_zone=ZONES[task.subnets[0]],
            )
        return task

    def _ended(self, task: Task) -> Task:
        return replace(task, last_status="STOPPED", desired_status="STOPPED", stopped_at=self.now, node="n")

    def _check(self, id: str, target: Target) -> None:
        luck = self.chance.random()
        if target.state == "draining":
            if luck < 0.5:
                del self.targets[id]
            return
        task = self.tasks[target.task_arn]
        if luck < self.sickens or (task.revision_arn in self.broken and self.never_healthy):
            self.targets[id] = replace(target, state="unhealthy")
        elif luck > 0.4 and not self.lost and (target.state == "initial" or self.sickens):
            self.targets[id] = replace(target, state="healthy")

    def until(self, met: Callable[[], bool], check: Callable[[Plan], None], steps: int = 600) -> None:
        for _ in range(steps):
            check(self.step())
            if met():
                return
            self.pass_time(self.chance.choice((0.1, 1.0, 10.0, 60.0)))
        raise AssertionError(f"not over after {steps} steps: {self.service.deployments}")


def open_(process: ServiceDeployment) -> bool:
    return process.status not in ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
