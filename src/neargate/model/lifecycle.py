"""The life of an ECS task: which statuses there are, which may follow which, and what a node's observation
makes of a task. Pure.

Called by services/cell (reports), control/tasks (tasks that never got a node) and services/ecs (StopTask).
The result is written by the caller; readers of the change feed go on from there.
"""

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from neargate.model.sandbox import ContainerStatus, Phase, SandboxStatus
from neargate.model.task import Container, Task

# The state machine. Forward only; STOPPED is the end.
#
#   PROVISIONING --> PENDING --> ACTIVATING --> RUNNING        start: interface, images, containers
#        |              |            |             |
#        |              |            v             v
#        |              |        DEACTIVATING <----+           stop: targets, signals
#        |              |            |
#        |              |            v
#        |              |         STOPPING
#        v              v            |
#        +--------> DEPROVISIONING <-+                         unwind: mounts, interface
#                        |
#                        v
#                     STOPPED
ORDER: Final = (
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "STOPPED",
)
LEGAL: Final[dict[str, tuple[str, ...]]] = {
    "PROVISIONING": ("PENDING", "DEPROVISIONING"),
    "PENDING": ("ACTIVATING", "DEPROVISIONING"),
    "ACTIVATING": ("RUNNING", "DEACTIVATING"),
    "RUNNING": ("DEACTIVATING",),
    "DEACTIVATING": ("STOPPING",),
    "STOPPING": ("DEPROVISIONING",),
    "DEPROVISIONING": ("STOPPED",),
    "STOPPED": (),
}
RANK: Final = {status: rank for rank, status in enumerate(ORDER)}

_PHASE_GOAL: Final[dict[Phase, str]] = {
    "ACCEPTED": "PROVISIONING",
    "ATTACHED": "PENDING",
    "PULLING": "PENDING",
    "STARTING": "ACTIVATING",
    "RUNNING": "RUNNING",
    "STOPPING": "STOPPING",
    "CLEANING": "DEPROVISIONING",
    "STOPPED": "STOPPED",
}
_ENDING: Final = frozenset(("STOPPING", "CLEANING", "STOPPED"))
_ATTACHMENT: Final = {"PENDING": "ATTACHED", "DEPROVISIONING": "DETACHING", "STOPPED": "DELETED"}
_REASON_LIMIT: Final = 1024
DEFAULT_REASONS: Final = {
    "EssentialContainerExited": "Essential container in task exited",
    "UserInitiated": "Task stopped by user",
    "SpotInterruption": "Your Spot Task was interrupted.",
}


class IllegalTransition(ValueError):
    """A status was asked to follow one that it may not follow: a bug of the caller."""


def check_transition(before: str, after: str) -> None:
    if after not in LEGAL[before]:
        raise IllegalTransition(f"a task cannot go from {before} to {after}")


def advance(task: Task, status: SandboxStatus, now: float) -> Task:
    """The task after what its node observed; the same object if that says nothing new.

    Observations older than the last one applied, and any of a STOPPED task, are ignored. Statuses that the
    node passed through unseen are passed through here, in legal order.
    """
    if status.sequence <= task.sandbox_sequence or task.last_status == "STOPPED":
        return task
    path = route(task.last_status, status)
    for before, after in zip((task.last_status, *path), path, strict=False):
        check_transition(before, after)
    last = path[-1] if path else task.last_status
    containers = _containers(task.containers, status.containers, last)
    moved = replace(
        task,
        last_status=last,
        containers=containers,
        health=task_health(containers),
        isolation=status.tier,
        attachment_status=_attachment(task, path),
        **_moments(task, status, path, now),
        **_ending(task, status),
    )
    if moved != task:
        moved = replace(moved, version=task.version + 1)
    return replace(moved, sandbox_sequence=status.sequence)


def route(last: str, status: SandboxStatus) -> tuple[str, ...]:
    """Statuses that lead from `last` to what was observed, in legal order; empty if it is there already."""
    path: list[str] = []
    reached = _reached(status)
    while RANK[last] < RANK[reached]:
        last = ORDER[RANK[last] + 1]
        path.append(last)
    if status.phase in _ENDING:
        goal = _PHASE_GOAL[status.phase]
        while RANK[last] < RANK[goal]:
            last = LEGAL[last][-1]
            path.append(last)
    return tuple(path)


def _reached(status: SandboxStatus) -> str:
    """How far up the sandbox evidently came, whatever it does now."""
    if status.phase not in _ENDING:
        return _PHASE_GOAL[status.phase]
    if status.started_at is not None:
        return "RUNNING"
    if any(c.started_at is not None for c in status.containers):
        return "ACTIVATING"
    return "PENDING" if status.pull_started_at is not None else "PROVISIONING"


def request_stop(task: Task, code: str, reason: str, now: float, *, draining: bool = False) -> Task:
    """The task with desiredStatus STOPPED; unchanged if it is there already. The first reason stays.

    draining -- it runs on until its targets have let go of it: whoever sees to that ends the draining.
    """
    if task.desired_status == "STOPPED":
        return task
    draining = draining and "DEACTIVATING" in LEGAL[task.last_status]
    return replace(
        task,
        desired_status="STOPPED",
        draining=draining,
        last_status="DEACTIVATING" if draining else task.last_status,
        stop_code=code,
        stopped_reason=reason or DEFAULT_REASONS.get(code, ""),
        stopping_at=max(now, *_begun(task)),
        version=task.version + 1,
    )


