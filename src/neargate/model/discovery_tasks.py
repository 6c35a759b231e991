"""What a service's tasks are in service discovery: the instances that they are registered as. Pure.

Called by control/discovery.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neargate.model.discovery import (
    HEALTHY,
    INIT_HEALTH,
    IPV4,
    PORT,
    UNHEALTHY,
    DiscoveryService,
    Instance,
    bare_id,
    instance_key,
)
from neargate.model.task import Task, TaskDefinition


def first_health(definition: TaskDefinition | None) -> str:
    """Before its health checks have said anything; a task that has none is well."""
    containers = definition.body["containerDefinitions"] if definition is not None else ()
    checked = any(c.get("healthCheck") and c.get("essential", True) for c in containers)
    return UNHEALTHY if checked else HEALTHY


def instances_of(
    task: Task,
    registries: Sequence[Mapping[str, Any]],
    services: Mapping[str, DiscoveryService],
    definition: TaskDefinition | None,
    now: float,
) -> dict[str, Instance]:
    """By their keys: none for a task that does not run, or is about to stop.

    registries -- `serviceRegistries` of its revision. services -- those of them that exist, by id.
    """
    if task.last_status != "RUNNING" or task.desired_status != "RUNNING" or not task.private_ip:
        return {}
    first = first_health(definition)
    health = task.health if task.health in (HEALTHY, UNHEALTHY) else first
    found = {}
    for registry in registries:
        service = services.get(bare_id(registry["registryArn"]))
        if service is None:
            continue
        instance = Instance(
            account=service.account,
            region=service.region,
            service_id=service.id,
            id=task.id,
            attributes=_attributes(task, registry, first),
            health=health,
            registered_at=now,
            task_arn=task.arn,
        )
        found[instance_key(service.id, task.id)] = instance
    return found


def _attributes(task: Task, registry: Mapping[str, Any], health: str) -> dict[str, str]:
    port = registry.get("port") or registry.get("containerPort")
    attributes = {
        INIT_HEALTH: health,
        IPV4: task.private_ip,
        "AVAILABILITY_ZONE": task.availability_zone,
        "REGION": task.region,
        "ECS_CLUSTER_NAME": task.cluster_arn.rpartition("/")[2],
        "ECS_SERVICE_NAME": task.service_arn.rpartition("/")[2],
        "ECS_TASK_DEFINITION_FAMILY": task.family,
    }
    return attributes | ({PORT: str(port)} if port else {})


def differences(
    kept: Iterable[Instance], wanted: Mapping[str, Instance]
) -> tuple[list[Instance], list[Instance]]:
    """(to write, to remove). One that is there stays as it was registered, but for its health."""
    known = {instance_key(one.service_id, one.id): one for one in kept}
    write = [
        one
        for key, one in wanted.items()
        if key not in known or known[key].health != one.health or known[key].attributes != one.attributes
    ]
    return write, [one for key, one in known.items() if key not in wanted]
