"""Thousands of nearly right calls in a row: each is answered as the model says, or refused with an error that
the model has for the operation, and what is refused changes nothing.
"""

import random
from collections import Counter
from typing import Any

from botocore import model
from botocore.validate import ParamValidator

from neargate.kit.errors import ApiError
from neargate.model.discovery import Namespace
from neargate.state.catalog_discovery import NAMESPACE
from tests.support import ecs as support
from tests.support.ecs import SCOPE, Ecs, container, definition

CALLS = 6000
CLUSTERS = (
    "default",
    "default",
    "c",
    SCOPE.arn("ecs", "cluster/c"),
    "nosuch",
    "arn:aws:ecs:eu-west-1:1:cluster/c",
    "",
)
DEFINITIONS = (
    "web",
    "web",
    "web:1",
    "web:2",
    "job:1",
    SCOPE.arn("ecs", "task-definition/web:3"),
    "web:x",
    "a b",
)
TEXTS = (
    "",
    "a",
    "web",
    "x" * 300,
    "%",
    "ä😀",
    "\ud800",
    "\0",
    "-1",
    "arn:",
    "FARGATE",
    "sidecar",
    "/x",
    "1.4.0",
)
NUMBERS = (-(2**31), -1, 0, 1, 2, 10, 21, 80, 256, 512, 2**31 - 1)
# Member -> what it is often given, whatever the operation.
USUAL: dict[str, tuple[Any, ...]] = {
    "cluster": CLUSTERS,
    "clusterName": ("c", "d", "default"),
    "taskDefinition": DEFINITIONS,
    "family": ("web", "job"),
    "networkMode": ("awsvpc",),
    "cpu": ("256", "512", ".25 vCPU"),
    "memory": ("512", "1024", "0.5 GB"),
    "requiresCompatibilities": (["FARGATE"], ["EC2"]),
    "containerDefinitions": ([container()], [container(memory=64), container("sidecar", essential=False)]),
    "launchType": ("FARGATE",),
    "executionRoleArn": (support.ROLE, "role"),
    "count": (1, 2, 10),
    "clientToken": ("t1", "t2"),
    "settings": ([{"name": "containerInsights", "value": "enabled"}],),
    "name": ("containerInsights",),
    "value": ("enabled", "disabled"),
    "taskDefinitions": (["web:1"], ["job:1", "web:2"]),
    "tags": ([{"key": "a", "value": "b"}], []),
    "capacityProviders": (["FARGATE"], ["FARGATE_SPOT", "FARGATE"]),
    "service": ("web", "web0", "web1", "external", SCOPE.arn("ecs", "service/default/external")),
    "serviceName": ("web", "external", *(f"web{n}" for n in range(20))),
    "services": (["web"], ["web", "other"]),
    "desiredCount": (0, 1, 2),
    "scale": ({"value": 50.0, "unit": "PERCENT"},),
    "deploymentConfiguration": ({"maximumPercent": 150}, {"strategy": "CANARY"}),
    "schedulingStrategy": ("REPLICA",),
    "namespace": ("space",),
    "defaultCapacityProviderStrategy": ([{"capacityProvider": "FARGATE", "weight": 1}],),
}
# What the others need.
OFTEN = (
    *("create_cluster", "register_task_definition", "run_task", "create_task_set"),
    *("create_service", "create_service", "update_service", "update_service"),
)
# Members of other features that would refuse nearly everything.
RARE = frozenset((
    *("inferenceAccelerators", "placementConstraints", "placementStrategy", "volumeConfigurations"),
    *("ipcMode", "vpcLatticeConfigurations", "gatewayConnectors", "monitoring", "role", "loadBalancers"),
    *("serviceRegistries", "serviceConnectConfiguration", "deploymentController"),
))  # fmt: skip


async def add_namespace(ecs: Ecs) -> None:
    space = Namespace(
        account=SCOPE.account,
        region=SCOPE.region,
        id="ns-1",
        arn=SCOPE.arn("servicediscovery", "namespace/ns-1"),
        name="space",
        type="HTTP",
        http_name="space",
    )
    await ecs.store.write(lambda tx: tx.put(NAMESPACE, space))


