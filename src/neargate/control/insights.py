"""The loop that counts: each minute, the tasks and services of the clusters that ask for Container Insights.

What tasks use comes from the nodes (services/cell/metrics); these are the counts that only the store knows.
"""

from collections.abc import Iterable
from typing import NoReturn

from neargate.control.parts import Parts
from neargate.model.insights import SETTING, ServiceCount, of_counts
from neargate.model.metric import Point
from neargate.model.record import Scope
from neargate.model.service import Service
from neargate.model.task import Cluster
from neargate.state import metrics
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.catalog_services import SERVICE, TASK_SET
from neargate.state.store import Tx

_EVERY = 60


def counts(tx: Tx, at: float) -> list[Point]:
    """Points of all clusters that ask for them."""
    points: list[Point] = []
    for cluster in tx.all(CLUSTER):
        if cluster.status == "ACTIVE" and cluster.settings.get(SETTING) in ("enabled", "enhanced"):
            points += _of_cluster(tx, cluster, at)
    return points


def _of_cluster(tx: Tx, cluster: Cluster, at: float) -> Iterable[Point]:
    services = [_of_service(tx, service) for service in tx.find(SERVICE, "cluster", cluster.arn)]
    running = tx.count(TASK, "load", f"{cluster.arn}/running")
    return of_counts(Scope(cluster.account, cluster.region), cluster.name, running, services, at)


def _of_service(tx: Tx, service: Service) -> ServiceCount:
    task_sets = tx.find(TASK_SET, "service", service.arn)
    # What brings tasks: deployments of the service's own, or task sets of somebody else's.
    sources = [deployment.id for deployment in service.deployments] or [it.id for it in task_sets]

    def count(load: str) -> int:
        return sum(tx.count(TASK, "deployment", f"{service.arn}/{id}/{load}") for id in sources)

    return ServiceCount(
        name=service.name,
        desired=service.desired_count,
        running=count("running"),
        pending=count("pending"),
        deployments=len(service.deployments),
        task_sets=len(task_sets),
    )


class Insights:
    name = "insights"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> NoReturn:
        clock = self._parts.clock
        while True:
            now = clock.now()
            end = (int(now) // _EVERY + 1) * _EVERY
            await clock.sleep(end - now)
            if clock.now() >= end:  # it may have been put back meanwhile: no minute is counted twice
                await self.round(end)

    async def round(self, end: float) -> None:
        """Put the counts of the minute that ends now."""
        points = await self._parts.store.scan(lambda tx: counts(tx, end - _EVERY))
        if points:
            await self._parts.metrics.write(lambda tx: metrics.put(tx, points))
