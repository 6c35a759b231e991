"""Points out of what tasks use: AWS/ECS for services, ECS/ContainerInsights for clusters that ask. Pure.

Called by services/cell/metrics (samples) and control/insights (counts). A minute's sample is one point of
each task, so that Sum is what all tasks used and SampleCount how many they are. Where a service asks for 20
seconds, its AWS/ECS metrics are kept by the second instead: never both, as a period sums up what lies in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from neargate.model.metric import Metric, Point, metric, point, summary
from neargate.model.metric_samples import MINUTE, ContainerSample, TaskSample
from neargate.model.record import Scope
from neargate.model.service import Service
from neargate.model.task import Task

ECS, INSIGHTS = "AWS/ECS", "ECS/ContainerInsights"
SETTING = "containerInsights"
_GB = 1024**3
Dimensions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A task whose sample is to become points."""

    task: Task
    insights: str
    """Of its cluster: disabled, enabled, enhanced."""
    resolutions: Mapping[str, int]
    """Of its service's AWS/ECS metrics, in seconds, where not 60."""

    @property
    def scope(self) -> Scope:
        return Scope(self.task.account, self.task.region)

    @property
    def cluster(self) -> str:
        return self.task.cluster_arn.rpartition("/")[2]

    @property
    def service(self) -> str:
        return self.task.service_arn.rpartition("/")[2]


def resolutions(service: Service | None) -> dict[str, int]:
    """What a service's `monitoring` asks for, by metric."""
    asked = (service.body.get("monitoring") or {}) if service is not None else {}
    return {
        name: int(item["resolutionSeconds"])
        for item in asked.get("metricConfigurations") or ()
        for name in item["metricNames"]
    }


def of_sample(subject: Subject, sample: TaskSample, at: float, seconds: int) -> list[Point]:
    """at -- when the stretch began; seconds -- how long it was: STEP or MINUTE."""
    points = list(_of_service(subject, sample, at, seconds)) if subject.service else []
    if seconds == MINUTE and subject.insights in ("enabled", "enhanced"):
        points += _insights(subject, sample, at)
    return points


def _of_service(subject: Subject, sample: TaskSample, at: float, seconds: int) -> Iterator[Point]:
    dimensions = {"ClusterName": subject.cluster, "ServiceName": subject.service}
    for name, value in (
        ("CPUUtilization", _cpu(subject, sample)),
        ("MemoryUtilization", _memory(subject, sample)),
    ):
        if subject.resolutions.get(name, MINUTE) == seconds:
            owner = metric(subject.scope, ECS, name, dimensions)
            yield point(owner, at, value, "Percent", resolution=60 if seconds == MINUTE else 1)


def _cpu(subject: Subject, sample: TaskSample) -> float:
    return 100 * sum(c.cpu_units for c in sample.containers) / max(int(subject.task.cpu), 1)


def _memory(subject: Subject, sample: TaskSample) -> float:
    return 100 * sum(c.memory_mib for c in sample.containers) / max(int(subject.task.memory), 1)


# -- Container Insights ------------------------------------------------------------------------------------

Measured = tuple[str, float, str]
"""Name, value, unit."""


def _insights(subject: Subject, sample: TaskSample, at: float) -> Iterator[Point]:
    """Each task and container by the service, or by the family of a task that is of none."""
    cluster = {"ClusterName": subject.cluster}
    places: list[Dimensions] = [cluster, {**cluster, "TaskDefinitionFamily": subject.task.family}]
    if subject.service:
        places.append({**cluster, "ServiceName": subject.service})
    measured = measured_of_task(subject.task, sample)
    if subject.insights == "enhanced":
        measured += [
            ("TaskCpuUtilization", _cpu(subject, sample), "Percent"),
            ("TaskMemoryUtilization", _memory(subject, sample), "Percent"),
        ]
        for container in sample.containers:
            own = {**places[-1], "ContainerName": container.name}
            apart: list[Dimensions] = [own, {**own, "TaskId": subject.task.id}]
            yield from _points(
                subject, at, [*places, *apart], measured_of_container(subject, container, sample)
            )
            if container.restarts is not None:
                restarts = ("RestartCount", float(container.restarts), "Count")
                yield from _points(subject, at, apart, [restarts])
        places.append({**places[-1], "TaskId": subject.task.id})
    yield from _points(subject, at, places, measured)


