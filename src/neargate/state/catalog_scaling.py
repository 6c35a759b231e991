"""Kinds of the records of Application Auto Scaling; like catalog.py, which has those of tasks."""

from typing import Any

from neargate.model.scaling import (
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    part_id,
    target_id,
)
from neargate.state.catalog import minute
from neargate.state.store import Kind

_LATEST = 10**14


def _owner(record: Any) -> str:
    return target_id(record.account, record.region, record.resource_id)


def activity_id(activity: ScalingActivity) -> str:
    """In an order in which the newest come first."""
    return f"{_LATEST - int(activity.started_at * 1000):015d}/{activity.id}"


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
