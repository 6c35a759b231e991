"""Events of ECS, in AWS's shapes: what state/outbox is handed. Pure.

`task_changed` is called wherever a task's version grows (services/cell, control/tasks, control/placement,
services/ecs); the events of services by the loop that runs them.
"""

from collections.abc import Iterable
from typing import Any

from neargate.model import task_view
from neargate.model.event import Event
from neargate.model.metadata import moment
from neargate.model.task import Task

SOURCE = "aws.ecs"
_MOMENTS = (
    "connectivityAt",
    "createdAt",
    "executionStoppedAt",
    "pullStartedAt",
    "pullStoppedAt",
    "startedAt",
    "stoppedAt",
    "stoppingAt",
)
LEVELS = {
    "SERVICE_STEADY_STATE": "INFO",
    "TASKSET_STEADY_STATE": "INFO",
    "CAPACITY_PROVIDER_STEADY_STATE": "INFO",
    "SERVICE_DESIRED_COUNT_UPDATED": "INFO",
    "SERVICE_TASK_START_IMPAIRED": "WARN",
    "SERVICE_DISCOVERY_INSTANCE_UNHEALTHY": "WARN",
    "SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED": "ERROR",
    "ECS_OPERATION_THROTTLED": "ERROR",
    "SERVICE_DISCOVERY_OPERATION_THROTTLED": "ERROR",
    "SERVICE_TASK_PLACEMENT_FAILURE": "ERROR",
    "SERVICE_TASK_CONFIGURATION_FAILURE": "ERROR",
    "SERVICE_DEPLOYMENT_IN_PROGRESS": "INFO",
    "SERVICE_DEPLOYMENT_COMPLETED": "INFO",
    "SERVICE_DEPLOYMENT_FAILED": "ERROR",
}
"""eventType by eventName."""


def instant(at: float) -> str:
    """A moment as details have it: milliseconds."""
    return moment(at, "milliseconds")


def task_changed(task: Task, now: float) -> Event:
    """`ECS Task State Change`: one for each version of a task."""
    return _event(task.account, task.region, "ECS Task State Change", task.arn, now, lambda: _task(task, now))


def _task(task: Task, now: float) -> dict[str, Any]:
    """As DescribeTasks shows it, but times are texts, and the interface's attachment is called `eni`."""
    shown = task_view.task(task)
    del shown["tags"]
    for name in _MOMENTS:
        if name in shown:
            shown[name] = instant(shown[name])
    for attachment in shown["attachments"]:
        attachment["type"] = "eni"
    return {**shown, "updatedAt": instant(now)}


def service_action(
    account: str,
    region: str,
    service_arn: str,
    cluster_arn: str,
    name: str,
    now: float,
    *,
    reason: str = "",
    providers: Iterable[str] = (),
) -> Event:
    """`ECS Service Action`. name -- e.g. SERVICE_STEADY_STATE."""
    arns = [f"arn:aws:ecs:{region}:{account}:capacity-provider/{provider}" for provider in providers]

    def detail() -> dict[str, Any]:
        return {
            "eventType": LEVELS[name],
            "eventName": name,
            "clusterArn": cluster_arn,
            **({"capacityProviderArns": arns} if arns else {}),
            **({"reason": reason} if reason else {}),
            "createdAt": instant(now),
        }

    return _event(account, region, "ECS Service Action", service_arn, now, detail)


def deployment_changed(
    account: str, region: str, service_arn: str, deployment_id: str, name: str, reason: str, now: float
) -> Event:
    """`ECS Deployment State Change`. name -- e.g. SERVICE_DEPLOYMENT_COMPLETED."""

    def detail() -> dict[str, Any]:
        return {
            "eventType": LEVELS[name],
            "eventName": name,
            "deploymentId": deployment_id,
            "updatedAt": instant(now),
            "reason": reason,
        }

    return _event(account, region, "ECS Deployment State Change", service_arn, now, detail)


def _event(account: str, region: str, kind: str, resource: str, now: float, detail: Any) -> Event:
    return Event(account, region, SOURCE, kind, now, detail, (resource,))
