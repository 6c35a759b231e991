"""What DescribeServices says happened, in AWS's words. Pure.

Called by control/services, which keeps the newest 100 of a service.
"""

from collections.abc import Sequence

KEPT = 100
REPEATED_AFTER = 6 * 3600.0
"""Seconds in which the same complaint is not made again, nor that a service is steady."""
IMPAIRED = "is unable to consistently start tasks successfully."
_PLACEMENT = "was unable to place a task. Reason: "
_UNREGISTERED = "failed to register targets in "
_NO_GROUP = "TargetGroupNotFound: One or more target groups not found"
_BLOCKED = (
    "was unable to stop or start tasks during a deployment because of the service deployment configuration."
    " Update the minimumHealthyPercent or maximumPercent value and try again."
)
_MORE = " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."


def started(service: str, tasks: Sequence[str]) -> str:
    return f"(service {service}) has started {len(tasks)} tasks: {_listed(tasks)}."


def stopped(service: str, tasks: Sequence[str]) -> str:
    return f"(service {service}) has stopped {len(tasks)} running tasks: {_listed(tasks)}."


def registered(service: str, count: int, group: str) -> str:
    return f"(service {service}) registered {count} targets in (target-group {group})"


def unregistered(service: str, group: str) -> str:
    """The target group is gone."""
    return f"(service {service}) {_UNREGISTERED}(target-group {group}) with (error {_NO_GROUP})"


def deregistered(service: str, count: int, group: str) -> str:
    return f"(service {service}) deregistered {count} targets in (target-group {group})"


def draining(service: str, deployment: str, count: int) -> str:
    return f"(service {service}, taskSet {deployment}) has begun draining connections on {count} tasks."


def completed(service: str, deployment: str) -> str:
    return f"(service {service}) (deployment {deployment}) deployment completed."


def failed(service: str, deployment: str, reason: str) -> str:
    return f"(service {service}) (deployment {deployment}) deployment failed: {reason}"


def rolling_back(service: str, deployment: str) -> str:
    return f"(service {service}) rolling back to deployment {deployment}."


def steady(service: str) -> str:
    return f"(service {service}) has reached a steady state."


def task_set_steady(service: str, task_set: str) -> str:
    return f"(service {service}, taskSet {task_set}) has reached a steady state."


def containers_failed(service: str, task: str) -> str:
    return f"(service {service}) (task {task}) failed container health checks."


def target_failed(service: str, task: str, port: int, group: str, why: str) -> str:
    reason = why or "Health checks failed"
    return (
        f"(service {service}) (task {task}) (port {port}) is unhealthy in (target-group {group}) due to"
        f" (reason {reason})"
    )


def impaired(service: str) -> str:
    return f"(service {service}) {IMPAIRED}"


def unplaced(service: str, reason: str) -> str:
    return f"(service {service}) {_PLACEMENT}{reason.rstrip('.')}.{_MORE}"


def blocked(service: str) -> str:
    """The percents of the deployment configuration leave no room."""
    return f"(service {service}) {_BLOCKED}"


def complaint(message: str) -> bool:
    """Whether this is said once in six hours only, however often it is so."""
    return message.endswith(IMPAIRED) or _PLACEMENT in message or _UNREGISTERED in message


def _listed(tasks: Sequence[str]) -> str:
    return " ".join(f"(task {task})" for task in tasks)
