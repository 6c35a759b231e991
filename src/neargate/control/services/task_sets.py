"""Task sets, the deployments of a service whose deployment controller is EXTERNAL: each keeps its share.

Called by plan.py.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from neargate.control.services import templates
from neargate.control.services.draft import Draft
from neargate.control.services.ended import Seen
from neargate.control.services.keeping import carry_out, may_start
from neargate.model.deployments import events, rolling
from neargate.model.deployments.copies import computed, limits
from neargate.model.service import TaskSet


def go_on(draft: Draft, seen: Sequence[Seen]) -> None:
    for task_set in list(draft.task_sets.values()):
        _keep(draft, task_set, [s for s in seen if s.copy.deployment == task_set.id])


def _keep(draft: Draft, task_set: TaskSet, seen: Sequence[Seen]) -> None:
    deleted = task_set.status == "DRAINING"
    desired = 0 if deleted else computed(draft.service.desired_count, task_set.scale)
    wanted = rolling.Wanted(
        desired=desired,
        limits=limits(desired, 100, 200),
        primary=task_set.id,
        may_start=may_start(draft),
        zones=templates.zones_of(draft, task_set.id),
    )
    busy = carry_out(draft, wanted, seen)
    left = any(t.started_by == task_set.id and not t.accounted for t in draft.tasks.values())
    if deleted and not left:
        del draft.task_sets[task_set.arn]
        return
    steady = not busy and len(seen) == desired and all(_well(s) for s in seen)
    _note(draft, draft.task_sets[task_set.arn], steady)


def _well(seen: Seen) -> bool:
    return seen.copy.healthy if seen.checked else seen.copy.running


def _note(draft: Draft, task_set: TaskSet, steady: bool) -> None:
    stability = "STEADY_STATE" if steady else "STABILIZING"
    if task_set.stability == stability:
        return
    draft.task_sets[task_set.arn] = replace(task_set, stability=stability, stability_at=draft.now)
    if steady:
        draft.say(events.task_set_steady(draft.name, task_set.id))
        draft.tell_action("TASKSET_STEADY_STATE")
