"""Samples of tasks as points of AWS/ECS and Container Insights."""

from typing import Any

import pytest

from neargate.model.insights import (
    ECS,
    INSIGHTS,
    ServiceCount,
    Subject,
    of_counts,
    of_sample,
    resolutions,
)
from neargate.model.metric import Point
from neargate.model.metric_samples import ContainerSample, TaskSample
from neargate.model.record import Scope
from neargate.model.service import Service
from neargate.model.task import Container
from tests.unit.control.house import SCOPE, make_task

SERVICE = SCOPE.arn("ecs", "service/c/web")
SAMPLE = TaskSample(
    id="1",
    containers=(
        ContainerSample(name="web", cpu_units=96.0, memory_mib=100.0, read_bytes=10.0, write_bytes=20.0),
        ContainerSample(name="side", cpu_units=32.0, memory_mib=28.0, restarts=3),
    ),
    rx_rate=1000.0,
    tx_rate=500.0,
    ephemeral_used=2 * 1024**3,
    ephemeral_reserved=20 * 1024**3,
)


def subject(insights: str = "disabled", service: bool = True, **resolution: int) -> Subject:
    containers = (
        Container(name="web", arn="a", image="i", runtime_id="r", cpu="128", memory="256"),
        Container(name="side", arn="a", image="i", runtime_id="r"),
    )
    fields: dict[str, Any] = {"service_arn": SERVICE, "started_by": "ecs-svc/1"} if service else {}
    return Subject(make_task(1, (), 0.0, containers=containers, **fields), insights, resolution)


def shown(points: list[Point], **dimensions: str) -> dict[str, tuple[float, str]]:
    """Value and unit by name, of exactly these dimensions."""
    wanted = tuple(sorted(dimensions.items()))
    return {it.metric.name: (it.summary.sum, it.unit) for it in points if it.metric.dimensions == wanted}


def test_a_service_is_measured_each_minute_against_what_it_reserves() -> None:
    points = of_sample(subject(), SAMPLE, 60.0, 60)
    assert {it.metric.namespace for it in points} == {ECS}
    assert shown(points, ClusterName="c", ServiceName="web") == {
        "CPUUtilization": (50.0, "Percent"),
        "MemoryUtilization": (25.0, "Percent"),
    }
    assert {(it.at, it.resolution) for it in points} == {(60.0, 60)}
    assert of_sample(subject(), SAMPLE, 60.0, 20) == []
    assert of_sample(subject(service=False), SAMPLE, 60.0, 60) == []


def test_what_is_asked_for_each_20_seconds_is_not_told_each_minute_too() -> None:
    fast = subject(CPUUtilization=20)
    (step,) = of_sample(fast, SAMPLE, 40.0, 20)
    assert (step.metric.name, step.resolution, step.at) == ("CPUUtilization", 1, 40.0)
    (minute,) = of_sample(fast, SAMPLE, 0.0, 60)
    assert (minute.metric.name, minute.resolution) == ("MemoryUtilization", 60)


PLAIN = {
    "CpuUtilized": (128.0, "None"),
    "CpuReserved": (256.0, "None"),
    "MemoryUtilized": (128.0, "Megabytes"),
    "MemoryReserved": (512.0, "Megabytes"),
    "NetworkRxBytes": (1000.0, "Bytes/Second"),
    "NetworkTxBytes": (500.0, "Bytes/Second"),
    "StorageReadBytes": (10.0, "Bytes"),
    "StorageWriteBytes": (20.0, "Bytes"),
    "EphemeralStorageReserved": (20.0, "Gigabytes"),
    "EphemeralStorageUtilized": (2.0, "Gigabytes"),
    "RestartCount": (3.0, "Count"),
}
PLACES: list[dict[str, str]] = [
    {"ClusterName": "c"},
    {"ClusterName": "c", "ServiceName": "web"},
    {"ClusterName": "c", "TaskDefinitionFamily": "f"},
]


