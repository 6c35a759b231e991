"""Whether a service's task is healthy, failed its checks, or is still to be judged. Pure.

Called by control/services for each task of a service, with the targets that it is registered as. AWS: its
targets and its containers' checks tell; without either it is healthy 40 s after it runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.kit.clock import passed
from neargate.model.balancer import Target
from neargate.model.task import Task

CONTAINERS = "containers"
"""Why a task is bad, if not for a target group."""


@dataclass(frozen=True, slots=True)
class Verdict:
    healthy: bool = False
    bad: str = ""
    """Empty, CONTAINERS, or the ARN of the target group whose checks it fails."""
    again_at: float | None = None
    """When time alone will change this."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What a revision's tasks are judged by."""

    containers: frozenset[str] = frozenset()
    """Essential containers with a health check."""
    groups: tuple[str, ...] = ()
    """Target groups that each task is registered in."""
    grace: float = 0.0
    """Seconds after the start in which no check counts against a task."""
    settle: float = 40.0
    """Seconds after which a task without any check counts as healthy."""


def checked(body: Mapping[str, Any]) -> frozenset[str]:
    """The essential containers of a definition that have a health check."""
    return frozenset(
        c["name"] for c in body["containerDefinitions"] if c.get("healthCheck") and c.get("essential", True)
    )


def judge(task: Task, checks: Checks, targets: Sequence[Target], now: float) -> Verdict:
    if task.last_status != "RUNNING" or task.started_at is None:
        return Verdict()
    if not checks.containers and not checks.groups:
        settled = passed(task.started_at, checks.settle, now)
        return Verdict(healthy=True) if settled else Verdict(again_at=task.started_at + checks.settle)
    bad = _failed(task, checks, targets)
    if bad:
        over = passed(task.started_at, checks.grace, now)
        return Verdict(bad=bad) if over else Verdict(again_at=task.started_at + checks.grace)
    states = {t.group_arn: t.state for t in targets}
    contained = {c.name: c.health for c in task.containers}
    return Verdict(
        healthy=all(states.get(group) == "healthy" for group in checks.groups)
        and all(contained.get(name) == "HEALTHY" for name in checks.containers)
    )


def _failed(task: Task, checks: Checks, targets: Sequence[Target]) -> str:
    if any(c.name in checks.containers and c.health == "UNHEALTHY" for c in task.containers):
        return CONTAINERS
    return next((t.group_arn for t in targets if t.group_arn in checks.groups and t.state == "unhealthy"), "")
