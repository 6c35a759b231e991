"""Tasks as they begin: PROVISIONING, made of a cluster, a definition and what was asked for. Pure.

Called by services/ecs (RunTask) and control/services (the tasks of services); control/placement goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neargate.kit.ids import Ids
from neargate.model.overrides import Overridden
from neargate.model.record import Scope
from neargate.model.task import Cluster, Container, Task, TaskDefinition


@dataclass(frozen=True, slots=True)
class Order:
    """What equal tasks are made of; each gets ids of its own."""

    scope: Scope
    cluster: Cluster
    definition: TaskDefinition
    size: Overridden
    isolation_demand: str
    platform_version: str
    group: str
    started_by: str | None
    tags: dict[str, str]
    enable_execute_command: bool
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    """Empty for the VPC's default group: placement fills it in."""
    assign_public_ip: bool


def architecture(definition: TaskDefinition) -> str:
    asked = definition.body.get("runtimePlatform", {}).get("cpuArchitecture", "X86_64")
    return "arm64" if asked == "ARM64" else "x86_64"


def merged_tags(
    own: Mapping[str, str], propagated: Mapping[str, str], *, cluster: str = "", service: str = ""
) -> dict[str, str]:
    """A task's tags. cluster, service -- names for AWS's managed tags, empty without them."""
    tags: dict[str, str] = {}
    if cluster:
        tags["aws:ecs:clusterName"] = cluster
    if service:
        tags["aws:ecs:serviceName"] = service
    return {**tags, **propagated, **own}


def make(order: Order, provider: str | None, ids: Ids, now: float) -> Task:
    """A new task. provider -- its capacity provider; None for launch type FARGATE."""
    scope, definition, size = order.scope, order.definition, order.size
    id = ids.hex(32)
    return Task(
        account=scope.account,
        region=scope.region,
        arn=scope.arn("ecs", f"task/{order.cluster.name}/{id}"),
        id=id,
        cluster_arn=order.cluster.arn,
        definition_arn=definition.arn,
        family=definition.family,
        revision=definition.revision,
        last_status="PROVISIONING",
        desired_status="RUNNING",
        cpu=str(size.cpu),
        memory=str(size.memory),
        containers=tuple(_container(order, container, id, ids) for container in size.containers),
        capacity_provider=provider,
        platform_version=order.platform_version,
        architecture=architecture(definition),
        isolation_demand=order.isolation_demand,
        ephemeral_gib=size.storage,
        group=order.group or f"family:{definition.family}",
        started_by=order.started_by,
        overrides=size.overrides,
        tags=order.tags,
        enable_execute_command=order.enable_execute_command,
        attachment_id=ids.uuid(),
        subnets=order.subnets,
        security_groups=order.security_groups,
        assign_public_ip=order.assign_public_ip,
        created_at=now,
    )


def _container(order: Order, container: dict[str, Any], task: str, ids: Ids) -> Container:
    memory, reservation = container.get("memory"), container.get("memoryReservation")
    return Container(
        name=container["name"],
        arn=order.scope.arn("ecs", f"container/{order.cluster.name}/{task}/{ids.uuid()}"),
        image=container["image"],
        runtime_id=f"{task}-{ids.digits(10)}",
        essential=container["essential"],
        cpu=str(container["cpu"]),
        memory=None if memory is None else str(memory),
        memory_reservation=None if reservation is None else str(reservation),
    )
