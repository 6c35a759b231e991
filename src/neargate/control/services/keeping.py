"""Carrying out what the rules of rolling updates decide: tasks of deployments started and stopped.

Called by rollout.py, shifting.py and task_sets.py.
"""

from collections.abc import Sequence

from neargate.control.services import templates
from neargate.control.services.draft import Draft
from neargate.control.services.ended import Seen, failed_start, stop_unhealthy
from neargate.kit.clock import passed
from neargate.model.deployments import breaker, rolling
from neargate.model.service import Deployment


def carry_out(draft: Draft, wanted: rolling.Wanted, seen: Sequence[Seen]) -> bool:
    decision = rolling.plan(wanted, [s.copy for s in seen])
    by_arn = {s.task.arn: s for s in seen}
    for copy in decision.unhealthy:
        stop_unhealthy(draft, by_arn[copy.arn])
    draft.stop_scaled([by_arn[c.arn].task for c in decision.stops], wanted.primary)
    for deployment in draft.service.deployments:
        if deployment.id in decision.held and deployment.id != wanted.primary:
            draft.change(deployment, desired=decision.held[deployment.id])
    by_deployment: dict[str, list[str]] = {}
    for id, zone in decision.starts:
        by_deployment.setdefault(id, []).append(zone)
    for id, chosen in by_deployment.items():
        _start(draft, id, chosen)
    return bool(decision.starts or decision.stops or decision.unhealthy)


def _start(draft: Draft, id: str, chosen: Sequence[str]) -> None:
    template, owner = templates.of_owner(draft, id), draft.owner(id)
    if owner is not None and breaker.doubtful(owner.failed_starts):
        chosen = chosen[:1]  # whether one runs is to be seen first
    if template is None or not templates.start(draft, template, chosen):
        failed_start(draft, id)


def aim(draft: Draft) -> Deployment:
    """The PRIMARY deployment, with the service's desired count as its own."""
    if draft.primary.desired != draft.service.desired_count:
        draft.tell_action("SERVICE_DESIRED_COUNT_UPDATED")
    return draft.change(draft.primary, desired=draft.service.desired_count)


def may_start(draft: Draft) -> frozenset[str]:
    """Deployments and task sets that need not wait after tasks of theirs that never ran."""
    ready = set()
    for owner in draft.owners():
        wait = owner.start_after - owner.failed_start_at
        if not owner.start_after or passed(owner.failed_start_at, wait, draft.now):
            ready.add(owner.id)
        else:
            draft.wake(owner.start_after)
    return frozenset(ready)


def up(draft: Draft, deployment: Deployment, seen: Sequence[Seen]) -> bool:
    """Whether a deployment has all of its tasks, running, and healthy as far as anything tells.

    Without any check a task that runs will do; but where failures are counted it must have gone on running
    for a while.
    """
    own = [s for s in seen if s.copy.deployment == deployment.id]
    counted = bool((draft.configuration.get("deploymentCircuitBreaker") or {}).get("enable"))
    return len(own) == deployment.desired and all(
        s.copy.healthy if s.checked or counted else s.copy.running for s in own
    )
