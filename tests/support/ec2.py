"""The EC2 room on the ECS room without a door (tests/support/ecs.py). What goes in and what comes out is held
against botocore's model.

Used by tests/api/test_ec2*.py.
"""

import importlib
import pkgutil
from typing import Any

import botocore.loaders
import botocore.model
from botocore import xform_name
from botocore.validate import ParamValidator

import neargate.services.ec2
from neargate.control import placement
from neargate.model.network import Interface
from neargate.state.catalog import INTERFACE, SUBNET, TASK
from tests.support.ecs import Ecs, definition

MODEL = botocore.model.ServiceModel(
    botocore.loaders.create_loader().load_service_model("ec2", "service-2"), "ec2"
)
OPERATIONS = {xform_name(name): name for name in MODEL.operation_names}
FUNCTIONS = {
    name: function
    for info in pkgutil.iter_modules(neargate.services.ec2.__path__)
    for name, function in vars(importlib.import_module(f"neargate.services.ec2.{info.name}")).items()
    if name in OPERATIONS
}


class Ec2:
    """`await ec2.describe_vpcs(VpcIds=[…])` answers, or raises ApiError."""

    def __init__(self, ecs: Ecs) -> None:
        self.ecs = ecs
        self.call = ecs.call

    def __getattr__(self, operation: str) -> Any:
        model = MODEL.operation_model(OPERATIONS[operation])

        async def run(**params: Any) -> dict[str, Any]:
            _check(params, model.input_shape)
            result: dict[str, Any] = await FUNCTIONS[operation](self.call, params)
            if model.output_shape is not None:
                _check(result, model.output_shape)
            return result

        return run

    async def run_tasks(self, count: int) -> list[Interface]:
        """Tasks placed as the placement loop does it; their interfaces."""
        if not await self.ecs.store.read(lambda tx: tx.all(TASK)):
            await self.ecs.create_cluster()
            await self.ecs.register_task_definition(**definition())
        answer = await self.ecs.run(count=count)
        arns = [task["taskArn"] for task in answer["tasks"]]

        def place(tx: Any) -> list[Interface]:
            subnets = tx.all(SUBNET)
            tasks = [tx.get(TASK, arn) for arn in arns]
            actions = [placement.Place(t, "node", subnets[i % 3]) for i, t in enumerate(tasks)]
            placement.apply(tx, actions, self.call.ids, self.call.now())
            return [tx.get(INTERFACE, tx.get(TASK, arn).interface_id) for arn in arns]

        return await self.ecs.store.write(place)


def _check(value: Any, shape: Any) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()


def by(name: str, *values: str) -> dict[str, Any]:
    return {"Filters": [{"Name": name, "Values": list(values)}]}
