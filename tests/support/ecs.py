"""The ECS room on a store of its own, without a door: operations called as a client would call them.

What goes in and what comes out is held against botocore's model. Used by tests/api/test_ecs*.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import botocore.loaders
import botocore.model
import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

import neargate.services.ecs
from neargate.control.bootstrap import ensure_default_network
from neargate.control.loops import Loops
from neargate.control.retention import Retention
from neargate.kit.clock import ManualClock
from neargate.kit.errors import ApiError
from neargate.kit.ids import SeededIds
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.model.sandbox import SandboxStatus
from neargate.model.task import Node
from neargate.services.call import Call, House
from neargate.services.cell.local import LocalCell
from neargate.state.catalog import NODE, SECURITY_GROUP, SUBNET, TASK
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx

SCOPE = Scope("123456789012", "us-east-1")
ROLE = "arn:aws:iam::123456789012:role/execution"
MODEL = botocore.model.ServiceModel(
    botocore.loaders.create_loader().load_service_model("ecs", "service-2"), "ecs"
)
OPERATIONS = {xform_name(name): name for name in MODEL.operation_names}


def _functions() -> dict[str, Any]:
    import importlib
    import pkgutil

    found = {}
    for info in pkgutil.iter_modules(neargate.services.ecs.__path__):
        module = importlib.import_module(f"neargate.services.ecs.{info.name}")
        found.update({n: f for n, f in vars(module).items() if n in OPERATIONS})
    return found


FUNCTIONS = _functions()


class Ecs:
    """`await ecs.run_task(cluster="c", …)` answers, or raises ApiError."""

    def __init__(self, store: SqliteStore, settings: Settings) -> None:
        self.clock = ManualClock()
        self.store = store
        house = House(
            settings=settings,
            store=store,
            logs=store,
            metrics=store,
            blobs=cast(Any, None),
            clock=self.clock,
            ids=SeededIds(1),
            signing_key=b"key",
            endpoint="http://127.0.0.1:1",
        )
        root = f"arn:aws:iam::{SCOPE.account}:root"
        self.call = Call(house, SCOPE, root, "AKIATEST", "request")
        self.subnets: list[str] = []
        self.group = ""

    async def prepare(self) -> None:
        await ensure_default_network(self.store, SCOPE, self.call.settings, self.call.ids)
        self.subnets = [s.id for s in await self.store.read(lambda tx: tx.all(SUBNET))]
        self.group = (await self.store.read(lambda tx: tx.all(SECURITY_GROUP)))[0].id

    @property
    def network(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": self.subnets}}

    def __getattr__(self, operation: str) -> Any:
        model = MODEL.operation_model(OPERATIONS[operation])

        async def run(**params: Any) -> dict[str, Any]:
            _check(params, model.input_shape, f"{operation} takes")
            result = await FUNCTIONS[operation](self.call, params)
            _check(result, model.output_shape, f"{operation} answers")
            return cast(dict[str, Any], json.loads(json.dumps(result)))

        return run

    async def start(self, count: int = 1, **changes: Any) -> list[str]:
        """ARNs of tasks of definition `web` on cluster `default`; both are made if they are not there."""
        if not (await self.list_clusters())["clusterArns"]:
            await self.create_cluster()
        if not (await self.list_task_definition_families(status="ACTIVE"))["families"]:
            await self.register_task_definition(**definition())
        answer = await self.run(count=count, **changes)
        assert answer["failures"] == []
        return [task["taskArn"] for task in answer["tasks"]]

    async def task(self, arn: str, **params: Any) -> dict[str, Any]:
        (task,) = (await self.describe_tasks(cluster=arn.split("/")[1], tasks=[arn], **params))["tasks"]
        return cast(dict[str, Any], task)

    async def add_node(self, **fields: Any) -> None:
        values = {"id": "n1", "cpu_units": 4096, "memory_mib": 16384, "architecture": "x86_64", **fields}
        node = Node(account=SCOPE.account, region=SCOPE.region, **values)
        await self.store.write(lambda tx: tx.put(NODE, node))

    async def settle(self) -> None:
        """Let the control loops run until no task waits for a node, for its end or for its release."""

        def settled(tx: Tx) -> bool:
            open_ = tx.find(TASK, "open", "yes")
            return not any(
                t.last_status == "STOPPED" or (not t.node and (t.desired_status == "STOPPED" or tx.all(NODE)))
                for t in open_
            )

        async with asyncio.TaskGroup() as group:
            loops = group.create_task(Loops(self.call.house).run())
            async with asyncio.timeout(20):
                await self._until(settled)
            loops.cancel()

    async def forget(self) -> None:
        """One round of retention: what is older than a stopped task is kept for is gone."""
        await Retention(self.call.house).round()

    async def _until(self, met: Callable[[Tx], bool]) -> None:
        head = self.store.head()
        while not await self.store.read(met):
            head = await self.store.wait(head)

    async def report(self, arn: str, phase: str, **fields: Any) -> dict[str, Any]:
        """What node n1 says of a task; the task as DescribeTasks then shows it."""
        record = await self.store.read(lambda tx: tx.get(TASK, arn))
        assert record is not None
        status = SandboxStatus(
            id=record.id, sequence=record.sandbox_sequence + 1, phase=cast(Any, phase), **fields
        )
        await LocalCell(self.call.house).report("n1", [status])
        return await self.task(arn)

    async def run(self, **changes: Any) -> dict[str, Any]:
        """run_task of definition `web` on cluster `default`, with changes."""
        params = {"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": self.network}
        params.update(changes)
        return cast(dict[str, Any], await self.run_task(**{k: v for k, v in params.items() if v is not None}))


@contextmanager
def refused(code: str, message: str) -> Iterator[pytest.ExceptionInfo[ApiError]]:
    """What is done within is refused with exactly this error."""
    with pytest.raises(ApiError) as caught:
        yield caught
    assert (caught.value.code, caught.value.message) == (code, message)


def _check(value: Any, shape: Any, what: str) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), f"{what} what the model does not have: {report.generate_report()}"


def container(name: str = "web-app", /, **members: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox:latest", "essential": True, **members}


def definition(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A right Fargate definition, with changes; a member that is None is left out."""
    params = {
        "family": "web",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
        "executionRoleArn": ROLE,
        "containerDefinitions": list(containers) or [container()],
        **members,
    }
    return {k: v for k, v in params.items() if v is not None}


@asynccontextmanager
async def opened(directory: Path, **settings: Any) -> AsyncIterator[Ecs]:
    loaded = Settings.load({}, data_dir=directory, account_id=SCOPE.account, **settings)
    async with SqliteStore(directory / "state.db") as store:
        ecs = Ecs(store, loaded)
        await ecs.prepare()
        yield ecs
