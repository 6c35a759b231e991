"""How far a service is to be scaled, given its policies and those of their alarms that are in ALARM. Pure.

Called by control/autoscaling. Out if any policy wants out, the largest wish wins; in only if all target
tracking policies that may scale in agree, and nobody wants out. AWS does not document target tracking's
arithmetic; here it is proportional: running x metric / target, rounded up, and in by half at most at once.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.model.scaling import Cooling, Direction, ScalableTarget, ScalingPolicy, Step, Steps


@dataclass(frozen=True, slots=True)
class Capacity:
    desired: int
    running: int
    deploying: bool = False
    """A deployment goes on: nothing is scaled in meanwhile."""


@dataclass(frozen=True, slots=True)
class Alarmed:
    """An alarm of a policy that is in ALARM."""

    policy: ScalingPolicy
    alarm: str
    """Its name."""
    value: float | None
    """The metric's newest value; None if it has none."""
    recent: float | None = None
    """The highest of the last few, which scaling in counts with."""
    threshold: float = 0.0
    above: bool = True
    """It is in ALARM because the metric is above its threshold, not below."""
    due: bool = True
    """It may act now; it has not since its last moment."""


@dataclass(frozen=True, slots=True)
class Scale:
    capacity: int
    alarmed: Alarmed
    cooling: Cooling


@dataclass(frozen=True, slots=True)
class Stay:
    """An alarm asks for something that is not done."""

    alarmed: Alarmed
    reason: dict[str, Any]
    """The NotScaledReason, in AWS's member names."""


@dataclass(frozen=True, slots=True)
class _Wish:
    alarmed: Alarmed
    wanted: int
    base: int
    cooldown: int


def decide(
    target: ScalableTarget,
    policies: Iterable[ScalingPolicy],
    alarmed: Sequence[Alarmed],
    capacity: Capacity,
    now: float,
) -> Scale | Stay | None:
    """What to do; None: nothing, and nothing to tell (cooling down, suspended, no data).

    policies -- all of the target; alarmed -- their alarms that are in ALARM, whether they are due or not.
    """
    out = [wish for it in alarmed if (wish := _out(target, it, capacity, now)) is not None]
    if out or any(_high(it) for it in alarmed):
        if target.suspended.scale_out:
            return None
        due = [wish for wish in out if wish.alarmed.due]
        return _scaled_out(target, max(due, key=lambda w: w.wanted), capacity, now) if due else None
    cooling = target.cooling is not None and target.cooling.runs(now)
    if target.suspended.scale_in or capacity.deploying or cooling:
        return None
    wishes = _in(policies, alarmed, capacity)
    due = [wish for wish in wishes if wish.alarmed.due]
    return _scaled_in(target, max(due, key=lambda w: w.wanted), capacity, now) if due else None


def _high(alarmed: Alarmed) -> bool:
    """A target tracking policy's high alarm: whatever comes of it, nothing is scaled in."""
    return alarmed.policy.tracking is not None and alarmed.above


def _out(target: ScalableTarget, it: Alarmed, capacity: Capacity, now: float) -> _Wish | None:
    """The wish for more than the service has; None if there is none."""
    if it.value is None:
        return None
    cooling = target.cooling
    base = cooling.base if cooling is not None and cooling.direction == "out" and cooling.runs(now) else None
    wish = _tracked_out(target, it, it.value, base, capacity) or _stepped(it, it.value, base, capacity)
    return wish if wish is not None and wish.wanted > capacity.desired else None


def _tracked_out(
    target: ScalableTarget, it: Alarmed, value: float, base: int | None, capacity: Capacity
) -> _Wish | None:
    tracking = it.policy.tracking
    if tracking is None or not it.above or value <= tracking.target:
        return None
    if capacity.desired == 0:
        return _Wish(it, max(1, target.minimum), 0, tracking.out_cooldown)
    counted = capacity.running if base is None else min(base, capacity.running)
    return _Wish(it, _proportional(counted, value, tracking.target), counted, tracking.out_cooldown)


def _stepped(it: Alarmed, value: float, base: int | None, capacity: Capacity) -> _Wish | None:
    steps = it.policy.steps
    step = step_for(steps.steps, value - it.threshold, it.above) if steps is not None else None
    if steps is None or step is None:
        return None
    counted = capacity.desired if base is None else base
    return _Wish(it, adjusted(steps, step.adjustment, counted), counted, steps.cooldown)


