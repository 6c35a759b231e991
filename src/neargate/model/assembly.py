"""From a task and its definition to the sandbox that a node runs: the overrides applied, the defaults filled.

Pure. Called by services/cell when a node is given a task; containers are made in assembly_containers. What
this version cannot make real raises ValueError with a text that becomes the task's stoppedReason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.assembly_containers import container_spec
from neargate.model.assembly_firelens import with_router
from neargate.model.sandbox import InterfaceSpec, SandboxSpec, SharedVolume
from neargate.model.task import Task, TaskDefinition

_MIB = 1024**2
_GIB = 1024**3


def sandbox_spec(
    task: Task,
    definition: TaskDefinition,
    interface: InterfaceSpec | None,
    *,
    log_driver_mode: str,
    shared_volumes: tuple[SharedVolume, ...] = (),
) -> SandboxSpec:
    """What the node runs for `task`. `log_driver_mode` is the account's default `mode` of awslogs;
    `shared_volumes` are what the definition's EFS volumes come to.

    Raises ValueError on what is accepted at registration but cannot be made real here.
    """
    body = definition.body
    if body.get("proxyConfiguration"):
        raise ValueError("proxyConfiguration (App Mesh) is not available in this version")
    overrides = {o["name"]: o for o in task.overrides.get("containerOverrides", ()) if "name" in o}
    running = {c.name: c for c in task.containers}
    containers = tuple(
        container_spec(
            container,
            overrides.get(container["name"], {}),
            task=task,
            runtime_id=running[container["name"]].runtime_id,
            mode=log_driver_mode,
        )
        for container in body["containerDefinitions"]
    )
    return SandboxSpec(
        id=task.id,
        containers=with_router(containers, body["containerDefinitions"], task),
        interface=interface,
        cpu=int(task.cpu),
        memory=int(task.memory) * _MIB,
        ephemeral_bytes=task.ephemeral_gib * _GIB,
        volumes=_volumes(body.get("volumes", ())),
        shared_volumes=shared_volumes,
        shared_pid=body.get("pidMode") == "task",
        tier=task.isolation or "process",
        account=task.account,
        region=task.region,
        labels=_labels(task),
    )


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    for volume in volumes:
        for kind in ("s3filesVolumeConfiguration", "configuredAtLaunch"):
            if volume.get(kind):
                raise ValueError(f"volume '{volume.get('name')}': {kind} is not available in this version")
    return tuple(volume["name"] for volume in volumes if not volume.get("efsVolumeConfiguration"))


def _labels(task: Task) -> tuple[tuple[str, str], ...]:
    return (
        ("com.amazonaws.ecs.cluster", task.cluster_arn),
        ("com.amazonaws.ecs.task-arn", task.arn),
        ("com.amazonaws.ecs.task-definition-family", task.family),
        ("com.amazonaws.ecs.task-definition-version", str(task.revision)),
    )
