"""Container Insights' performance log events: what tasks used in a minute, as JSON. Pure.

Called by services/cell/metrics; services/cell/performance writes them into each cluster's log group.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neargate.model.insights import (
    INSIGHTS,
    Measured,
    Subject,
    measured_of_container,
    measured_of_task,
)
from neargate.model.metric_samples import TaskSample
from neargate.model.record import Scope


@dataclass(frozen=True, slots=True)
class Line:
    scope: Scope
    cluster: str
    text: bytes

    @property
    def group(self) -> str:
        return f"/aws/ecs/containerinsights/{self.cluster}/performance"


def lines_of(subject: Subject, sample: TaskSample, at: float) -> list[Line]:
    """None where the cluster asks for no insights."""
    if subject.insights not in ("enabled", "enhanced"):
        return []
    used = measured_of_task(subject.task, sample)
    told = [{**_about(subject, "Task", at), **_values(used), "CloudWatchMetrics": [_metrics(subject, used)]}]
    for container in sample.containers:
        own = measured_of_container(subject, container, sample)
        told.append({**_about(subject, "Container", at), "ContainerName": container.name, **_values(own)})
    return [Line(subject.scope, subject.cluster, json.dumps(it).encode()) for it in told]


def _about(subject: Subject, type: str, at: float) -> dict[str, Any]:
    task = subject.task
    about: dict[str, Any] = {
        "Version": "0",
        "Type": type,
        "TaskId": task.id,
        "TaskDefinitionFamily": task.family,
        "TaskDefinitionRevision": str(task.revision),
        "ClusterName": subject.cluster,
        "AccountID": task.account,
        "Region": task.region,
        "AvailabilityZone": task.availability_zone,
        "KnownStatus": task.last_status,
        "LaunchType": task.launch_type,
        "Timestamp": int(at * 1000),
    }
    return {**about, "ServiceName": subject.service} if subject.service else about


def _values(measured: Sequence[Measured]) -> dict[str, float]:
    return {name: value for name, value, _ in measured}


def _metrics(subject: Subject, measured: Sequence[Measured]) -> dict[str, Any]:
    """Which of the members are metrics."""
    dimensions = [["ClusterName"], ["ClusterName", "TaskDefinitionFamily"]]
    return {
        "Namespace": INSIGHTS,
        "Metrics": [{"Name": name, "Unit": unit} for name, _, unit in measured],
        "Dimensions": [*dimensions, ["ServiceName", "ClusterName"]] if subject.service else dimensions,
    }
