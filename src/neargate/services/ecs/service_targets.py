"""The load balancing that a service names: its target groups and rules exist, and fit tasks on Fargate.

Called by service_workload.py. The records are those of services/elbv2, read through the store.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.balancer import TargetGroup
from neargate.model.deployments.shift import PRODUCTION, TEST
from neargate.model.record import Scope
from neargate.services.ecs import names
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.listeners import routing
from neargate.state.store import Tx


def check_targets(tx: Tx, scope: Scope, balancers: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameterException with AWS's words."""
    for balancer in balancers:
        advanced = balancer.get("advancedConfiguration", {})
        groups = [balancer["targetGroupArn"]]
        if advanced.get("alternateTargetGroupArn"):
            groups.append(advanced["alternateTargetGroupArn"])
        for arn in groups:
            _check_group(arn, _owned(scope, tx.get(TARGET_GROUP, arn)))
        for member in (PRODUCTION, TEST):
            if advanced.get(member):
                _check_rule(tx, scope, member, advanced[member])


def _owned(scope: Scope, group: TargetGroup | None) -> TargetGroup | None:
    mine = group is not None and (group.account, group.region) == (scope.account, scope.region)
    return group if mine else None


def _check_group(arn: str, group: TargetGroup | None) -> None:
    if group is None:
        raise names.invalid(f"The target group with targetGroupArn {arn[:300]} does not exist.")
    if group.target_type != "ip":
        raise names.invalid(
            f"The provided target group {arn} has target type {group.target_type}, which is incompatible with"
            " the awsvpc network mode specified in the task definition."
        )
    if not group.balancer_arns:
        raise names.invalid(
            f"The target group with targetGroupArn {arn} does not have an associated load balancer."
        )


def _check_rule(tx: Tx, scope: Scope, member: str, arn: str) -> None:
    """A rule of an Application Load Balancer, or a listener of a Network Load Balancer."""
    found = routing(tx, arn)
    if found is None or (found.account, found.region) != (scope.account, scope.region):
        raise names.invalid(f"The {member} {arn[:300]} does not exist.")
