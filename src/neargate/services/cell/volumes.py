"""What a task's EFS volumes come to, by the records as they are when the task gets its sandbox.

Called by views.py, inside its read. Who may use a file system is asked in volume_rights.py.
"""

from typing import TypeVar

from msgspec.structs import replace

from neargate.model.efs import bare_id, shared_volume
from neargate.model.record import Record
from neargate.model.sandbox import SandboxSpec, SharedVolume
from neargate.model.task import Task, TaskDefinition
from neargate.services.cell.volume_rights import may_write
from neargate.state.catalog import EFS_ACCESS_POINT, EFS_FILE_SYSTEM, EFS_MOUNT_TARGET
from neargate.state.store import Tx

R = TypeVar("R", bound=Record)


def shared(
    tx: Tx, task: Task, definition: TaskDefinition, *, vpc_id: str, root: str, iam: str, now: float
) -> tuple[tuple[SharedVolume, ...], frozenset[str]]:
    """The volumes, and the names of those that the task may only read.

    iam -- the setting. Raise ValueError, in the mount helper's words, where a file system cannot be had.
    """
    found, readonly = [], set()
    for volume in definition.body.get("volumes", ()):
        given = volume.get("efsVolumeConfiguration")
        if not given:
            continue
        file_system = _own(task, tx.get(EFS_FILE_SYSTEM, bare_id(given["fileSystemId"])))
        named = given.get("authorizationConfig", {}).get("accessPointId")
        point = _own(task, tx.get(EFS_ACCESS_POINT, bare_id(named))) if named else None
        found.append(
            shared_volume(
                volume["name"],
                given,
                file_system,
                point,
                tx.find(EFS_MOUNT_TARGET, "file-system", file_system.id) if file_system else [],
                vpc_id=vpc_id,
                root=root,
            )
        )
        assert file_system is not None  # or it would not have been had
        through = point.arn if point else None
        if not may_write(tx, iam, task, definition, given, file_system, through, now):
            readonly.add(volume["name"])
    return tuple(found), frozenset(readonly)


def restrained(spec: SandboxSpec, readonly: frozenset[str]) -> SandboxSpec:
    """With these volumes mounted read-only, whatever the containers ask for."""
    if not readonly:
        return spec
    containers = tuple(
        replace(
            container,
            mounts=tuple(
                replace(mount, readonly=mount.readonly or mount.volume in readonly)
                for mount in container.mounts
            ),
        )
        for container in spec.containers
    )
    return replace(spec, containers=containers)


def _own(task: Task, found: R | None) -> R | None:
    return found if found and (found.account, found.region) == (task.account, task.region) else None
