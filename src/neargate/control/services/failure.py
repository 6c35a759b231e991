"""How a deployment begins, and how it may fail: the circuit breaker, alarms, somebody who stops it; and the
way back.

Called by rollout.py and shifting.py.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.control.services.draft import Draft
from neargate.control.services.listeners import lead, pair
from neargate.control.services.snapshot import alarm_names
from neargate.model.deployments import breaker, events
from neargate.model.deployments.shift import PRODUCTION, TEST
from neargate.model.service import REVISION_MEMBERS, Deployment, ServiceDeployment, ServiceRevision

_BREAKER = "ECS deployment circuit breaker: "
_ALARM = "ECS deployment alarm: "
_START_FAILED = "tasks failed to start."
_STOPPED = "The deployment was stopped by a user."
_ASKED = frozenset(("PENDING", "STOP_REQUESTED", "ROLLBACK_REQUESTED"))
"""What callers make a deployment that nothing was done for yet."""


def begin(draft: Draft) -> None:
    """Take up a deployment that was asked for."""
    primary = draft.primary
    resolve(draft, primary)
    process = draft.process_of(primary)
    if process is None or process.started_at is not None or process.status not in _ASKED:
        return
    _lead_back(draft, 100.0 if process.strategy == "ROLLING" else 0.0)
    if process.status != "PENDING":
        return
    reason = f"ECS deployment {primary.id} in progress."
    primary = draft.change(primary, rollout_reason=reason)
    draft.tell_deployment(primary, "SERVICE_DEPLOYMENT_IN_PROGRESS", reason)
    watched = alarm_names(process)
    draft.process(
        process,
        status="IN_PROGRESS",
        started_at=draft.now,
        alarms_enabled=bool(watched) and not draft.snapshot.ringing & set(watched),
        breaker_threshold=breaker.threshold(draft.service.desired_count, _breaker(draft)),
    )


def _lead_back(draft: Draft, percent: float) -> None:
    """Traffic that a deployment has left half way goes to what served before it, however this one goes on: a
    rolling update is in the same group, any other in the other one."""
    if any(d.rollout_state != "COMPLETED" for d in draft.service.deployments[1:]):
        lead(draft, PRODUCTION, percent)
        lead(draft, TEST, percent)


def resolve(draft: Draft, deployment: Deployment) -> None:
    """Choose the target group of each load balancer of a new revision: of two, the one that is not in use."""
    revision = draft.revisions.get(deployment.revision_arn)
    if revision is None or revision.groups or not revision.body.get("loadBalancers"):
        return
    before = base(draft)
    serving = draft.revisions.get(before.revision_arn) if before is not None else None
    in_use = set(serving.groups) if serving is not None else set()
    process = draft.process_of(deployment)
    shifting = process is not None and process.strategy != "ROLLING"
    groups = tuple(_group(balancer, in_use, shifting) for balancer in revision.body["loadBalancers"])
    draft.revisions[revision.arn] = replace(revision, groups=groups)


def base(draft: Draft) -> Deployment | None:
    """What served before the PRIMARY deployment: the last that was COMPLETED; else the newest that has a
    healthy task, or is there at all."""
    older = draft.service.deployments[1:]
    good = next((d for d in older if d.good), None)
    if good is not None:
        return good
    serving = {task.started_by for task in draft.live() if task.healthy_at is not None}
    return next((d for d in older if d.id in serving), next(iter(older), None))


def _group(balancer: Mapping[str, Any], in_use: set[str], shifting: bool) -> str:
    """A rolling update stays in the group that serves; a shifting one takes the other."""
    both = pair(balancer)
    if both is None:
        return str(balancer["targetGroupArn"])
    first, second = both
    return second if (first if shifting else second) in in_use else first


def _breaker(draft: Draft) -> Mapping[str, Any]:
    found: Mapping[str, Any] = draft.configuration.get("deploymentCircuitBreaker") or {}
    return found


def check(draft: Draft) -> bool:
    """End the deployment under way if it has failed, or if somebody asked for its end. Whether it was."""
    primary = draft.primary
    process = draft.process_of(primary)
    if process is None or primary.rollout_state != "IN_PROGRESS":
        return False
    if process.stage == "CLEAN_UP":  # what it would go back to is on its way out
        draft.process(process, status="IN_PROGRESS")
        return False
    given = _breaker(draft)
    threshold = breaker.threshold(draft.service.desired_count, given)
    if process.status != "ROLLBACK_IN_PROGRESS":  # what made it fail stays on record
        process = draft.process(process, breaker_failures=primary.failed_tasks, breaker_threshold=threshold)
    if process.status == "STOP_REQUESTED":
        end(draft, process, _STOPPED, back=False)
    elif process.status == "ROLLBACK_REQUESTED":
        end(draft, process, _STOPPED, back=True)
    elif given.get("enable") and primary.failed_tasks >= threshold:
        end(draft, process, _BREAKER + _START_FAILED, back=bool(given.get("rollback")))
    elif ringing := _ringing(draft, process):
        process = draft.process(process, triggered_alarms=ringing)
        back = bool(process.configuration.get("alarms", {}).get("rollback"))
        end(draft, process, f"{_ALARM}alarm detected: {', '.join(ringing)}.", back=back)
    else:
        return False
    return True


def _ringing(draft: Draft, process: ServiceDeployment) -> tuple[str, ...]:
    if not process.alarms_enabled or process.status != "IN_PROGRESS":
        return ()
    return tuple(name for name in alarm_names(process) if name in draft.snapshot.ringing)


def end(draft: Draft, process: ServiceDeployment, reason: str, *, back: bool) -> None:
    """The PRIMARY deployment has failed: it starts no more tasks. back -- to the last that was COMPLETED."""
    failed = draft.change(draft.primary, rollout_state="FAILED", rollout_reason=reason)
    said = reason.removeprefix(_BREAKER).removeprefix(_ALARM)
    draft.say(events.failed(draft.name, failed.id, said))
    draft.tell_deployment(failed, "SERVICE_DEPLOYMENT_FAILED", reason)
    good = next((d for d in draft.service.deployments[1:] if d.good), None)
    again = process.status == "ROLLBACK_IN_PROGRESS"
    if not back or good is None or again:
        draft.process(
            process,
            status="ROLLBACK_FAILED" if again or back else "STOPPED",
            status_reason=reason,
            stopped_at=draft.now,
            finished_at=draft.now,
        )
        return
    roll_back(draft, process, good, reason)


def roll_back(draft: Draft, process: ServiceDeployment, good: Deployment, reason: str) -> None:
    """Make the deployment that was COMPLETED last the PRIMARY one again."""
    failed = draft.primary
    draft.process(
        process,
        status="ROLLBACK_IN_PROGRESS",
        status_reason=reason,
        rollback_revision=good.revision_arn,
        rollback_reason=reason,
        rollback_started_at=draft.now,
        paused=None,
        bake_until=None,
        stage="",
        traffic=0.0,
    )
    prefix = _BREAKER if reason.startswith(_BREAKER) else ""
    primary = replace(
        good,
        status="PRIMARY",
        process_arn=process.arn,
        desired=draft.service.desired_count,
        rollout_state="IN_PROGRESS",
        restored=True,
        rollout_reason=f"{prefix}rolling back to deploymentId {good.id}.",
        failed_tasks=0,
        failed_starts=0,
        start_after=0.0,
        updated_at=draft.now,
    )
    rest = [d for d in draft.service.deployments if d.id not in (failed.id, good.id)]
    draft.arrange([primary, replace(failed, status="ACTIVE", desired=0), *rest])
    revision = draft.revisions.get(good.revision_arn)
    draft.service = replace(
        draft.service,
        definition_arn=good.definition_arn,
        revision_arn=good.revision_arn,
        body=draft.service.body if revision is None else _body(draft.service.body, revision),
        steady_at=None,
    )
    if process.strategy != "ROLLING":
        lead(draft, PRODUCTION, 100.0)
        lead(draft, TEST, 100.0)
    draft.say(events.rolling_back(draft.name, good.id))


def _body(body: Mapping[str, Any], revision: ServiceRevision) -> dict[str, Any]:
    """The service as its tasks are made now."""
    rest = {name: value for name, value in body.items() if name not in REVISION_MEMBERS}
    return {**rest, **{name: revision.body[name] for name in REVISION_MEMBERS if name in revision.body}}


def baked(draft: Draft) -> bool:
    """Whether a deployment that has come through has also stood for its bake time, under its alarms."""
    process = draft.process_of(draft.primary)
    if process is None or process.status != "IN_PROGRESS":
        return True
    if process.bake_until is None:
        minutes = process.configuration.get("bakeTimeInMinutes") or 0
        if not minutes:
            return True
        process = draft.process(process, bake_until=draft.now + 60.0 * minutes)
    draft.wake(process.bake_until)
    return process.bake_until is not None and process.bake_until <= draft.now
