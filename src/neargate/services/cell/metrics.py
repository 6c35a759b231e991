"""The door through which nodes' samples come in, to become points of AWS/ECS and ECS/ContainerInsights.

Built by main and handed to node/sampler, whose SampleCell it fits by shape; model/insights makes the points,
model/performance the log events that Container Insights writes besides.
What a node tells of another node's task is passed over.
"""

from collections.abc import Mapping, Sequence

from neargate.kit.errors import CellError
from neargate.model.insights import SETTING, Subject, of_sample, resolutions
from neargate.model.metric import Point
from neargate.model.metric_samples import MINUTE, TaskSample
from neargate.model.performance import Line, lines_of
from neargate.model.service import Service
from neargate.model.task import Cluster
from neargate.services.call import House
from neargate.services.cell import performance
from neargate.state import metrics
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.catalog_services import SERVICE
from neargate.state.store import StoreError, Tx


class Samples:
    def __init__(self, house: House) -> None:
        self._house = house

    async def put_samples(self, node: str, end: float, seconds: int, samples: Sequence[TaskSample]) -> None:
        """See node/sampler.SampleCell."""
        at = end - seconds
        try:
            points, lines = await self._house.store.scan(lambda tx: _made(tx, node, at, seconds, samples))
            if points:
                await self._house.metrics.write(lambda tx: metrics.put(tx, points))
            if lines:
                now = int(self._house.clock.now() * 1000)
                await self._house.logs.write(lambda tx: performance.put(tx, node, int(at * 1000), now, lines))
        except StoreError as error:
            raise CellError(str(error)) from error


def _made(
    tx: Tx, node: str, at: float, seconds: int, samples: Sequence[TaskSample]
) -> tuple[list[Point], list[Line]]:
    """On a thread: hundreds of tasks make tens of thousands of points."""
    subjects = _subjects(tx, node, samples)
    points: list[Point] = []
    lines: list[Line] = []
    for sample in samples:
        subject = subjects.get(sample.id)
        if subject is not None:
            points += of_sample(subject, sample, at, seconds)
            if seconds == MINUTE:
                lines += lines_of(subject, sample, at)
    return points, lines


def _subjects(tx: Tx, node: str, samples: Sequence[TaskSample]) -> Mapping[str, Subject]:
    """The tasks of the samples, with what their clusters and services ask for."""
    found: dict[str, Subject] = {}
    clusters: dict[str, Cluster | None] = {}
    services: dict[str, Service | None] = {}
    for sample in samples:
        for task in tx.find(TASK, "id", sample.id):
            if task.node != node:
                continue
            if task.cluster_arn not in clusters:
                clusters[task.cluster_arn] = tx.get(CLUSTER, task.cluster_arn)
            if task.service_arn and task.service_arn not in services:
                services[task.service_arn] = tx.get(SERVICE, task.service_arn)
            cluster = clusters[task.cluster_arn]
            insights = cluster.settings.get(SETTING, "disabled") if cluster is not None else "disabled"
            found[sample.id] = Subject(task, insights, resolutions(services.get(task.service_arn)))
    return found