def end_unplaced(task: Task, now: float) -> Task:
    """Take a task that no node ever had from its status to STOPPED, by the legal way."""
    if task.node:
        raise IllegalTransition(f"task {task.id} is on node {task.node}: only its reports end it")
    last = task.last_status
    while last != "STOPPED":
        after = LEGAL[last][-1]
        check_transition(last, after)
        last = after
    moment = max(now, task.stopping_at or 0.0, *_begun(task))
    return replace(
        task,
        last_status="STOPPED",
        desired_status="STOPPED",
        containers=tuple(replace(c, last_status="STOPPED") for c in task.containers),
        attachment_status="DELETED",
        stopping_at=task.stopping_at if task.stopping_at is not None else moment,
        stopped_at=moment,
        version=task.version + 1,
    )


def _begun(task: Task) -> list[float]:
    """The moments of the task's start so far: its end comes after all of them."""
    moments = (task.pull_started_at, task.pull_stopped_at, task.started_at)
    return [task.created_at, *(m for m in moments if m is not None)]


def task_health(containers: Iterable[Container]) -> str:
    """AWS: essential containers only; one UNHEALTHY tells, then one UNKNOWN, else HEALTHY."""
    health = {c.health for c in containers if c.essential}
    if "UNHEALTHY" in health:
        return "UNHEALTHY"
    return "UNKNOWN" if "UNKNOWN" in health or not health else "HEALTHY"


def _containers(
    known: tuple[Container, ...], seen: tuple[ContainerStatus, ...], last: str
) -> tuple[Container, ...]:
    by_name = {c.name: c for c in seen}
    return tuple(_container(c, by_name.get(c.name), last) for c in known)


def _container(known: Container, seen: ContainerStatus | None, last: str) -> Container:
    if seen is None:
        return replace(known, last_status="STOPPED") if last == "STOPPED" else known
    phase = "STOPPED" if last == "STOPPED" else seen.phase
    return replace(
        known,
        last_status="PENDING" if phase == "CREATED" else phase,
        image_digest=seen.image_digest or known.image_digest,
        exit_code=seen.exit_code,
        reason=seen.reason[:_REASON_LIMIT] if seen.reason else known.reason,
        health=seen.health,
        restarts=max(seen.restarts, known.restarts),
    )


def _attachment(task: Task, path: tuple[str, ...]) -> str:
    status = task.attachment_status
    for step in path:
        status = _ATTACHMENT.get(step, status)
    return status


def _moments(task: Task, status: SandboxStatus, path: tuple[str, ...], now: float) -> dict[str, Any]:
    """Timestamps: the node's, set once, in the order that clients expect whatever the node's clock does."""
    begun = [
        ("pull_started_at", status.pull_started_at),
        ("pull_stopped_at", status.pull_stopped_at),
        ("started_at", (status.started_at or now) if "RUNNING" in path else None),
    ]
    moments: dict[str, Any] = {name: getattr(task, name) for name, _ in begun}
    later = [t for t in (task.stopping_at, task.execution_stopped_at) if t is not None]
    for position, (name, value) in enumerate(begun):
        if moments[name] is None and value is not None:
            after = [moments[n] for n, _ in begun[position + 1 :] if moments[n] is not None]
            before = [moments[n] for n, _ in begun[:position] if moments[n] is not None]
            moments[name] = max([min([value, *after, *later]), task.created_at, *before])
    floor = max([task.created_at, *(m for m in moments.values() if m is not None)])
    if "PENDING" in path and task.connectivity is None:
        moments["connectivity"] = "CONNECTED"
        moments["connectivity_at"] = max(task.created_at, status.accepted_at or now)
    moments |= _end_moments(task, status, path, floor, now)
    return moments


def _end_moments(
    task: Task, status: SandboxStatus, path: tuple[str, ...], floor: float, now: float
) -> dict[str, Any]:
    stopping, execution = task.stopping_at, task.execution_stopped_at
    if execution is None and status.execution_stopped_at is not None:
        execution = max(floor, status.execution_stopped_at)
    if stopping is None and ("STOPPING" in path or "DEPROVISIONING" in path):
        stopping = max(floor, status.stopping_at or now)
    moments: dict[str, Any] = {"stopping_at": stopping, "execution_stopped_at": execution}
    if "STOPPED" in path:
        moments["stopped_at"] = max(floor, stopping or floor, execution or floor, status.stopped_at or now)
    return moments


def _ending(task: Task, status: SandboxStatus) -> dict[str, Any]:
    """desiredStatus, stopCode and stoppedReason: whoever asked first is the reason."""
    if status.phase not in _ENDING:
        return {}
    ending: dict[str, Any] = {"desired_status": "STOPPED"}
    if task.stop_code is None:
        code = status.failure.code if status.failure else "EssentialContainerExited"
        reason = status.failure.reason if status.failure else ""
        ending["stop_code"] = code
        ending["stopped_reason"] = (reason or DEFAULT_REASONS.get(code, ""))[:_REASON_LIMIT]
    return ending
