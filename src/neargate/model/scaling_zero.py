"""Scaling to zero while nobody asks, and back on the first request: beyond AWS, opted into by an attribute of
the service's target group. Pure.

Called by control/autoscaling_zero. The data plane holds the request that finds no target, and writes
TargetGroup.woken_at; it also writes last_request_at, about when traffic was last seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from neargate.model.balancer import TargetGroup
from neargate.model.balancer_rules_attributes import IDLE_SECONDS, SCALE_TO_ZERO, all_of
from neargate.model.scaling import ScalableTarget
from neargate.model.service import Service

_HELD: Final = 60.0
"""A request is not held for longer: an older one wakes nobody."""


@dataclass(frozen=True, slots=True)
class Wake:
    desired: int
    group: TargetGroup


@dataclass(frozen=True, slots=True)
class Sleep:
    idle: int
    """Seconds for which there was no request."""
    group: TargetGroup


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing to do before a moment."""

    at: float


def opted_in(group: TargetGroup) -> bool:
    return group.attributes.get(SCALE_TO_ZERO) == "true"


def groups_of(service: Service) -> list[str]:
    """ARNs of the groups that traffic of a service comes by."""
    found: list[str] = []
    for balancer in service.body.get("loadBalancers") or ():
        found.append(balancer.get("targetGroupArn") or "")
        found.append((balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn") or "")
    return [arn for arn in dict.fromkeys(found) if arn]


def decide(
    service: Service, groups: Sequence[TargetGroup], target: ScalableTarget | None, now: float
) -> Wake | Sleep | Later | None:
    """What to do with a service; groups -- those of it that opted in.

    Its scalable target, if it has one, is kept to: a minimum above zero keeps it from sleeping. So does a
    deployment; and once it is steady it has as long as ever to be asked for something.
    """
    if service.status != "ACTIVE" or not groups:
        return None
    if service.desired_count == 0:
        asked = [g for g in groups if g.woken_at is not None and now - g.woken_at < _HELD]
        least = target.minimum if target is not None else 0
        most = target.maximum if target is not None else 1
        return Wake(max(1, least), asked[0]) if asked and most > 0 else None
    if service.steady_at is None or (target is not None and target.minimum > 0):
        return None
    idle = max(_idle_seconds(group) for group in groups)
    since = max(service.changed_at, service.steady_at, *(_last(group) for group in groups))
    if now < since + idle:
        return Later(since + idle)
    return Sleep(idle, groups[0])


def _idle_seconds(group: TargetGroup) -> int:
    return int(all_of(group)[IDLE_SECONDS])


def _last(group: TargetGroup) -> float:
    return max(group.created_at, group.last_request_at or 0.0, group.woken_at or 0.0)
