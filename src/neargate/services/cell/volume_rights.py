"""Whether a task may mount a file system, and whether it may write there: by its role where the volume says
`iam`, as nobody else; and by the file system's own policy.

Called by volumes.py. File systems without a policy are open to everybody, as on AWS.
"""

from collections.abc import Mapping
from typing import Any

from neargate.model import endpoints
from neargate.model.actions import Need, Value
from neargate.model.efs import FileSystem
from neargate.model.rights import EVERYTHING, Rights
from neargate.model.sandbox import VOLUME_FAILED
from neargate.model.task import Task, TaskDefinition
from neargate.state import rights
from neargate.state.rights import Caller
from neargate.state.store import Tx

MOUNT, WRITE = "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"
_DENIED = (
    VOLUME_FAILED + "b'mount.nfs4: access denied by server while mounting 127.0.0.1:/'"
    " : unsuccessful EFS utils command execution; code: 32"
)


def may_write(
    tx: Tx,
    iam: str,
    task: Task,
    definition: TaskDefinition,
    given: Mapping[str, Any],
    file_system: FileSystem,
    point_arn: str | None,
    now: float,
) -> bool:
    """given -- the `efsVolumeConfiguration`. Raise ValueError, in the mount helper's words, if it may
    not mount.
    """
    if iam == "off":
        return True
    access = given.get("authorizationConfig", {})
    held = _rights(tx, iam, task, definition, now) if access.get("iam") == "ENABLED" else _anybody()
    if held is None:
        return True
    context: dict[str, Value] = {
        "elasticfilesystem:AccessedViaMountTarget": "true",
        "aws:SecureTransport": "true" if given.get("transitEncryption") == "ENABLED" else "false",
    }
    if point_arn is not None:
        context["elasticfilesystem:AccessPointArn"] = point_arn
    own = rights.read_resource(file_system.policy or "") or (EVERYTHING,)
    if held.refusal(Need(MOUNT, file_system.arn, context), own) is not None:
        raise ValueError(_DENIED)
    return held.refusal(Need(WRITE, file_system.arn, context), own) is None


def _rights(tx: Tx, iam: str, task: Task, definition: TaskDefinition, now: float) -> Rights | None:
    """Of the task's role; the view has seen that there is one, and that it trusts tasks."""
    held = endpoints.in_name_of(task, endpoints.role_arn(task, definition))
    return rights.of_session(tx, iam, held, Caller(now, task.region))


def _anybody() -> Rights:
    """Who says nothing of himself: only statements about everybody are about him."""
    return Rights("", (), {})
