"""What is to become of one scalable target and its service. Pure.

Called by control/autoscaling with a snapshot, which carries the plan out. The arithmetic is in
model/scaling_decision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from neargate.kit.ids import Ids
from neargate.model import scaling_schedule
from neargate.model.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    activity_id,
)
from neargate.model.scaling_decision import Alarmed, Capacity, Scale, Stay, decide, within
from neargate.model.service import Service

_WAITING = "Successfully set desired count to {}. Waiting for change to be fulfilled by ecs."
_FULFILLED = "Successfully set desired count to {}. Change successfully fulfilled by ecs."
_OVERRIDDEN = "Successfully set desired count to {}. Found it was later changed to {}."


@dataclass(frozen=True, slots=True)
class Snapshot:
    target: ScalableTarget
    service: Service | None
    running: int
    policies: Sequence[ScalingPolicy]
    actions: Sequence[ScheduledAction]
    """All of the target's."""
    alarmed: Sequence[Alarmed]
    activity: ScalingActivity | None
    """The one that the service has yet to fulfil."""


@dataclass(slots=True)
class Plan:
    target: ScalableTarget | None
    """As it is to be; None: forgotten, with all that hangs on it."""
    desired: int | None = None
    """The service's new desired count, if it is to have another."""
    cause: str = ""
    acted: Alarmed | None = None
    """Whose alarm it is that scaled."""
    policies: list[ScalingPolicy] = field(default_factory=list)
    actions: list[ScheduledAction] = field(default_factory=list)
    activities: list[ScalingActivity] = field(default_factory=list)


def plan(snapshot: Snapshot, ids: Ids, now: float) -> Plan:
    service = snapshot.service
    if service is None or service.status == "INACTIVE":
        return Plan(None)
    made = Plan(snapshot.target)
    for action in sorted(_due(snapshot.actions, now), key=lambda it: it.due_at or 0.0):
        _run(made, action, ids, now)
    if service.status == "ACTIVE":
        _bind(made, service, ids, now)
        if made.desired is None:
            _follow_alarms(made, snapshot, service, ids, now)
        _conclude(made, snapshot, service, now)
    return made


def _due(actions: Iterable[ScheduledAction], now: float) -> list[ScheduledAction]:
    return [action for action in actions if action.due_at is not None and action.due_at <= now]


def _run(made: Plan, action: ScheduledAction, ids: Ids, now: float) -> None:
    """Carry out a scheduled action: it sets the bounds. One that was missed runs late, and once."""
    target = made.target
    assert target is not None
    made.actions.append(replace(action, due_at=scaling_schedule.due_after(action, now)))
    if target.suspended.scheduled:
        return
    minimum = target.minimum if action.minimum is None else action.minimum
    maximum = target.maximum if action.maximum is None else action.maximum
    said = f"min capacity to {minimum} and max capacity to {maximum}"
    cause = f"scheduled action name {action.name} was triggered"
    activity = _activity(target, ids, now, f"Setting {said}", cause)
    if minimum > maximum:
        wrong = "Maximum capacity cannot be less than minimum capacity"
        made.activities.append(replace(activity, status="Failed", message=wrong, ended_at=now))
        return
    done = replace(activity, status="Successful", message=f"Successfully set {said}", ended_at=now)
    made.activities.append(done)
    made.target = replace(target, minimum=minimum, maximum=maximum, bound=True)


def _bind(made: Plan, service: Service, ids: Ids, now: float) -> None:
    """Bring the desired count within bounds that were set."""
    target = made.target
    assert target is not None
    if not target.bound:
        return
    made.target = replace(target, bound=False)
    desired = within(target, service.desired_count)
    if desired == service.desired_count:
        return
    which, value = (
        ("minimum", target.minimum) if desired > service.desired_count else ("maximum", target.maximum)
    )
    _scale(made, desired, f"{which} capacity was set to {value}", ids, now)


def _follow_alarms(made: Plan, snapshot: Snapshot, service: Service, ids: Ids, now: float) -> None:
    target = made.target
    assert target is not None
    capacity = Capacity(service.desired_count, snapshot.running, deploying(service))
    decision = decide(target, snapshot.policies, snapshot.alarmed, capacity, now)
    if decision is None:
        return
    by = decision.alarmed
    cause = f"monitor alarm {by.alarm} in state ALARM triggered policy {by.policy.name}"
    if isinstance(decision, Scale):
        made.acted = by
        made.policies.append(replace(by.policy, acted_at=now, not_scaled=""))
        made.target = replace(target, cooling=decision.cooling)
        _scale(made, decision.capacity, cause, ids, now)
    elif by.policy.not_scaled != decision.reason["Code"]:
        made.policies.append(replace(by.policy, not_scaled=decision.reason["Code"]))
        made.activities.append(_not_scaled(target, decision, cause, ids, now))


def deploying(service: Service) -> bool:
    return bool(service.deployments) and service.deployments[0].rollout_state == "IN_PROGRESS"


def _scale(made: Plan, desired: int, cause: str, ids: Ids, now: float) -> None:
    assert made.target is not None
    activity = activity_of(made.target, desired, cause, ids, now)
    made.desired, made.cause = desired, cause
    made.activities.append(activity)
    made.target = replace(made.target, activity=activity_id(activity))


def activity_of(target: ScalableTarget, desired: int, cause: str, ids: Ids, now: float) -> ScalingActivity:
    """The activity that a new desired count is, until the service has fulfilled it."""
    activity = _activity(target, ids, now, f"Setting desired count to {desired}.", cause)
    return replace(activity, capacity=desired, message=_WAITING.format(desired))


def _not_scaled(target: ScalableTarget, stay: Stay, cause: str, ids: Ids, now: float) -> ScalingActivity:
    activity = _activity(target, ids, now, "Attempting to scale due to alarm triggered", cause)
    return replace(activity, status="Failed", ended_at=now, not_scaled=stay.reason)


def _activity(target: ScalableTarget, ids: Ids, now: float, description: str, cause: str) -> ScalingActivity:
    return ScalingActivity(
        account=target.account,
        region=target.region,
        id=ids.uuid(),
        resource_id=target.resource_id,
        description=description,
        cause=cause,
        status="InProgress",
        started_at=now,
    )


def _conclude(made: Plan, snapshot: Snapshot, service: Service, now: float) -> None:
    """End the activity that was waited for: fulfilled, or overridden by another count."""
    open_ = snapshot.activity
    if open_ is None or made.target is None or open_.status != "InProgress":
        return
    desired = service.desired_count if made.desired is None else made.desired
    if desired != open_.capacity:
        made.activities.append(overridden(open_, desired, now))
    elif made.desired is None and snapshot.running == desired and service.steady_at is not None:
        said = _FULFILLED.format(desired)
        made.activities.append(replace(open_, status="Successful", message=said, ended_at=now))
    else:
        return
    if made.target.activity == activity_id(open_):
        made.target = replace(made.target, activity="")


def overridden(activity: ScalingActivity, desired: int, now: float) -> ScalingActivity:
    """An activity that another count came in the way of."""
    said = _OVERRIDDEN.format(activity.capacity, desired)
    return replace(activity, status="Overridden", message=said, ended_at=now)


def message(plan: Plan) -> str:
    """What the service's events say of a new desired count."""
    return f"Message: {_WAITING.format(plan.desired)} Cause: {plan.cause}"
