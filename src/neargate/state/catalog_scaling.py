"""Kinds of the records of Application Auto Scaling, like catalog.py; and how they are forgotten together.

Imported by services/application_autoscaling and control/autoscaling.
"""

from typing import Any

from neargate.model.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    activity_id,
    part_id,
    target_id,
)
from neargate.state.catalog import minute
from neargate.state.catalog_alarms import ALARM
from neargate.state.store import Kind, Tx


def _owner(record: Any) -> str:
    return target_id(record.account, record.region, record.resource_id)


SCALABLE_TARGET = Kind(
    "scalable-target",
    ScalableTarget,
    _owner,
    {
        "arn": lambda r: r.arn,
        "service": lambda r: r.service_arn,
        "bound": lambda r: "yes" if r.bound else None,
    },
)
SCALING_POLICY = Kind(
    "scaling-policy",
    ScalingPolicy,
    lambda r: part_id(r.account, r.region, r.resource_id, r.name),
    {"target": _owner, "arn": lambda r: r.arn},
)
SCHEDULED_ACTION = Kind(
    "scheduled-action",
    ScheduledAction,
    lambda r: part_id(r.account, r.region, r.resource_id, r.name),
    {"target": _owner, "due": lambda r: None if r.due_at is None else minute(r.due_at)},
)
SCALING_ACTIVITY = Kind(
    "scaling-activity",
    ScalingActivity,
    activity_id,
    {
        "target": _owner,
        "account": lambda r: f"{r.account}/{r.region}",
        "minute": lambda r: minute(r.started_at),
    },
)


def forget_policy(tx: Tx, policy: ScalingPolicy) -> None:
    """Remove a policy, and the alarms that it made."""
    for arn in policy.alarms:
        tx.delete(ALARM, arn)
    tx.delete(SCALING_POLICY, SCALING_POLICY.id(policy))


def forget_target(tx: Tx, target: ScalableTarget) -> None:
    """Remove a scalable target and all that hangs on it; its activities are history and stay."""
    id = SCALABLE_TARGET.id(target)
    for policy in tx.find(SCALING_POLICY, "target", id):
        forget_policy(tx, policy)
    for action in tx.find(SCHEDULED_ACTION, "target", id):
        tx.delete(SCHEDULED_ACTION, SCHEDULED_ACTION.id(action))
    tx.delete(SCALABLE_TARGET, id)
