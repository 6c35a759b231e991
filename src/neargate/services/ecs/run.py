"""RunTask: one write that makes a count of tasks PROVISIONING, or nothing at all.

Called by gateway/dispatch. requests.py reads what was asked for; the tasks go on in control/placement, woken
by the change feed. StartTask, which is for container instances, is refused here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import isolation, task_maker
from neargate.model.capacity import SPOT, check_strategy, falls_back, spread
from neargate.model.overrides import Overridden, apply_overrides
from neargate.model.placement import NO_CAPACITY, NO_TIER, Held, read_size, rooms
from neargate.model.spot import admitted
from neargate.model.task import Cluster, Task, TaskDefinition, TokenUse
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, render, roles
from neargate.services.ecs.network import Network, check_network
from neargate.services.ecs.requests import Request, check_platform, read_request
from neargate.state import outbox
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
    definition = names.active_definition(tx, call.scope, request.task_definition)
    providers = _providers(cluster, request)
    if "FARGATE" not in definition.body["compatibilities"]:
        raise names.invalid(_NOT_FARGATE)
    check_platform(request, definition.body, spot="FARGATE_SPOT" in providers)
    network = request.network()
    overridden = apply_overrides(definition.body, request.overrides, large=call.settings.large_tasks)
    check_network(tx, call.scope, network)
    roles.check_assumed(tx, call, request.overrides, definition.body)
    demand = isolation.demanded(cluster.tags, definition.tags, request.tags)
    tags = (cluster.tags, request.tags)
    places, failure = _room(
        tx, call, overridden, task_maker.architecture(definition), providers, demand, tags
    )
    order = _order(call, cluster, definition, request, network, overridden, demand)
    now = call.now()
    placed = [provider for provider, place in zip(providers, places, strict=True) if place]
    made = [task_maker.make(order, provider, call.ids, now) for provider in placed]
    tasks = [outbox.task_changed(tx, tx.insert(TASK, task), now) for task in made]
    return tasks, [{"arn": cluster.arn, **failure} for _ in range(request.count - len(made))]


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


def _room(
    tx: Tx,
    call: Call,
    size: Overridden,
    architecture: str,
    providers: Sequence[str | None],
    demand: str,
    tags: Sequence[Mapping[str, str]],
) -> tuple[Sequence[bool], dict[str, str]]:
    """Which of the tasks the nodes have room for, and what is the matter with the rest, which fails at once.

    Before any node has come, tasks wait for one. Placement, which comes later, has the last word.
    """
    nodes = tx.all(NODE)
    failure = {"reason": "RESOURCE:FARGATE", "detail": NO_CAPACITY}
    if not nodes:
        return [True] * len(providers), failure
    if demand and not any(demand in node.tiers for node in nodes):
        return [False] * len(providers), {"reason": "ATTRIBUTE", "detail": NO_TIER.format(demand)}
    settings = call.settings
    space = rooms(nodes, {}, settings.overcommit_cpu, settings.overcommit_memory)
    on_spot = [provider == SPOT and not falls_back(*tags) for provider in providers]
    return admitted(on_spot, size.cpu, size.memory, architecture, demand, space, _held(tx)), failure


def _held(tx: Tx) -> list[Held]:
    """What all tasks hold, from the index alone: no task is decoded."""
    return [read_size(value, tx.count(TASK, "size", value)) for value in tx.values(TASK, "size", until=_LAST)]


def _order(
    call: Call,
    cluster: Cluster,
    definition: TaskDefinition,
    request: Request,
    network: Network,
    size: Overridden,
    demand: str,
) -> task_maker.Order:
    tags = task_maker.merged_tags(
        request.tags,
        definition.tags if request.propagate_tags else {},
        cluster=cluster.name if request.managed_tags else "",
    )
    names.check_tag_count(tags)
    return task_maker.Order(
        scope=call.scope,
        cluster=cluster,
        definition=definition,
        size=size,
        isolation_demand=demand,
        platform_version=request.platform_version,
        group=request.group,
        started_by=request.started_by,
        tags=tags,
        enable_execute_command=request.enable_execute_command,
        subnets=network.subnets,
        security_groups=network.security_groups,
        assign_public_ip=network.assign_public_ip,
    )


async def start_task(call: Call, params: Params) -> Result:
    """There are no container instances to start a task on: each one named is missing."""
    instances = params["containerInstances"]
    if not 1 <= len(instances) <= 10:
        raise names.invalid("Container instances must be between 1 and 10.")
    names.storable(params)
    arn = names.cluster_arn(params.get("cluster"), call.scope)

    def body(tx: Tx) -> None:
        names.need_cluster(tx, arn)
        definition = names.active_definition(tx, call.scope, params["taskDefinition"])
        if "EC2" not in definition.body.get("requiresCompatibilities", ("EC2",)):
            raise names.invalid("Task definition does not support launch_type EC2.")

    await call.store.read(body)
    return {"tasks": [], "failures": [names.missing(instance) for instance in instances]}
