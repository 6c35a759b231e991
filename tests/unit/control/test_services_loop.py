"""The loop of services on a store and a clock of its own: what wakes it, and what it does not let itself be
kept from."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from neargate.control.services.loop import Services
from neargate.model import service_begin
from neargate.model.service import Service
from neargate.model.task import Cluster, Task, TaskDefinition
from neargate.state.catalog import CLUSTER, TASK, TASK_DEFINITION
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT, SERVICE_EVENT, SERVICE_REVISION
from neargate.state.store import Tx
from tests.unit.control.house import SCOPE, Parts, house, subnets

CLUSTER_ARN = SCOPE.arn("ecs", "cluster/c")
DEFINITION = SCOPE.arn("ecs", "task-definition/f:1")
OWNED = {"account": SCOPE.account, "region": SCOPE.region}


@asynccontextmanager
async def keeping(parts: Parts) -> AsyncIterator[None]:
    """The loop, running until the block ends."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(Services(parts).run())
        yield
        running.cancel()


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[Parts]:
    container = {"name": "web", "image": "i", "essential": True, "cpu": 0}
    body = {"cpu": "256", "memory": "512", "containerDefinitions": [container], "volumes": []}
    definition = TaskDefinition(**OWNED, arn=DEFINITION, family="f", revision=1, body=body)
    async with house(directory) as parts:
        await parts.store.write(lambda tx: tx.put(CLUSTER, Cluster(**OWNED, arn=CLUSTER_ARN, name="c")))
        await parts.store.write(lambda tx: tx.put(TASK_DEFINITION, definition))
        yield parts


async def ask(parts: Parts, name: str = "web", count: int = 2, **body: Any) -> str:
    """As CreateService and UpdateService do. The service's ARN."""
    arn, nets = SCOPE.arn("ecs", f"service/c/{name}"), await subnets(parts)

    def write(tx: Tx) -> None:
        service = tx.get(SERVICE, arn) or Service(
            **OWNED,
            arn=arn,
            name=name,
            cluster_arn=CLUSTER_ARN,
            definition_arn=DEFINITION,
            revision_arn="",
            body={"deploymentConfiguration": {"strategy": "ROLLING"}, **body},
        )
        service = replace(service, desired_count=count)
        network = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": list(nets)}}}
        now = parts.clock.now()
        revision = service_begin.revision(service, network, parts.ids, now)
        for process in service_begin.superseded(tx.find(SERVICE_DEPLOYMENT, "open", arn), now):
            tx.put(SERVICE_DEPLOYMENT, process)
        service, process = service_begin.begin(service, revision, parts.ids, now)
        tx.put(SERVICE_REVISION, revision)
        tx.put(SERVICE_DEPLOYMENT, process)
        tx.put(SERVICE, service)

    await parts.store.write(write)
    return arn


def live(tx: Tx, service: str) -> list[Task]:
    return [t for t in tx.find(TASK, "service", service) if t.desired_status == "RUNNING"]


async def run_all(parts: Parts, service: str) -> None:
    """As the node would report."""
    now = parts.clock.now()

    def write(tx: Tx) -> None:
        for task in live(tx, service):
            if task.last_status != "RUNNING":
                tx.put(TASK, replace(task, last_status="RUNNING", started_at=now, node="n"))

    await parts.store.write(write)


async def fail_all(parts: Parts, service: str) -> None:
    def write(tx: Tx) -> None:
        for task in live(tx, service):
            ended = replace(
                task,
                last_status="STOPPED",
                desired_status="STOPPED",
                stop_code="TaskFailedToStart",
                stopped_reason="CannotPullContainerError: gone",
                node="n",
            )
            tx.put(TASK, ended)

    await parts.store.write(write)


def state(tx: Tx, service: str) -> tuple[int, str]:
    """Deployments, and the state of the first."""
    found = tx.get(SERVICE, service)
    assert found is not None
    return len(found.deployments), found.deployments[0].rollout_state


async def settled(parts: Parts) -> None:
    """Until the loop has nothing more to do for the moment: the feed stands still."""
    head = -1
    while parts.store.head() != head:
        head = parts.store.head()
        for _ in range(20):
            await asyncio.sleep(0.005)


async def test_old_tasks_go_when_the_new_ones_have_run_for_40_seconds(tmp_path: Path) -> None:
    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts)
        await parts.until(lambda tx: len(live(tx, arn)) == 2)
        await run_all(parts, arn)
        await parts.until(lambda tx: state(tx, arn) == (1, "COMPLETED"))
        await ask(parts)
        await parts.until(lambda tx: len(live(tx, arn)) == 4)
        await run_all(parts, arn)
        await settled(parts)
        parts.clock.advance(39)
        await settled(parts)
        assert await parts.store.read(lambda tx: len(live(tx, arn))) == 4
        parts.clock.advance(1)
        await parts.until(lambda tx: len(live(tx, arn)) == 2 and state(tx, arn) == (1, "COMPLETED"))


