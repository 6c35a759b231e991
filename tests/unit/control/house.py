"""A store of its own with the default network, and tasks to put into it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from neargate.control.bootstrap import ensure_default_network
from neargate.kit.clock import ManualClock
from neargate.kit.ids import SeededIds
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.model.task import Container, Node, Task
from neargate.state.catalog import NODE, SUBNET, TASK
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx

SCOPE = Scope("000000000000", "us-east-1")
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    settings: Settings
    store: SqliteStore
    clock: ManualClock
    ids: SeededIds

    @property
    def metrics(self) -> SqliteStore:
        """In the same file: a test needs no second one."""
        return self.store

    @property
    def logs(self) -> SqliteStore:
        return self.store

    @property
    def signing_key(self) -> bytes:
        return b"k" * 32

    async def get(self, arn: str) -> Task:
        task = await self.store.read(lambda tx: tx.get(TASK, arn))
        assert task is not None
        return task

    async def until(self, met: Callable[[Tx], bool]) -> None:
        """Wait on the feed until the store says so."""
        head = self.store.head()
        while not await self.store.read(met):
            head = await self.store.wait(head)


@asynccontextmanager
async def house(directory: Path, **settings: Any) -> AsyncIterator[Parts]:
    async with SqliteStore(directory / "truth.db") as store:
        parts = Parts(Settings(data_dir=directory, **settings), store, ManualClock(), SeededIds(1))
        await ensure_default_network(store, SCOPE, parts.settings, parts.ids)
        yield parts


async def add_node(parts: Parts, **fields: Any) -> None:
    values = {"id": "n1", "cpu_units": 2048, "memory_mib": 4096, "architecture": "x86_64", **fields}
    node = Node(account=SCOPE.account, region=SCOPE.region, **values)
    await parts.store.write(lambda tx: tx.put(NODE, node))


async def subnets(parts: Parts) -> tuple[str, ...]:
    return tuple(s.id for s in await parts.store.read(lambda tx: tx.all(SUBNET, SCOPE)))


def make_task(number: int, subnets: tuple[str, ...], now: float, **fields: Any) -> Task:
    id = f"{number:032x}"
    values: dict[str, Any] = {
        "arn": SCOPE.arn("ecs", f"task/c/{id}"),
        "id": id,
        "cluster_arn": SCOPE.arn("ecs", "cluster/c"),
        "definition_arn": SCOPE.arn("ecs", "task-definition/f:1"),
        "family": "f",
        "revision": 1,
        "last_status": "PROVISIONING",
        "desired_status": "RUNNING",
        "cpu": "256",
        "memory": "512",
        "containers": (Container(name="web", arn="arn:c", image="i", runtime_id=f"{id}-1"),),
        "attachment_id": f"attachment-{number}",
        "subnets": subnets,
        "created_at": now,
        **fields,
    }
    return Task(account=SCOPE.account, region=SCOPE.region, **values)


async def add_tasks(parts: Parts, count: int, first: int = 1, **fields: Any) -> list[Task]:
    wanted = fields.pop("subnets", None) or await subnets(parts)
    tasks = [make_task(first + i, wanted, parts.clock.now(), **fields) for i in range(count)]
    await parts.store.write(lambda tx: [tx.insert(TASK, task) for task in tasks])
    return tasks