def _scaled_out(target: ScalableTarget, wish: _Wish, capacity: Capacity, now: float) -> Scale | Stay:
    if capacity.desired >= target.maximum:
        return Stay(wish.alarmed, {"Code": "AlreadyAtMaxCapacity", "MaxCapacity": target.maximum})
    wanted = min(max(wish.wanted, target.minimum), target.maximum)
    return Scale(wanted, wish.alarmed, _cooling(wish, "out", now))


def _in(policies: Iterable[ScalingPolicy], alarmed: Sequence[Alarmed], capacity: Capacity) -> list[_Wish]:
    tracked = [wish for it in alarmed if (wish := _tracked_in(it, capacity)) is not None]
    agreed = {wish.alarmed.policy.name for wish in tracked}
    asked = {p.name for p in policies if p.tracking is not None and p.tracking.scale_in}
    found = [max(tracked, key=lambda wish: wish.wanted)] if tracked and agreed == asked else []
    for it in alarmed:
        wish = _stepped(it, it.value, None, capacity) if it.value is not None else None
        if wish is not None and wish.wanted < capacity.desired:
            found.append(wish)
    return found


def _tracked_in(it: Alarmed, capacity: Capacity) -> _Wish | None:
    tracking = it.policy.tracking
    if tracking is None or not tracking.scale_in or it.above or it.recent is None:
        return None
    wanted = _proportional(capacity.running, it.recent, tracking.target)
    half = capacity.desired - max(1, capacity.desired // 2)
    return _Wish(it, max(wanted, half, 0), capacity.running, tracking.in_cooldown)


def _scaled_in(target: ScalableTarget, wish: _Wish, capacity: Capacity, now: float) -> Scale | Stay:
    if capacity.desired <= target.minimum:
        return Stay(wish.alarmed, {"Code": "AlreadyAtMinCapacity", "MinCapacity": target.minimum})
    if wish.wanted >= capacity.desired:
        # One task less, and the metric would be above the target.
        reason = {"Code": "AutoScalingAnticipatedFlapping", "CurrentCapacity": capacity.desired}
        return Stay(wish.alarmed, reason)
    wanted = min(max(wish.wanted, target.minimum), target.maximum)
    return Scale(wanted, wish.alarmed, _cooling(wish, "in", now))


def _cooling(wish: _Wish, direction: Direction, now: float) -> Cooling:
    return Cooling(direction=direction, at=now, seconds=wish.cooldown, base=wish.base)


def _proportional(count: int, value: float, target: float) -> int:
    share = count * max(value, 0.0) / target
    # Not more by an error of floating point; not without end either.
    return math.ceil(round(min(share, 1e9), 9))


def step_for(steps: Iterable[Step], breach: float, above: bool) -> Step | None:
    """The step whose interval holds the metric's distance from the threshold. At its ends an interval holds
    the one that is nearer to the threshold."""
    holds: Callable[[float, float], bool]
    holds = (lambda low, high: low <= breach < high) if above else (lambda low, high: low < breach <= high)
    for step in steps:
        low = -math.inf if step.lower is None else step.lower
        high = math.inf if step.upper is None else step.upper
        if holds(low, high):
            return step
    return None


def aggregated(steps: Steps, values: Sequence[float]) -> float:
    """The value that a step is chosen by, of the alarm's newest data points."""
    if steps.aggregation == "Average":
        return math.fsum(values) / len(values)
    return min(values) if steps.aggregation == "Minimum" else max(values)


def adjusted(steps: Steps, adjustment: int, count: int) -> int:
    """The capacity after a step's adjustment, not below 0."""
    if steps.adjustment_type == "ExactCapacity":
        return adjustment
    change = float(adjustment)
    if steps.adjustment_type == "PercentChangeInCapacity":
        change = count * adjustment / 100
        # As AWS rounds: towards zero, but never to it.
        size = max(1 if change else 0, math.floor(abs(change)), steps.min_magnitude or 0 if adjustment else 0)
        change = math.copysign(size, adjustment)
    return max(0, count + int(change))


def within(target: ScalableTarget, desired: int) -> int:
    """The desired count brought within the bounds."""
    return min(max(desired, target.minimum), target.maximum)