def test_container_insights() -> None:
    points = [it for it in of_sample(subject("enabled"), SAMPLE, 0.0, 60) if it.metric.namespace == INSIGHTS]
    for place in PLACES:
        assert shown(points, **place) == PLAIN
    assert {it.metric.dimensions for it in points} == {tuple(sorted(p.items())) for p in PLACES}
    assert [
        it for it in of_sample(subject("enabled"), SAMPLE, 0.0, 20) if it.metric.namespace == INSIGHTS
    ] == []


def test_enhanced_container_insights_tell_of_tasks_and_containers() -> None:
    given = subject("enhanced")
    points = of_sample(given, SAMPLE, 0.0, 60)
    task = {"TaskId": given.task.id}
    percent = {"TaskCpuUtilization": (50.0, "Percent"), "TaskMemoryUtilization": (25.0, "Percent")}
    assert shown(points, **PLACES[1], **task) == PLAIN | percent
    web = shown(points, **PLACES[1], **task, ContainerName="web")
    assert web["ContainerCpuUtilization"] == (75.0, "Percent")
    assert web["ContainerCpuReserved"] == (128.0, "None")
    assert web["ContainerMemoryUtilization"] == (pytest.approx(39.0625), "Percent")
    assert web["ContainerStorageWriteBytes"] == (20.0, "Bytes")
    side = shown(points, **PLACES[1], ContainerName="side")
    assert side["ContainerMemoryReserved"] == (512.0, "Megabytes")
    assert side["RestartCount"] == (3.0, "Count")


def test_enhanced_of_a_task_of_no_service() -> None:
    given = subject("enhanced", service=False)
    points = of_sample(given, SAMPLE, 0.0, 60)
    assert shown(points, **PLACES[2], TaskId=given.task.id)["CpuUtilized"] == (128.0, "None")
    assert "ContainerCpuUtilized" in shown(points, **PLACES[2], ContainerName="web")


def test_no_metric_is_told_twice_of_one_sample() -> None:
    for insights in ("enabled", "enhanced"):
        points = of_sample(subject(insights), SAMPLE, 0.0, 60)
        by_container = [it for it in points if it.metric.name.startswith("Container")]
        others = [it.metric for it in points if not it.metric.name.startswith("Container")]
        assert len(others) == len(set(others))
        # Of the whole service each container is one more sample.
        assert len(by_container) <= 2 * len({it.metric for it in by_container})


def test_what_is_not_known_is_not_told() -> None:
    bare = TaskSample(id="1", containers=(ContainerSample(name="web", cpu_units=1.0, memory_mib=1.0),))
    names = {it.metric.name for it in of_sample(subject("enabled"), bare, 0.0, 60)}
    assert not names & {"NetworkRxBytes", "EphemeralStorageUtilized", "RestartCount"}


def test_counts() -> None:
    count = ServiceCount("web", 3, 2, 1, 2, 0)
    points = list(of_counts(Scope("0", "r"), "c", 5, [count], 120.0))
    assert shown(points, ClusterName="c") == {"TaskCount": (5.0, "Count"), "ServiceCount": (1.0, "Count")}
    assert {n: v for n, (v, _) in shown(points, ClusterName="c", ServiceName="web").items()} == {
        "DesiredTaskCount": 3,
        "RunningTaskCount": 2,
        "PendingTaskCount": 1,
        "DeploymentCount": 2,
        "TaskSetCount": 0,
    }


def test_what_a_service_asks_for() -> None:
    monitoring = {"metricConfigurations": [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]}

    def service(body: dict[str, Any]) -> Service:
        return Service(
            account="0",
            region="r",
            arn=SERVICE,
            name="web",
            cluster_arn="c",
            definition_arn="d",
            revision_arn="r",
            body=body,
        )

    assert resolutions(service({"monitoring": monitoring})) == {"CPUUtilization": 20}
    assert resolutions(service({})) == {}
    assert resolutions(None) == {}