async def test_starts_go_on_when_their_wait_is_over(tmp_path: Path) -> None:
    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts, count=1)
        for _ in range(3):
            await parts.until(lambda tx: len(live(tx, arn)) == 1)
            await fail_all(parts, arn)
        await settled(parts)
        assert await parts.store.read(lambda tx: live(tx, arn)) == []
        for wait in (1, 2, 4):
            parts.clock.advance(wait - 0.1)
            await settled(parts)
            assert await parts.store.read(lambda tx: live(tx, arn)) == []
            parts.clock.advance(0.1)
            await parts.until(lambda tx: len(live(tx, arn)) == 1)
            await fail_all(parts, arn)
            await settled(parts)
        messages = [
            e.message for e in await parts.store.read(lambda tx: tx.find(SERVICE_EVENT, "service", arn))
        ]
        impaired = "(service web) is unable to consistently start tasks successfully."
        assert messages.count(impaired) == 1, "one complaint in six hours"


async def test_started_anew_it_finds_what_is_to_do(tmp_path: Path) -> None:
    async with place(tmp_path) as parts:
        arn = await ask(parts)
        async with keeping(parts):
            await parts.until(lambda tx: len(live(tx, arn)) == 2)
        await fail_all(parts, arn)
        await ask(parts, "other", 1)
        async with keeping(parts):
            await parts.until(lambda tx: len(live(tx, arn)) == 2)
            await parts.until(lambda tx: len(live(tx, SCOPE.arn("ecs", "service/c/other"))) == 1)


async def test_a_service_that_cannot_be_kept_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with place(tmp_path) as parts:
        await ask(parts, "bad", deploymentConfiguration={"strategy": "ROLLING", "maximumPercent": {}})
        arn = await ask(parts, "good")
        async with keeping(parts):
            await parts.until(lambda tx: len(live(tx, arn)) == 2)
            await fail_all(parts, arn)
            await parts.until(lambda tx: len(live(tx, arn)) == 2)


async def test_only_the_newest_hundred_events_are_kept(tmp_path: Path) -> None:
    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts, count=1)
        for _ in range(60):
            await parts.until(lambda tx: len(live(tx, arn)) == 1)
            await run_all(parts, arn)
            await settled_steady(parts, arn)
            await fail_running(parts, arn)
            await settled(parts)
            parts.clock.advance(10)
        await settled(parts)
        found = await parts.store.read(lambda tx: tx.find(SERVICE_EVENT, "service", arn))
        assert len(found) == 100
        assert [e.sequence for e in found] == sorted(e.sequence for e in found)
        assert found[-1].message.startswith("(service web) has started 1 tasks: (task ")


async def settled_steady(parts: Parts, arn: str) -> None:
    def steady(tx: Tx) -> bool:
        service = tx.get(SERVICE, arn)
        return service is not None and service.steady_at is not None

    await parts.until(steady)


async def fail_running(parts: Parts, service: str) -> None:
    def write(tx: Tx) -> None:
        for task in live(tx, service):
            over = replace(
                task, last_status="STOPPED", desired_status="STOPPED", stop_code="EssentialContainerExited"
            )
            tx.put(TASK, over)

    await parts.store.write(write)


async def test_at_rest_nothing_is_written(tmp_path: Path) -> None:
    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts)
        await parts.until(lambda tx: len(live(tx, arn)) == 2)
        await run_all(parts, arn)
        await settled_steady(parts, arn)
        parts.clock.advance(60)
        await settled(parts)
        head = parts.store.head()
        parts.clock.advance(3600)
        await settled(parts)
        assert parts.store.head() == head
        parts.clock.advance(5 * 3600)
        await parts.until(lambda tx: _said_steady(tx, arn) == 2)


def _said_steady(tx: Tx, arn: str) -> int:
    events = tx.find(SERVICE_EVENT, "service", arn)
    return sum(1 for e in events if e.message.endswith("has reached a steady state."))


async def test_a_clock_that_is_set_back_holds_nothing_up(tmp_path: Path) -> None:
    breaker = {"strategy": "ROLLING", "deploymentCircuitBreaker": {"enable": True}}
    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts, deploymentConfiguration=breaker)
        failing = await ask(parts, "failing", count=1)
        await parts.until(lambda tx: len(live(tx, arn)) == 2)
        await run_all(parts, arn)
        for _ in range(5):
            parts.clock.advance(4)
            await parts.until(lambda tx: len(live(tx, failing)) == 1)
            await fail_all(parts, failing)
            await settled(parts)
        assert await parts.store.read(lambda tx: live(tx, failing)) == [], "the next one waits"
        parts.clock.advance(-3600)
        await ask(parts, "other", count=0)  # the loop looks at the clock
        await parts.until(lambda tx: state(tx, arn) == (1, "COMPLETED"))
        await parts.until(lambda tx: len(live(tx, failing)) == 1)


async def test_what_exits_at_once_is_started_less_and_less_often(tmp_path: Path) -> None:
    def asked_for(tx: Tx) -> bool:
        return len(live(tx, arn)) == 1

    async with place(tmp_path) as parts, keeping(parts):
        arn = await ask(parts, count=1)
        for _ in range(10):  # as fast as they end
            await parts.until(asked_for)
            await run_all(parts, arn)
            await fail_running(parts, arn)
        for wait in (1, 2, 4, 8, 10, 10):
            await settled(parts)
            parts.clock.advance(wait - 0.1)
            await settled(parts)
            assert await parts.store.read(lambda tx: live(tx, arn)) == []
            parts.clock.advance(0.1)
            await parts.until(asked_for)
            await run_all(parts, arn)
            await fail_running(parts, arn)
