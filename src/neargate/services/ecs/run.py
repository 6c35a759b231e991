"""RunTask: one write that makes a count of tasks PROVISIONING, or nothing at all.

Called by gateway/dispatch. requests.py reads what was asked for; the tasks go on in control/placement, woken
by the change feed. StartTask, which is for container instances, is refused here.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import isolation
from neargate.model.capacity import check_strategy, spread
from neargate.model.overrides import Overridden, apply_overrides
from neargate.model.placement import NO_CAPACITY, NO_TIER, Held, filled, fits, read_size, rooms
from neargate.model.task import Cluster, Container, Task, TaskDefinition, TokenUse
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, render
from neargate.services.ecs.network import Network, check_network
from neargate.services.ecs.requests import Request, check_platform, read_request
from neargate.state.catalog import NODE, TASK, TOKEN_USE
from neargate.state.store import Tx

_NO_INSTANCES = "No Container Instances were found in your cluster."
_LAST = "\U0010ffff"  # after every value of an index
_NOT_FARGATE = "Task definition does not support launch_type FARGATE."


async def run_task(call: Call, params: Params) -> Result:
    """Idempotent by clientToken: the same request again answers with the tasks that it made."""
    digest = hashlib.sha256(
        names.storable({k: v for k, v in params.items() if k != "clientToken"})
    ).hexdigest()
    request = read_request(params, call.scope)
    arn = names.cluster_arn(params.get("cluster"), call.scope)
    token = params.get("clientToken")

    def body(tx: Tx) -> tuple[list[Task], list[dict[str, Any]]]:
        cluster = names.need_cluster(tx, arn)
        if token and (use := tx.get(TOKEN_USE, f"{arn}/{token}")) is not None:
            return _made_before(tx, use, digest)
        tasks, failures = _run(tx, call, cluster, request)
        if token and tasks:  # a request that made nothing may be tried again
            tx.insert(
                TOKEN_USE,
                TokenUse(
                    account=call.scope.account,
                    region=call.scope.region,
                    id=f"{arn}/{token}",
                    digest=digest,
                    task_arns=tuple(task.arn for task in tasks),
                    at=call.now(),
                ),
            )
        return tasks, failures

    tasks, failures = await call.store.write(body)
    return {"tasks": [render.task(task) for task in tasks], "failures": failures}


def _made_before(tx: Tx, use: TokenUse, digest: str) -> tuple[list[Task], list[dict[str, Any]]]:
    """The tasks of a token used before; those that were forgotten since are missing, not made again."""
    if use.digest != digest:
        raise ApiError(
            "ConflictException",
            "The clientToken was already used by a request with other parameters.",
            fields={"resourceIds": list(use.task_arns)},
        )
    found = {arn: tx.get(TASK, arn) for arn in use.task_arns}
    return (
        [task for task in found.values() if task is not None],
        [names.missing(arn) for arn, task in found.items() if task is None],
    )


def _run(tx: Tx, call: Call, cluster: Cluster, request: Request) -> tuple[list[Task], list[dict[str, Any]]]:
    definition = _definition(tx, call, request.task_definition)
    providers = _providers(cluster, request)
    if "FARGATE" not in definition.body["compatibilities"]:
        raise names.invalid(_NOT_FARGATE)
    check_platform(request, definition.body, spot="FARGATE_SPOT" in providers)
    network = request.network()
    overridden = apply_overrides(definition.body, request.overrides, large=call.settings.large_tasks)
    check_network(tx, call.scope, network)
    architecture = _architecture(definition)
    demand = isolation.demanded(cluster.tags, definition.tags, request.tags)
    room, failure = _room(tx, call, overridden, architecture, request.count, demand)
    maker = _Maker(call, cluster, definition, request, network, overridden, architecture, demand)
    tasks = [tx.insert(TASK, maker.task(provider)) for provider in providers[:room]]
    return tasks, [{"arn": cluster.arn, **failure} for _ in range(request.count - room)]


def _definition(tx: Tx, call: Call, text: str) -> TaskDefinition:
    definition = names.find_definition(tx, call.scope, text)
    if definition is None:
        raise names.no_definition()
    if definition.status != "ACTIVE":
        raise names.client_error("TaskDefinition is inactive")
    return definition


def _providers(cluster: Cluster, request: Request) -> Sequence[str | None]:
    """The capacity provider of each task; None for those of launch type FARGATE."""
    strategy: Sequence[dict[str, Any]] = check_strategy(request.strategy, cluster.capacity_providers)
    if request.launch_type is None and not strategy:
        strategy = cluster.default_strategy
    if strategy:
        return spread(strategy, request.count)
    if request.launch_type != "FARGATE":
        # Without either the launch type is EC2, and no cluster here has container instances.
        raise names.invalid(_NO_INSTANCES)
    return [None] * request.count


def _architecture(definition: TaskDefinition) -> str:
    asked = definition.body.get("runtimePlatform", {}).get("cpuArchitecture", "X86_64")
    return "arm64" if asked == "ARM64" else "x86_64"


def _room(
    tx: Tx, call: Call, size: Overridden, architecture: str, count: int, demand: str
) -> tuple[int, dict[str, str]]:
    """How many of the tasks the nodes have room for now, and what is the matter with the rest, which fails
    at once.

    Before any node has come, tasks wait for one. Placement, which comes later, has the last word.
    """
    nodes = tx.all(NODE)
    failure = {"reason": "RESOURCE:FARGATE", "detail": NO_CAPACITY}
    if not nodes:
        return count, failure
    if demand and not any(demand in node.tiers for node in nodes):
        return 0, {"reason": "ATTRIBUTE", "detail": NO_TIER.format(demand)}
    settings = call.settings
    space = rooms(nodes, {}, settings.overcommit_cpu, settings.overcommit_memory)
    return fits(size.cpu, size.memory, architecture, count, filled(space, _held(tx)), demand), failure


def _held(tx: Tx) -> list[Held]:
    """What all tasks hold, from the index alone: no task is decoded."""
    return [read_size(value, tx.count(TASK, "size", value)) for value in tx.values(TASK, "size", until=_LAST)]


class _Maker:
    """Makes the equal tasks of one request, each with ids of its own."""

    def __init__(
        self,
        call: Call,
        cluster: Cluster,
        definition: TaskDefinition,
        request: Request,
        network: Network,
        overridden: Overridden,
        architecture: str,
        demand: str,
    ) -> None:
        self._call = call
        self._cluster = cluster
        self._definition = definition
        self._request = request
        self._network = network
        self._overridden = overridden
        self._architecture = architecture
        self._demand = demand
        self._tags = self._merged_tags()
        self._now = call.now()

    def task(self, provider: str | None) -> Task:
        call, request, definition, size = self._call, self._request, self._definition, self._overridden
        id = call.ids.hex(32)
        return Task(
            account=call.scope.account,
            region=call.scope.region,
            arn=call.scope.arn("ecs", f"task/{self._cluster.name}/{id}"),
            id=id,
            cluster_arn=self._cluster.arn,
            definition_arn=definition.arn,
            family=definition.family,
            revision=definition.revision,
            last_status="PROVISIONING",
            desired_status="RUNNING",
            cpu=str(size.cpu),
            memory=str(size.memory),
            containers=tuple(self._container(container, id) for container in size.containers),
            capacity_provider=provider,
            platform_version=request.platform_version,
            architecture=self._architecture,
            isolation_demand=self._demand,
            ephemeral_gib=size.storage,
            group=request.group or f"family:{definition.family}",
            started_by=request.started_by,
            overrides=size.overrides,
            tags=self._tags,
            enable_execute_command=request.enable_execute_command,
            attachment_id=call.ids.uuid(),
            subnets=self._network.subnets,
            security_groups=self._network.security_groups,
            assign_public_ip=self._network.assign_public_ip,
            created_at=self._now,
        )

    def _container(self, container: dict[str, Any], task: str) -> Container:
        ids, scope = self._call.ids, self._call.scope
        memory, reservation = container.get("memory"), container.get("memoryReservation")
        return Container(
            name=container["name"],
            arn=scope.arn("ecs", f"container/{self._cluster.name}/{task}/{ids.uuid()}"),
            image=container["image"],
            runtime_id=f"{task}-{ids.digits(10)}",
            essential=container["essential"],
            cpu=str(container["cpu"]),
            memory=None if memory is None else str(memory),
            memory_reservation=None if reservation is None else str(reservation),
        )

    def _merged_tags(self) -> dict[str, str]:
        tags: dict[str, str] = {}
        if self._request.managed_tags:
            tags["aws:ecs:clusterName"] = self._cluster.name
        if self._request.propagate_tags:
            tags.update(self._definition.tags)
        tags.update(self._request.tags)
        names.check_tag_count(tags)
        return tags


async def start_task(call: Call, params: Params) -> Result:
    """There are no container instances to start a task on: each one named is missing."""
    instances = params["containerInstances"]
    if not 1 <= len(instances) <= 10:
        raise names.invalid("Container instances must be between 1 and 10.")
    names.storable(params)
    arn = names.cluster_arn(params.get("cluster"), call.scope)

    def body(tx: Tx) -> None:
        names.need_cluster(tx, arn)
        definition = _definition(tx, call, params["taskDefinition"])
        if "EC2" not in definition.body.get("requiresCompatibilities", ("EC2",)):
            raise names.invalid("Task definition does not support launch_type EC2.")

    await call.store.read(body)
    return {"tasks": [], "failures": [names.missing(instance) for instance in instances]}
