"""A deployment of a strategy that shifts traffic: BLUE_GREEN, LINEAR, CANARY.

Called by rollout.py while one is under way. Its stages are in model/deployments/shift.py; here they become
tasks of both revisions, and weights of the listeners' rules.
"""

from collections.abc import Sequence

from neargate.control.services import failure, templates
from neargate.control.services.draft import Draft
from neargate.control.services.ended import Seen
from neargate.control.services.keeping import aim, carry_out, may_start, up
from neargate.control.services.listeners import faults, lead
from neargate.kit.clock import passed
from neargate.model.deployments import rolling, shift
from neargate.model.deployments.copies import limits
from neargate.model.deployments.shift import PRODUCTION, TEST
from neargate.model.service import Deployment, ServiceDeployment


def under_way(draft: Draft) -> ServiceDeployment | None:
    """The process that shifts the service's traffic now, if one does."""
    process = draft.process_of(draft.primary)
    if process is None or process.strategy == "ROLLING" or process.status != "IN_PROGRESS":
        return None
    return process if draft.primary.rollout_state == "IN_PROGRESS" else None


def go_on(draft: Draft, seen: Sequence[Seen], process: ServiceDeployment) -> bool:
    """Whether anything was started or stopped, or is still to be done before the deployment is over."""
    green, blue = aim(draft), failure.base(draft)
    both = {green.id, blue.id if blue is not None else ""}
    world = shift.World(
        crowded=any(s.copy.deployment not in both for s in seen),
        up=up(draft, green, seen),
        faults=faults(draft),
    )
    step = shift.advance(process, world, draft.now)
    draft.wake(step.wake_at)
    if step.back:
        failure.end(draft, process, step.back, back=True)
        going_back(draft)
        return True
    _lead(draft, process, step.process)
    process = draft.process(process, **_fields(step.process))
    busy = False
    for deployment in draft.service.deployments:
        if deployment.id not in both and _led(draft, process.started_at):
            continue
        wanted = _wanted(deployment, green, blue, process)
        busy |= _keep(draft, deployment, wanted, [s for s in seen if s.copy.deployment == deployment.id])
    return busy or process.stage != "CLEAN_UP"


def _led(draft: Draft, since: float | None) -> bool:
    """Whether traffic may still be on its way to where it was led before that moment."""
    since = since or 0.0
    if passed(since, shift.FOLLOW_SECONDS, draft.now):
        return False
    draft.wake(since + shift.FOLLOW_SECONDS)
    return True


def going_back(draft: Draft) -> bool:
    """Whether traffic has been led back just now: what it had been led to runs on for a moment."""
    process = draft.process_of(draft.primary)
    if process is None or process.strategy == "ROLLING" or process.status != "ROLLBACK_IN_PROGRESS":
        return False
    return _led(draft, process.rollback_started_at)


def _fields(process: ServiceDeployment) -> dict[str, object]:
    names = ("stage", "stage_since", "traffic", "bake_until", "paused", "passed_hooks")
    return {name: getattr(process, name) for name in names}


def _wanted(
    deployment: Deployment, green: Deployment, blue: Deployment | None, process: ServiceDeployment
) -> int:
    """How many tasks a deployment is to have at this stage."""
    if deployment.id == green.id:
        return green.desired if shift.scaled_up(process) else 0
    if blue is not None and deployment.id == blue.id and process.stage != "CLEAN_UP":
        return green.desired
    return 0


def _keep(draft: Draft, deployment: Deployment, desired: int, seen: Sequence[Seen]) -> bool:
    if deployment.id != draft.primary.id:
        draft.change(deployment, desired=desired)
    wanted = rolling.Wanted(
        desired=desired,
        limits=limits(desired, 100, 200),
        primary=deployment.id,
        may_start=may_start(draft),
        zones=templates.zones_of(draft, deployment.id),
    )
    return carry_out(draft, wanted, seen)


def _lead(draft: Draft, before: ServiceDeployment, after: ServiceDeployment) -> None:
    """Lead the listeners to where the stage wants them, when it has changed."""
    fresh = not before.stage and failure.base(draft) is not None  # whatever was left half way
    if fresh or before.traffic != after.traffic:
        lead(draft, PRODUCTION, after.traffic)
    if fresh or shift.tested(before) != shift.tested(after):
        lead(draft, TEST, 100.0 if shift.tested(after) else 0.0)
