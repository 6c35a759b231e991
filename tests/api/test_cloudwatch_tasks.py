"""From what a node tells of tasks to what a client reads; counts; what becomes of old points."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.control.insights import Insights, counts
from neargate.kit.errors import CellError
from neargate.model.metric import Query, metric, point
from neargate.model.metric_samples import MINUTE, STEP, ContainerSample, TaskSample
from neargate.model.service import Deployment, Service, TaskSet
from neargate.model.task import Cluster
from neargate.services.cell.metrics import Samples
from neargate.services.cloudwatch.expiry import expire
from neargate.state import log_events, metrics
from neargate.state.catalog import CLUSTER, LOG_GROUP, TASK
from neargate.state.catalog_services import SERVICE, TASK_SET
from neargate.state.sqlite import SqliteStore
from tests.unit.control.house import SCOPE, Parts, add_tasks, house

C = SCOPE.arn("ecs", "cluster/c")
WEB = SCOPE.arn("ecs", "service/c/web")
NOW = 1_800_000_000


def service(**fields: Any) -> Service:
    return Service(
        account=SCOPE.account,
        region=SCOPE.region,
        **{
            "arn": WEB,
            "name": "web",
            "cluster_arn": C,
            "definition_arn": "d",
            "revision_arn": "r",
            "desired_count": 3,
            "deployments": (Deployment(id="ecs-svc/1", revision_arn="r", definition_arn="d"),),
            "body": {},
            **fields,
        },
    )


async def cluster(parts: Parts, insights: str) -> None:
    made = Cluster(
        account=SCOPE.account, region=SCOPE.region, arn=C, name="c", settings={"containerInsights": insights}
    )
    await parts.store.write(lambda tx: tx.put(CLUSTER, made))


async def values(
    parts: Parts, namespace: str, name: str, **dimensions: str
) -> list[tuple[int, float, float]]:
    """(start, samples, sum) of each minute."""
    query = Query(metric(SCOPE, namespace, name, dimensions), NOW - 600, NOW + 600, 60)
    found = await parts.metrics.read(lambda tx: metrics.read(tx, query))
    return [(bucket.at, bucket.summary.count, bucket.summary.sum) for bucket in found]


def sample(id: str, cpu: float = 64.0) -> TaskSample:
    return TaskSample(id=id, containers=(ContainerSample(name="web", cpu_units=cpu, memory_mib=128.0),))


async def test_samples_become_points_of_the_node_s_own_tasks(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await cluster(parts, "enabled")
        tasks = await add_tasks(parts, 3, service_arn=WEB, started_by="ecs-svc/1", node="n1")
        await parts.store.write(lambda tx: tx.put(TASK, replace(tasks[2], node="another")))
        await parts.store.write(lambda tx: tx.put(SERVICE, service()))
        told = [sample(tasks[0].id, 64.0), sample(tasks[1].id, 128.0), sample(tasks[2].id), sample("unknown")]
        door = Samples(parts)  # type: ignore[arg-type]
        await door.put_samples("n1", NOW + 60, MINUTE, told)
        await door.put_samples("n1", NOW + 60, STEP, told)
        found = await values(parts, "AWS/ECS", "CPUUtilization", ClusterName="c", ServiceName="web")
        assert found == [(NOW, 2, 75.0)]
        used = await values(parts, "ECS/ContainerInsights", "CpuUtilized", ClusterName="c")
        assert used == [(NOW, 2, 192.0)]


async def test_container_insights_write_a_log_of_their_own(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await cluster(parts, "enabled")
        tasks = await add_tasks(parts, 2, service_arn=WEB, started_by="ecs-svc/1", node="n1")
        await parts.store.write(lambda tx: tx.put(SERVICE, service()))
        door = Samples(parts)  # type: ignore[arg-type]
        for end in (NOW + 60, NOW + 120):
            await door.put_samples("n1", end, MINUTE, [sample(task.id) for task in tasks])
        await door.put_samples("n1", NOW + 140, STEP, [sample(task.id) for task in tasks])
        (group,) = await parts.logs.read(lambda tx: tx.all(LOG_GROUP))
        assert (group.name, group.retention_days) == ("/aws/ecs/containerinsights/c/performance", 1)
        (stream,) = await parts.logs.read(lambda tx: log_events.streams_by_name(tx, group.number, limit=10))
        found = await parts.logs.read(
            lambda tx: list(log_events.read(tx, stream.number, log_events.START, log_events.END))
        )
    told = [json.loads(event.message) for event in found]
    assert [event.timestamp for event in found] == [NOW * 1000] * 4 + [(NOW + 60) * 1000] * 4
    assert [it["Type"] for it in told] == ["Task", "Container"] * 4
    assert (told[0]["ServiceName"], told[0]["CpuUtilized"], told[0]["CpuReserved"]) == ("web", 64.0, 256.0)
    assert ["ServiceName", "ClusterName"] in told[0]["CloudWatchMetrics"][0]["Dimensions"]
    assert (told[1]["ContainerName"], told[1]["ContainerCpuUtilized"]) == ("web", 64.0)


async def test_a_service_that_asks_for_20_seconds(tmp_path: Path) -> None:
    monitoring = {"metricConfigurations": [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]}
    async with house(tmp_path) as parts:
        (task,) = await add_tasks(parts, 1, service_arn=WEB, started_by="ecs-svc/1", node="n1")
        await parts.store.write(lambda tx: tx.put(SERVICE, service(body={"monitoring": monitoring})))
        door = Samples(parts)  # type: ignore[arg-type]
        for end in (NOW + 20, NOW + 40, NOW + 60):
            await door.put_samples("n1", end, STEP, [sample(task.id)])
        await door.put_samples("n1", NOW + 60, MINUTE, [sample(task.id)])
        place = {"ClusterName": "c", "ServiceName": "web"}
        assert await values(parts, "AWS/ECS", "CPUUtilization", **place) == [(NOW, 3, 75.0)]
        assert await values(parts, "AWS/ECS", "MemoryUtilization", **place) == [(NOW, 1, 25.0)]
        query = Query(metric(SCOPE, "AWS/ECS", "CPUUtilization", place), NOW, NOW + 60, 20)
        steps = await parts.metrics.read(lambda tx: metrics.read(tx, query))
        assert [(bucket.at - NOW, bucket.summary.sum) for bucket in steps] == [
            (0, 25.0),
            (20, 25.0),
            (40, 25.0),
        ]


async def test_a_store_that_is_closed_is_told_to_the_node_as_such(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        door = Samples(parts)  # type: ignore[arg-type]
    with pytest.raises(CellError, match="closed"):
        await door.put_samples("n1", NOW, STEP, [sample("x")])


async def sleeping(parts: Parts) -> None:
    """Until somebody waits for the clock."""
    while not parts.clock._sleepers:  # noqa: ASYNC110 (a clock of tests has nothing to wait on)
        await asyncio.sleep(0.001)


async def test_no_minute_is_counted_twice_though_the_clock_is_put_back(tmp_path: Path) -> None:
    async with house(tmp_path) as parts, asyncio.TaskGroup() as group:
        await add_tasks(parts, 2, last_status="RUNNING")
        await cluster(parts, "enabled")
        running = group.create_task(Insights(parts).run())
        for steps in ((60.0, -0.1), (0.1,), (60.0,)):
            await sleeping(parts)
            for seconds in steps:
                parts.clock.advance(seconds)
        await sleeping(parts)
        running.cancel()
        found = await values(parts, "ECS/ContainerInsights", "TaskCount", ClusterName="c")
    assert found == [(NOW, 1, 2.0), (NOW + 60, 1, 2.0)]


async def test_counts_of_clusters_that_ask_for_them(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await add_tasks(parts, 2, service_arn=WEB, started_by="ecs-svc/1", last_status="RUNNING")
        await add_tasks(parts, 1, 10, service_arn=WEB, started_by="ecs-svc/1", last_status="PENDING")
        await add_tasks(parts, 4, 20, last_status="RUNNING")
        await add_tasks(parts, 1, 30, service_arn=WEB, started_by="ecs-svc/1", last_status="STOPPED")
        await parts.store.write(lambda tx: tx.put(SERVICE, service()))
        await cluster(parts, "disabled")
        assert await parts.store.read(lambda tx: counts(tx, NOW)) == []
        await cluster(parts, "enabled")
        await Insights(parts).round(NOW + 60)
        place = {"ClusterName": "c", "ServiceName": "web"}
        names = (
            "DesiredTaskCount",
            "RunningTaskCount",
            "PendingTaskCount",
            "DeploymentCount",
            "TaskSetCount",
        )
        found = {name: await values(parts, "ECS/ContainerInsights", name, **place) for name in names}
        assert {name: value for name, ((_, _, value),) in found.items()} == {
            "DesiredTaskCount": 3,
            "RunningTaskCount": 2,
            "PendingTaskCount": 1,
            "DeploymentCount": 1,
            "TaskSetCount": 0,
        }
        assert await values(parts, "ECS/ContainerInsights", "TaskCount", ClusterName="c") == [(NOW, 1, 6.0)]
        assert await values(parts, "ECS/ContainerInsights", "ServiceCount", ClusterName="c") == [
            (NOW, 1, 1.0)
        ]


async def test_counts_of_task_sets(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await cluster(parts, "enhanced")
        task_set = TaskSet(
            account=SCOPE.account,
            region=SCOPE.region,
            arn=SCOPE.arn("ecs", "task-set/c/web/ecs-svc/2"),
            id="ecs-svc/2",
            service_arn=WEB,
            cluster_arn=C,
            definition_arn="d",
        )
        await add_tasks(parts, 2, service_arn=WEB, started_by="ecs-svc/2", last_status="RUNNING")
        await parts.store.write(
            lambda tx: (tx.put(SERVICE, service(deployments=())), tx.put(TASK_SET, task_set))
        )
        await Insights(parts).round(NOW + 60)
        place = {"ClusterName": "c", "ServiceName": "web"}
        for name, value in (("RunningTaskCount", 2.0), ("TaskSetCount", 1.0), ("DeploymentCount", 0.0)):
            ((_, _, found),) = await values(parts, "ECS/ContainerInsights", name, **place)
            assert found == value


def room(store: SqliteStore, most: int) -> Any:
    return SimpleNamespace(metrics=store, settings=SimpleNamespace(metrics_max_bytes=most))


async def test_points_beyond_the_bound_go_the_oldest_first(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "m.db") as store:
        for name in ("a", "b"):
            owner = metric(SCOPE, "N", name)
            points = [point(owner, NOW - 60 * i, float(i)) for i in range(500)]
            await store.write(lambda tx, p=points: metrics.put(tx, p))  # type: ignore[misc]
        whole = await store.read(metrics.stored_bytes)
        await expire(room(store, whole), NOW)
        assert await store.read(metrics.stored_bytes) == whole
        await expire(room(store, whole // 2), NOW)
        assert whole * 0.4 < await store.read(metrics.stored_bytes) <= whole / 2
        oldest, newest = await store.read(metrics.span)
        assert newest == NOW
        assert NOW - oldest < 60 * 300


async def test_expiry_makes_old_points_coarser(tmp_path: Path) -> None:
    owner = metric(SCOPE, "N", "a")
    async with SqliteStore(tmp_path / "m.db") as store:
        points = [point(owner, NOW - 4 * 3600 + i, 1.0, resolution=1) for i in range(120)]
        await store.write(lambda tx: metrics.put(tx, points))
        await expire(room(store, 1 << 30), NOW)
        found = await store.read(lambda tx: metrics.read(tx, Query(owner, NOW - 5 * 3600, NOW, 60)))
        assert [bucket.summary.count for bucket in found] == [60, 60]
        assert await store.read(lambda tx: metrics.read(tx, Query(owner, NOW - 5 * 3600, NOW, 10))) == []
