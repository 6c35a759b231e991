"""What a task's EFS volumes come to, by the records as they are when the task gets its sandbox.

Called by views.py, inside its read. Who may use a file system is not asked: `iam` and file system policies
are recorded only.
"""

from typing import TypeVar

from neargate.model.efs import bare_id, shared_volume
from neargate.model.record import Record
from neargate.model.sandbox import SharedVolume
from neargate.model.task import Task, TaskDefinition
from neargate.state.catalog import EFS_ACCESS_POINT, EFS_FILE_SYSTEM, EFS_MOUNT_TARGET
from neargate.state.store import Tx

R = TypeVar("R", bound=Record)


def shared(
    tx: Tx, task: Task, definition: TaskDefinition, *, vpc_id: str, root: str
) -> tuple[SharedVolume, ...]:
    """Raise ValueError, in the mount helper's words, where a file system cannot be had."""
    found = []
    for volume in definition.body.get("volumes", ()):
        given = volume.get("efsVolumeConfiguration")
        if not given:
            continue
        file_system = _own(task, tx.get(EFS_FILE_SYSTEM, bare_id(given["fileSystemId"])))
        point = given.get("authorizationConfig", {}).get("accessPointId")
        found.append(
            shared_volume(
                volume["name"],
                given,
                file_system,
                _own(task, tx.get(EFS_ACCESS_POINT, bare_id(point))) if point else None,
                tx.find(EFS_MOUNT_TARGET, "file-system", file_system.id) if file_system else [],
                vpc_id=vpc_id,
                root=root,
            )
        )
    return tuple(found)


def _own(task: Task, found: R | None) -> R | None:
    return found if found and (found.account, found.region) == (task.account, task.region) else None
