"""Taking note of tasks that have ended and of those that turned healthy: a deployment's counts.

Called by plan.py first.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control.services.draft import SCHEDULER, Draft
from neargate.control.services.templates import Template, template_of
from neargate.model.deployments import breaker, events
from neargate.model.deployments.copies import Copy
from neargate.model.deployments.health import CONTAINERS, Checks, Verdict, checked, judge
from neargate.model.deployments.shift import routes
from neargate.model.task import Task

_NO_FAILURE = frozenset((SCHEDULER, "UserInitiated", "SpotInterruption", "TerminationNotice"))


@dataclass(frozen=True, slots=True)
class Seen:
    """A task that is to run, and how it does."""

    task: Task
    verdict: Verdict
    copy: Copy
    checked: bool
    """Something checks it: a target group, or a container's health check."""


def settle(draft: Draft) -> None:
    """Take note of each task that has STOPPED, once: failures count for its deployment."""
    for task in list(draft.tasks.values()):
        if task.last_status != "STOPPED" or task.accounted:
            continue
        draft.tasks[task.arn] = replace(task, accounted=True)
        if task.stop_code not in _NO_FAILURE and task.healthy_at is None:
            _failed(draft, task)
    for owner in draft.owners():
        ran = any(
            task.started_by == owner.id and (task.started_at or 0.0) > owner.failed_start_at
            for task in draft.tasks.values()
        )
        if owner.failed_starts and ran:
            draft.count(owner, failed_starts=0, start_after=0.0)


def _failed(draft: Draft, task: Task) -> None:
    owner = draft.owner(task.started_by)
    if owner is None:
        return
    draft.count(owner, failed_tasks=owner.failed_tasks + 1)
    if task.started_at is not None:
        wait = breaker.pause(owner.failed_tasks + 1, draft.service.desired_count)
        if wait:
            _hold(draft, owner.id, wait, failed_starts=0)
        return
    if not task.node:
        draft.say(events.unplaced(draft.name, task.stopped_reason or ""))
        draft.tell_action("SERVICE_TASK_PLACEMENT_FAILURE", "RESOURCE:FARGATE")
    failed_start(draft, owner.id, for_room=not task.node)


def failed_start(draft: Draft, id: str, *, for_room: bool = False) -> None:
    """One more task of a deployment that never ran: the next ones wait."""
    owner = draft.owner(id)
    if owner is None:
        return
    count = owner.failed_starts + 1
    wait = breaker.wait(count, draft.service.desired_count, for_room=for_room)
    _hold(draft, id, wait, failed_starts=count)
    if wait and not for_room:
        draft.say(events.impaired(draft.name))
        draft.tell_action("SERVICE_TASK_START_IMPAIRED")


def _hold(draft: Draft, id: str, wait: float, *, failed_starts: int) -> None:
    """No more starts of a deployment, or a task set, for so many seconds."""
    owner = draft.owner(id)
    if owner is not None:
        after = draft.now + wait if wait else 0.0
        draft.count(owner, failed_starts=failed_starts, failed_start_at=draft.now, start_after=after)


def look(draft: Draft) -> list[Seen]:
    """How the tasks that are to run do; those that turned healthy are marked."""
    return [_look(draft, task) for task in draft.live()]


def _look(draft: Draft, task: Task) -> Seen:
    checks = _checks(draft, task)
    verdict = judge(task, checks, list(draft.targets_of(task).values()), draft.now)
    draft.wake(verdict.again_at)
    if verdict.healthy and task.healthy_at is None:
        task = draft.tasks[task.arn] = replace(task, healthy_at=draft.now)
        _succeeded(draft, task)
    if task.protected_until is not None and task.protected_until > draft.now:
        draft.wake(task.protected_until)
    copy = Copy(
        arn=task.arn,
        deployment=task.started_by or "",
        running=task.last_status == "RUNNING",
        healthy=verdict.healthy,
        bad=bool(verdict.bad),
        served=task.healthy_at is not None,
        protected=task.protected_until is not None and task.protected_until > draft.now,
        zone=zone_of(draft, task),
        created_at=task.created_at,
    )
    return Seen(task, verdict, copy, bool(checks.containers or checks.groups))


def _succeeded(draft: Draft, task: Task) -> None:
    owner = draft.owner(task.started_by)
    given = draft.configuration.get("deploymentCircuitBreaker") or {}
    if owner is not None and owner.failed_tasks and breaker.resets(given):
        draft.count(owner, failed_tasks=0)


def _checks(draft: Draft, task: Task) -> Checks:
    template = template_of(draft, task)
    if template is None:
        return Checks(settle=draft.settle)
    definition = draft.snapshot.definitions.get(template.definition_arn)
    return Checks(
        containers=checked(definition.body) if definition is not None else frozenset(),
        groups=_checked_groups(draft, template),
        grace=float(draft.service.body.get("healthCheckGracePeriodSeconds") or 0),
        settle=draft.settle,
    )


def _checked_groups(draft: Draft, template: Template) -> tuple[str, ...]:
    """Where a listener is gone, or forwards nowhere, what no balancer leads to any more is checked by nobody:
    not waited for."""
    if all(draft.snapshot.leads.get(arn) for _, arn in routes(template.balancers)):
        return template.groups
    found = draft.snapshot.groups
    return tuple(arn for arn in template.groups if arn in found and found[arn].balancer_arns)


def zone_of(draft: Draft, task: Task) -> str:
    if task.availability_zone or not task.subnets:
        return task.availability_zone
    return draft.snapshot.zones.get(task.subnets[0], "")


def stop_unhealthy(draft: Draft, seen: Seen) -> None:
    """Stop a task for its health checks; it counts as failed."""
    task, why = seen.task, seen.verdict.bad
    if why == CONTAINERS:
        draft.say(events.containers_failed(draft.name, task.id))
        draft.stop(task, "Task failed container health checks")
    else:
        for target in draft.targets_of(task).values():
            if target.group_arn == why:
                said = target.description
                draft.say(events.target_failed(draft.name, task.id, target.port, why, said))
        draft.stop(task, f"Task failed ELB health checks in (target-group {why})")
    draft.say(events.stopped(draft.name, [task.id]))
    owner = draft.owner(task.started_by)
    if owner is not None:
        draft.count(owner, failed_tasks=owner.failed_tasks + 1)
