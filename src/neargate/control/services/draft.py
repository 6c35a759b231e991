"""What a service's next step will change, while it is being worked out: the records as they will be, the
tasks to start, what there is to say.

Made by plan.py from a snapshot and handed through its steps; apply.py writes what differs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from neargate.control.services.snapshot import Snapshot
from neargate.model import lifecycle
from neargate.model.balancer import Target, target_id
from neargate.model.deployments import events
from neargate.model.event import Event
from neargate.model.event_ecs import deployment_changed, service_action
from neargate.model.service import Deployment, Service, ServiceDeployment, ServiceRevision, TaskSet
from neargate.model.task import Task
from neargate.model.task_maker import Order

SCHEDULER = "ServiceSchedulerInitiated"


@dataclass(frozen=True, slots=True)
class Start:
    """Tasks to make, one for each capacity provider (None: launch type FARGATE)."""

    order: Order
    revision_arn: str
    providers: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of all requests of a rule that go to either of two target groups, the percent that the second gets."""

    rule_arn: str
    groups: tuple[str, str]
    percent: float


@dataclass(slots=True)
class Draft:
    snapshot: Snapshot
    now: float
    settle: float
    """Seconds after which a task that nothing checks is healthy."""
    service: Service
    tasks: dict[str, Task]
    targets: dict[str, dict[str, Target]]
    """By the task's ARN, then by their id."""
    processes: dict[str, ServiceDeployment]
    revisions: dict[str, ServiceRevision]
    task_sets: dict[str, TaskSet]
    starts: list[Start] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    wake_at: float | None = None
    """When time alone will change something."""

    @classmethod
    def of(cls, snapshot: Snapshot, now: float, settle: float) -> "Draft":
        return cls(
            snapshot=snapshot,
            now=now,
            settle=settle,
            service=snapshot.service,
            tasks={task.arn: task for task in snapshot.tasks},
            targets={
                arn: {target_id(t.group_arn, t.address, t.port): t for t in found}
                for arn, found in snapshot.targets.items()
            },
            processes={p.arn: p for p in snapshot.processes},
            revisions=dict(snapshot.revisions),
            task_sets={s.arn: s for s in snapshot.task_sets},
        )

    # -- the service -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def configuration(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.body.get("deploymentConfiguration", {})
        return found

    def wake(self, at: float | None) -> None:
        if at is not None and (self.wake_at is None or at < self.wake_at):
            self.wake_at = at

    def say(self, message: str) -> None:
        self.messages.append(message)

    def tell_action(self, name: str, reason: str = "") -> None:
        s = self.service
        self.told.append(
            service_action(s.account, s.region, s.arn, s.cluster_arn, name, self.now, reason=reason)
        )

    def tell_deployment(self, deployment: Deployment, name: str, reason: str) -> None:
        s = self.service
        self.told.append(
            deployment_changed(s.account, s.region, s.arn, deployment.id, name, reason, self.now)
        )

    # -- its deployments -------------------------------------------------------------------------------

    @property
    def primary(self) -> Deployment:
        return self.service.deployments[0]

    def deployment(self, id: str | None) -> Deployment | None:
        return next((d for d in self.service.deployments if d.id == id), None)

    def owner(self, id: str | None) -> Deployment | TaskSet | None:
        """What tasks with such a startedBy belong to."""
        return self.deployment(id) or next((s for s in self.task_sets.values() if s.id == id), None)

    def owners(self) -> list[Deployment | TaskSet]:
        return [*self.service.deployments, *self.task_sets.values()]

    def count(self, owner: Deployment | TaskSet, **fields: Any) -> None:
        """Write what is counted of a deployment's, or a task set's, tasks."""
        if isinstance(owner, Deployment):
            self.change(owner, **fields)
        else:
            self.task_sets[owner.arn] = replace(owner, **fields)

    def change(self, deployment: Deployment, **fields: Any) -> Deployment:
        """A deployment of the service with other fields."""
        changed = replace(deployment, **fields)
        if changed != deployment:
            changed = replace(changed, updated_at=self.now)
        self.arrange(changed if d.id == changed.id else d for d in self.service.deployments)
        return changed

    def arrange(self, deployments: Iterable[Deployment]) -> None:
        self.service = replace(self.service, deployments=tuple(deployments))

    def process_of(self, deployment: Deployment) -> ServiceDeployment | None:
        return self.processes.get(deployment.process_arn)

    def process(self, process: ServiceDeployment, **fields: Any) -> ServiceDeployment:
        changed = replace(process, **fields)
        if changed != process:
            changed = replace(changed, updated_at=self.now)
        self.processes[process.arn] = changed
        return changed

    # -- its tasks -------------------------------------------------------------------------------------

    def live(self) -> list[Task]:
        """Tasks that are to run."""
        return [t for t in self.tasks.values() if t.desired_status == "RUNNING"]

    def targets_of(self, task: Task) -> dict[str, Target]:
        return self.targets.setdefault(task.arn, {})

    def stop(self, task: Task, reason: str) -> None:
        """Stop a task; one with targets only once they have let go of it."""
        draining = bool(self.targets_of(task))
        self.tasks[task.arn] = lifecycle.request_stop(task, SCHEDULER, reason, self.now, draining=draining)

    def stop_scaled(self, tasks: Iterable[Task], reason_id: str) -> None:
        """Stop tasks that are too many. reason_id -- the deployment for which they are."""
        by_deployment: dict[str, list[Task]] = {}
        for task in tasks:
            self.stop(task, f"Scaling activity initiated by (deployment {reason_id})")
            by_deployment.setdefault(task.started_by or "", []).append(task)
        for id, stopped in by_deployment.items():
            drained = [task for task in stopped if self.tasks[task.arn].draining]
            if drained:
                self.say(events.draining(self.name, id, len(drained)))
            self.say(events.stopped(self.name, [task.id for task in stopped]))