def _points(
    subject: Subject, at: float, places: Iterable[Dimensions], measured: Sequence[Measured]
) -> Iterator[Point]:
    account, region = subject.task.account, subject.task.region
    summaries = [(name, summary((value,)), unit) for name, value, unit in measured]
    for place in places:
        dimensions = tuple(sorted(place.items()))
        for name, total, unit in summaries:
            yield Point(Metric(account, region, INSIGHTS, name, dimensions), at, total, unit)


def measured_of_task(task: Task, sample: TaskSample) -> list[Measured]:
    measured: list[Measured] = [
        ("CpuUtilized", sum(c.cpu_units for c in sample.containers), "None"),
        ("CpuReserved", float(task.cpu), "None"),
        ("MemoryUtilized", sum(c.memory_mib for c in sample.containers), "Megabytes"),
        ("MemoryReserved", float(task.memory), "Megabytes"),
        ("StorageReadBytes", sum(c.read_bytes for c in sample.containers), "Bytes"),
        ("StorageWriteBytes", sum(c.write_bytes for c in sample.containers), "Bytes"),
        ("EphemeralStorageReserved", sample.ephemeral_reserved / _GB, "Gigabytes"),
    ]
    if sample.ephemeral_used is not None:
        measured.append(("EphemeralStorageUtilized", sample.ephemeral_used / _GB, "Gigabytes"))
    measured += _network("Network", sample)
    restarts = [c.restarts for c in sample.containers if c.restarts is not None]
    return [*measured, ("RestartCount", float(sum(restarts)), "Count")] if restarts else measured


def measured_of_container(subject: Subject, container: ContainerSample, sample: TaskSample) -> list[Measured]:
    """What a container has reserved is its own limit; the task's where it has none."""
    record = next((c for c in subject.task.containers if c.name == container.name), None)
    cpu = float(record.cpu) if record is not None and float(record.cpu or 0) > 0 else float(subject.task.cpu)
    limit = (record.memory or record.memory_reservation) if record is not None else None
    memory = float(limit or subject.task.memory)
    return [
        ("ContainerCpuUtilized", container.cpu_units, "None"),
        ("ContainerCpuReserved", cpu, "None"),
        ("ContainerCpuUtilization", 100 * container.cpu_units / cpu, "Percent"),
        ("ContainerMemoryUtilized", container.memory_mib, "Megabytes"),
        ("ContainerMemoryReserved", memory, "Megabytes"),
        ("ContainerMemoryUtilization", 100 * container.memory_mib / memory, "Percent"),
        ("ContainerStorageReadBytes", container.read_bytes, "Bytes"),
        ("ContainerStorageWriteBytes", container.write_bytes, "Bytes"),
        *_network("ContainerNetwork", sample),
    ]


def _network(prefix: str, sample: TaskSample) -> list[Measured]:
    """Containers of a task share its interface: each shows what all of them moved."""
    if sample.rx_rate is None or sample.tx_rate is None:
        return []
    return [
        (f"{prefix}RxBytes", sample.rx_rate, "Bytes/Second"),
        (f"{prefix}TxBytes", sample.tx_rate, "Bytes/Second"),
    ]


# -- counts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceCount:
    name: str
    desired: int
    running: int
    pending: int
    deployments: int
    task_sets: int


def of_counts(
    scope: Scope, cluster: str, tasks: int, services: Sequence[ServiceCount], at: float
) -> Iterator[Point]:
    """A cluster's counts at a minute, and those of each of its services."""
    own = {"ClusterName": cluster}
    for name, value in (("TaskCount", tasks), ("ServiceCount", len(services))):
        yield point(metric(scope, INSIGHTS, name, own), at, float(value), "Count")
    for it in services:
        dimensions = {**own, "ServiceName": it.name}
        for name, value in (
            ("DesiredTaskCount", it.desired),
            ("RunningTaskCount", it.running),
            ("PendingTaskCount", it.pending),
            ("DeploymentCount", it.deployments),
            ("TaskSetCount", it.task_sets),
        ):
            yield point(metric(scope, INSIGHTS, name, dimensions), at, float(value), "Count")