class Maker:
    def __init__(self, seed: int, ecs: Ecs) -> None:
        self.random = random.Random(seed)
        self.usual = {**USUAL, "networkConfiguration": (ecs.network,), "nextToken": ("MWE=",)}
        self.tasks: list[str] = ["0" * 32]
        self.tame = False
        """Of what is usual only."""

    def params(self, shape: model.Shape | None) -> dict[str, Any]:
        return {} if shape is None else self._structure(shape, 0)

    def _structure(self, shape: Any, depth: int) -> dict[str, Any]:
        made = {}
        if depth == 0:
            self.tame = self.random.random() < 0.5
        for name, member in shape.members.items():
            chance = (
                1.0 if name in shape.required_members else 0.02 if name in RARE else 0.3 if depth < 4 else 0
            )
            if name in self.usual and depth == 0:
                chance = max(chance, 0.7)
            if self.random.random() < chance:
                made[name] = self._value(name, member, depth)
        return made

    def _value(self, name: str, shape: Any, depth: int) -> Any:
        usual = self._often(name) if depth == 0 else None
        if usual is not None and (self.tame or self.random.random() < 0.85):
            return self.random.choice(usual)
        if shape.type_name == "structure":
            return self._structure(shape, depth + 1)
        if shape.type_name == "list":
            return [self._value("", shape.member, depth + 1) for _ in range(self.random.choice((0, 1, 1, 2)))]
        if shape.type_name == "map":
            return {self.random.choice(TEXTS): self._value("", shape.value, depth + 1)}
        if shape.type_name == "boolean":
            return self.random.random() < 0.5
        if shape.type_name in ("integer", "long"):
            return self.random.choice(NUMBERS)
        if shape.type_name in ("float", "double", "timestamp"):
            return float(self.random.choice(NUMBERS))
        least = shape.metadata.get("min", 0)
        return self.random.choice(getattr(shape, "enum", None) or [t for t in TEXTS if len(t) >= least])

    def _often(self, name: str) -> tuple[Any, ...] | None:
        if name == "task":
            return tuple(self.tasks[-5:])
        if name == "tasks":
            return (self.tasks[-3:],)
        if name == "resourceArn":
            return (self.tasks[-1], SCOPE.arn("ecs", "cluster/c"), SCOPE.arn("ecs", "task-definition/web:1"))
        return self.usual.get(name)

    def seen(self, result: dict[str, Any]) -> None:
        """What an answer names may be asked about later."""
        self.tasks += [task["taskArn"] for task in result.get("tasks", ())]
        service, task_set = result.get("service", {}), result.get("taskSet", {})
        if "currentServiceDeployment" in service and service["status"] == "ACTIVE":
            arn = service["currentServiceDeployment"]
            self.usual |= {"serviceDeploymentArn": (arn,), "serviceDeploymentArns": ([arn],)}
            self.usual["serviceRevisionArns"] = ([r["arn"] for r in service["currentServiceRevisions"]],)
        if task_set:
            self.usual["taskSet"] = self.usual["primaryTaskSet"] = (task_set["id"], task_set["taskSetArn"])
            self.usual["taskSets"] = ([task_set["id"]],)


async def test_any_call_is_answered_or_refused_as_the_model_says(ecs: Ecs) -> None:
    await ecs.add_node()
    for cluster in ("default", "c"):
        await ecs.create_cluster(clusterName=cluster, capacityProviders=["FARGATE", "FARGATE_SPOT"])
    await ecs.register_task_definition(**definition())
    await ecs.create_service(
        serviceName="external", desiredCount=2, deploymentController={"type": "EXTERNAL"}
    )
    for name in ("web", "web0", "web1"):
        await ecs.create_service(
            serviceName=name,
            desiredCount=2,
            taskDefinition="web",
            launchType="FARGATE",
            networkConfiguration=ecs.network,
        )
    await add_namespace(ecs)
    maker = Maker(7, ecs)
    names = [*sorted(support.FUNCTIONS), *OFTEN * 5]
    answered: Counter[str] = Counter()
    for _ in range(CALLS):
        name = maker.random.choice(names)
        shape = support.MODEL.operation_model(support.OPERATIONS[name])
        params = maker.params(shape.input_shape)
        if ParamValidator().validate(params, shape.input_shape).has_errors():
            continue  # the wire's business
        head = ecs.store.head()
        try:
            result = await getattr(ecs, name)(**params)
        except ApiError as error:
            declared = {e.name for e in shape.error_shapes}
            assert error.code in declared, f"{name} has no {error.code} ({error.message}): {params}"
            assert ecs.store.head() == head, f"{name} was refused and wrote: {params}"
        else:
            answered[name] += 1
            maker.seen(result)
    # there is nothing to delete here, no container that runs, no deployment that pauses
    none = {"delete_capacity_provider", "execute_command", "continue_service_deployment"}
    never = set(support.FUNCTIONS) - set(answered) - none
    assert not never, f"never answered, so hardly tested: {never}"
    assert await ecs.store.read(lambda tx: tx.execute("SELECT count(*) FROM record")[0][0]) > 20
