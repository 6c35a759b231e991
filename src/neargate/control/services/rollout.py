"""A service on its way to its PRIMARY deployment, and at rest there: ROLLING.

Called by plan.py with how the tasks do. How a deployment begins and fails is in failure.py.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from neargate.control.services import failure, shifting, templates
from neargate.control.services.draft import Draft
from neargate.control.services.ended import Seen
from neargate.control.services.keeping import aim, carry_out, may_start, up
from neargate.model.deployments import events, rolling
from neargate.model.deployments.copies import configured


def go_on(draft: Draft, seen: Sequence[Seen]) -> None:
    if not draft.service.deployments:
        return
    failure.begin(draft)
    failure.check(draft)
    process = shifting.under_way(draft)
    if process is not None:
        busy = shifting.go_on(draft, seen, process)
    else:
        busy = shifting.going_back(draft) or keep(draft, seen)
    _finish(draft, seen, busy)
    _forget(draft, seen)
    rest(draft, seen, busy)


def keep(draft: Draft, seen: Sequence[Seen]) -> bool:
    """Start and stop tasks as the rules of rolling updates say. Whether any was."""
    primary = aim(draft)
    older = draft.service.deployments[1:]
    wanted = rolling.Wanted(
        desired=primary.desired,
        limits=configured(primary.desired, draft.configuration),
        primary=primary.id,
        may_start=may_start(draft),
        failed=primary.rollout_state == "FAILED",
        held={d.id: 0 if d.rollout_state == "FAILED" else d.desired for d in older},
        zones=templates.zones_of(draft, primary.id),
        rebalance=_rebalances(draft),
    )
    busy = carry_out(draft, wanted, seen)
    _complain(draft, not busy and rolling.blocked(wanted, [s.copy for s in seen]))
    return busy


def _complain(draft: Draft, blocked: bool) -> None:
    """Say that the deployment configuration leaves no room, and again every six hours."""
    since = draft.service.blocked_at
    if not blocked:
        if since is not None:
            draft.service = replace(draft.service, blocked_at=None)
        return
    if since is None or since + events.REPEATED_AFTER <= draft.now:
        since = draft.now
        draft.service = replace(draft.service, blocked_at=since)
        draft.say(events.blocked(draft.name))
    draft.wake(since + events.REPEATED_AFTER)


def _rebalances(draft: Draft) -> bool:
    return (
        draft.service.body.get("availabilityZoneRebalancing") == "ENABLED"
        and draft.primary.rollout_state == "COMPLETED"
    )


def _finish(draft: Draft, seen: Sequence[Seen], busy: bool) -> None:
    """COMPLETED: all tasks are of the PRIMARY deployment, and do well; and no alarm rang while it baked."""
    primary = draft.primary
    if primary.rollout_state != "IN_PROGRESS" or busy or not up(draft, primary, seen):
        return
    if any(s.copy.deployment != primary.id for s in seen):
        return
    if shifting.under_way(draft) is not None or failure.baked(draft):
        complete(draft)


def complete(draft: Draft) -> None:
    primary = draft.primary
    reason = f"ECS deployment {primary.id} completed."
    primary = draft.change(primary, rollout_state="COMPLETED", rollout_reason=reason)
    draft.say(events.completed(draft.name, primary.id))
    draft.tell_deployment(primary, "SERVICE_DEPLOYMENT_COMPLETED", reason)
    process = draft.process_of(primary)
    if process is not None:
        rolled_back = process.status == "ROLLBACK_IN_PROGRESS"
        draft.process(
            process,
            status="ROLLBACK_SUCCESSFUL" if rolled_back else "SUCCESSFUL",
            finished_at=draft.now,
            bake_until=None,
        )


def _forget(draft: Draft, seen: Sequence[Seen]) -> None:
    """Older deployments without tasks are INACTIVE: no longer listed. Until the PRIMARY one is COMPLETED the
    last one that was stays, to be rolled back to."""
    primary, *older = draft.service.deployments
    busy = {s.copy.deployment for s in seen if draft.tasks[s.task.arn].desired_status == "RUNNING"}
    busy |= {start.order.started_by for start in draft.starts if start.order.started_by}
    kept, done = [primary], primary.rollout_state == "COMPLETED"
    for deployment in older:
        last_good = not done and deployment.good
        done = done or last_good
        if deployment.id in busy or last_good:
            kept.append(deployment)
    draft.arrange(kept)


def rest(draft: Draft, seen: Sequence[Seen], busy: bool) -> None:
    """Say that the service is steady when it has come to rest, and again every six hours."""
    primary, service = draft.primary, draft.service
    steady = (
        primary.rollout_state == "COMPLETED"
        and not busy
        and len(service.deployments) == 1
        and len(seen) == service.desired_count
        and all(s.copy.running and not s.copy.bad for s in seen)
    )
    if not steady:
        if service.steady_at is not None:
            draft.service = replace(service, steady_at=None)
        return
    if service.steady_at is None or service.steady_at + events.REPEATED_AFTER <= draft.now:
        draft.service = replace(service, steady_at=draft.now)
        draft.say(events.steady(draft.name))
        draft.tell_action("SERVICE_STEADY_STATE")
    draft.wake((draft.service.steady_at or draft.now) + events.REPEATED_AFTER)
