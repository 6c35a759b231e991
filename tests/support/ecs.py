"""The ECS room on a store of its own, without a door: operations called as a client would call them.

What goes in and what comes out is held against botocore's model. Used by tests/api/test_ecs*.py.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import botocore.loaders
import botocore.model
import botocore.session
from botocore import xform_name
from botocore.validate import ParamValidator

import neargate.services.ecs
from neargate.control.bootstrap import ensure_default_network
from neargate.kit.clock import ManualClock
from neargate.kit.ids import SeededIds
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.services.call import Call, House
from neargate.state.catalog import SECURITY_GROUP, SUBNET
from neargate.state.sqlite import SqliteStore

SCOPE = Scope("123456789012", "us-east-1")
ROLE = "arn:aws:iam::123456789012:role/execution"
_MODEL = botocore.model.ServiceModel(
    botocore.loaders.create_loader().load_service_model("ecs", "service-2"), "ecs"
)
_OPERATIONS = {xform_name(name): name for name in _MODEL.operation_names}


def _functions() -> dict[str, Any]:
    import importlib
    import pkgutil

    found = {}
    for info in pkgutil.iter_modules(neargate.services.ecs.__path__):
        module = importlib.import_module(f"neargate.services.ecs.{info.name}")
        found.update({n: f for n, f in vars(module).items() if n in _OPERATIONS})
    return found


_FUNCTIONS = _functions()


class Ecs:
    """`await ecs.run_task(cluster="c", …)` answers, or raises ApiError."""

    def __init__(self, store: SqliteStore, settings: Settings) -> None:
        self.clock = ManualClock()
        self.store = store
        house = House(
            settings=settings,
            store=store,
            logs=store,
            blobs=cast(Any, None),
            clock=self.clock,
            ids=SeededIds(1),
            signing_key=b"",
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
        model = _MODEL.operation_model(_OPERATIONS[operation])

        async def run(**params: Any) -> dict[str, Any]:
            _check(params, model.input_shape, f"{operation} takes")
            result = await _FUNCTIONS[operation](self.call, params)
            _check(result, model.output_shape, f"{operation} answers")
            return cast(dict[str, Any], json.loads(json.dumps(result)))

        return run

    async def run(self, **changes: Any) -> dict[str, Any]:
        """run_task of definition `web` on cluster `default`, with changes."""
        params = {"taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": self.network}
        params.update(changes)
        return cast(dict[str, Any], await self.run_task(**{k: v for k, v in params.items() if v is not None}))


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
