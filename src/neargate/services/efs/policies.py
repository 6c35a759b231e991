"""What is recorded of a file system and shown again: its policy, its lifecycle, its backups.

Called by gateway/dispatch. The policy is asked when a task mounts (services/cell). Nothing is moved to other
storage classes here, and nothing is backed up.
"""

import json
from collections.abc import Callable

from msgspec.structs import replace

from neargate.model.efs import FileSystem
from neargate.services.call import Call, Params, Result
from neargate.services.efs.names import bad, error, need_file_system, text
from neargate.state.catalog import EFS_FILE_SYSTEM
from neargate.state.rights import understood
from neargate.state.store import Tx

_MAX_POLICY = 20_000
_TRANSITIONS = ("TransitionToIA", "TransitionToPrimaryStorageClass", "TransitionToArchive")


async def _read(call: Call, given: str) -> FileSystem:
    return await call.store.read(lambda tx: need_file_system(tx, call.scope, given))


async def _change(call: Call, given: str, change: Callable[[FileSystem], FileSystem]) -> FileSystem:
    def body(tx: Tx) -> FileSystem:
        return tx.put(EFS_FILE_SYSTEM, change(need_file_system(tx, call.scope, given)))

    return await call.store.write(body)


async def put_file_system_policy(call: Call, params: Params) -> Result:
    policy = text(params["Policy"], "Policy")
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not document.get("Statement") or len(policy) > _MAX_POLICY:
        raise error("InvalidPolicyException", "The policy is no document with a Statement.")
    if not understood(policy):
        raise error("InvalidPolicyException", "The policy contains invalid statements.")
    fs = await _change(call, params["FileSystemId"], lambda fs: replace(fs, policy=policy))
    return {"FileSystemId": fs.id, "Policy": policy}


async def describe_file_system_policy(call: Call, params: Params) -> Result:
    fs = await _read(call, params["FileSystemId"])
    if fs.policy is None:
        raise error("PolicyNotFound", f"File system '{fs.id}' has no policy.")
    return {"FileSystemId": fs.id, "Policy": fs.policy}


async def delete_file_system_policy(call: Call, params: Params) -> Result:
    await _change(call, params["FileSystemId"], lambda fs: replace(fs, policy=None))
    return {}


async def put_lifecycle_configuration(call: Call, params: Params) -> Result:
    policies: list[dict[str, str]] = [dict(policy) for policy in params["LifecyclePolicies"]]
    if any(len(policy) != 1 for policy in policies):
        raise bad("Each lifecycle policy has exactly one transition.")
    names = [name for policy in policies for name in policy]
    if len(set(names)) != len(names):
        raise bad("Each of the transitions can be given once: " + ", ".join(_TRANSITIONS) + ".")
    fs = await _change(call, params["FileSystemId"], lambda fs: replace(fs, lifecycle=tuple(policies)))
    return {"LifecyclePolicies": list(fs.lifecycle)}


async def describe_lifecycle_configuration(call: Call, params: Params) -> Result:
    return {"LifecyclePolicies": list((await _read(call, params["FileSystemId"])).lifecycle)}


async def put_backup_policy(call: Call, params: Params) -> Result:
    wanted = params["BackupPolicy"]["Status"]
    if wanted not in ("ENABLED", "DISABLED"):
        raise error("ValidationException", "The status of a backup policy is ENABLED or DISABLED.")
    fs = await _change(call, params["FileSystemId"], lambda fs: replace(fs, backup=wanted))
    return {"BackupPolicy": {"Status": fs.backup}}


async def describe_backup_policy(call: Call, params: Params) -> Result:
    return {"BackupPolicy": {"Status": (await _read(call, params["FileSystemId"])).backup}}
