"""Kinds of the records of ECS services; like catalog.py, which has those of tasks."""

from typing import Any

from neargate.model.service import Service, ServiceDeployment, ServiceEvent, ServiceRevision, TaskSet
from neargate.state.catalog import TASK, minute
from neargate.state.store import Kind, Tx

_OVER = frozenset(("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"))

SERVICE = Kind(
    "service",
    Service,
    lambda r: r.arn,
    {
        # Lists show those that are not INACTIVE.
        "cluster": lambda r: None if r.status == "INACTIVE" else r.cluster_arn,
        "active": lambda r: r.cluster_arn if r.status == "ACTIVE" else None,
        "open": lambda r: None if r.status == "INACTIVE" else "yes",
        "definition": lambda r: None if r.status == "INACTIVE" else r.definition_arn or None,
        "inactive": lambda r: minute(r.inactive_at) if r.inactive_at is not None else None,
    },
)
SERVICE_EVENT = Kind(
    "service-event",
    ServiceEvent,
    lambda r: f"{r.service_arn}/{r.sequence:015d}",
    {"service": lambda r: r.service_arn},
)
SERVICE_REVISION = Kind(
    "service-revision", ServiceRevision, lambda r: r.arn, {"service": lambda r: r.service_arn}
)
SERVICE_DEPLOYMENT = Kind(
    "service-deployment",
    ServiceDeployment,
    lambda r: r.arn,
    {
        "service": lambda r: r.service_arn,
        "open": lambda r: None if r.status in _OVER else r.service_arn,
        "over": lambda r: minute(r.finished_at or r.updated_at) if r.status in _OVER else None,
    },
)
TASK_SET = Kind(
    "task-set",
    TaskSet,
    lambda r: r.arn,
    {"service": lambda r: r.service_arn, "definition": lambda r: r.definition_arn},
)
_OF_DEFINITIONS: tuple[Kind[Any], ...] = (TASK, SERVICE, TASK_SET)


def is_in_use(tx: Tx, definition_arn: str) -> bool:
    """Whether a task that is remembered, a service or a task set has a definition."""
    return any(tx.count(kind, "definition", definition_arn) for kind in _OF_DEFINITIONS)
