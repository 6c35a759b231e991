"""What is to be done for a service now. Pure: a function of the snapshot and the time.

Called by loop.py; apply.py carries it out. Level-triggered: each step looks at what is there, none remembers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control.services import rollout, targets, task_sets
from neargate.control.services.draft import Draft, Start, Weights
from neargate.control.services.ended import look, settle
from neargate.control.services.snapshot import Snapshot
from neargate.model.balancer import Target
from neargate.model.event import Event
from neargate.model.service import Service, ServiceDeployment, ServiceRevision, TaskSet
from neargate.model.service_begin import stopped
from neargate.model.task import Task

_DELETED = "The service was deleted."


@dataclass(frozen=True, slots=True)
class Plan:
    """What differs from the snapshot, and what there is to do and to say."""

    service: Service
    changed: bool
    """Whether the service differs."""
    tasks: Sequence[Task]
    targets: Sequence[Target]
    targets_gone: Sequence[str]
    processes: Sequence[ServiceDeployment]
    revisions: Sequence[ServiceRevision]
    task_sets: Sequence[TaskSet]
    task_sets_gone: Sequence[str]
    starts: Sequence[Start]
    weights: Sequence[Weights]
    messages: Sequence[str]
    told: Sequence[Event]
    wake_at: float | None

    def __bool__(self) -> bool:
        return self.changed or any(
            (
                self.tasks,
                self.targets,
                self.targets_gone,
                self.processes,
                self.revisions,
                self.task_sets,
                self.task_sets_gone,
                self.starts,
                self.weights,
                self.messages,
            )
        )


def plan(snapshot: Snapshot, now: float, settle_seconds: float = 40.0) -> Plan:
    draft = Draft.of(snapshot, now, settle_seconds)
    settle(draft)
    if snapshot.service.status != "ACTIVE":
        _wind_up(draft)
    elif snapshot.external:
        task_sets.go_on(draft, look(draft))
    else:
        rollout.go_on(draft, look(draft))
    targets.tend(draft)
    return _difference(draft)


def _wind_up(draft: Draft) -> None:
    """Of a deleted service: stop all its tasks, then it is INACTIVE."""
    live = draft.live()
    if live and draft.service.deployments:
        draft.stop_scaled(live, draft.primary.id)
    for task in live:  # of task sets
        if draft.tasks[task.arn].desired_status == "RUNNING":
            draft.stop_scaled([task], task.started_by or "")
    for process in list(draft.processes.values()):
        draft.processes[process.arn] = stopped(process, _DELETED, draft.now)
    if draft.service.status == "DRAINING" and all(t.accounted for t in draft.tasks.values()):
        draft.task_sets.clear()
        draft.service = replace(
            draft.service, status="INACTIVE", inactive_at=draft.now, deployments=(), steady_at=None
        )


def _difference(draft: Draft) -> Plan:
    before = draft.snapshot
    known = {id: t for found in Draft.of(before, draft.now, 0.0).targets.values() for id, t in found.items()}
    there = {id: t for found in draft.targets.values() for id, t in found.items()}
    tasks = {t.arn: t for t in before.tasks}
    processes = {p.arn: p for p in before.processes}
    sets = {s.arn: s for s in before.task_sets}
    return Plan(
        service=draft.service,
        changed=draft.service != before.service,
        tasks=[t for arn, t in draft.tasks.items() if t is not tasks[arn]],
        targets=[t for id, t in there.items() if known.get(id) is not t],
        targets_gone=[id for id in known if id not in there],
        processes=[p for arn, p in draft.processes.items() if p != processes[arn]],
        revisions=[r for arn, r in draft.revisions.items() if r != before.revisions[arn]],
        task_sets=[s for arn, s in draft.task_sets.items() if s != sets[arn]],
        task_sets_gone=[arn for arn in sets if arn not in draft.task_sets],
        starts=draft.starts,
        weights=draft.weights,
        messages=draft.messages,
        told=draft.told,
        wake_at=draft.wake_at,
    )
