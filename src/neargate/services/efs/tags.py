"""Tags of file systems and access points, by id or ARN; and the older operations for file systems only.

Called by gateway/dispatch.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from neargate.model.efs import AccessPoint, FileSystem, bare_id
from neargate.services.call import Call, Params, Result
from neargate.services.efs.names import need_access_point, need_file_system, read_tags, tag_list
from neargate.state.catalog import EFS_ACCESS_POINT, EFS_FILE_SYSTEM
from neargate.state.store import Tx


def _need(tx: Tx, call: Call, given: str) -> FileSystem | AccessPoint:
    if bare_id(given).startswith("fsap-"):
        return need_access_point(tx, call.scope, given)
    return need_file_system(tx, call.scope, given)


async def _change(call: Call, given: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> Result:
    def body(tx: Tx) -> None:
        found = _need(tx, call, given)
        if isinstance(found, AccessPoint):
            tx.put(EFS_ACCESS_POINT, replace(found, tags=change(found.tags)))
        else:
            tx.put(EFS_FILE_SYSTEM, replace(found, tags=change(found.tags)))

    await call.store.write(body)
    return {}


async def tag_resource(call: Call, params: Params) -> Result:
    return await _change(call, params["ResourceId"], lambda old: read_tags(params["Tags"], old))


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])
    return await _change(call, params["ResourceId"], lambda old: _without(old, gone))


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: _need(tx, call, params["ResourceId"]))
    return {"Tags": tag_list(found.tags)}


async def create_tags(call: Call, params: Params) -> Result:
    return await _change(call, params["FileSystemId"], lambda old: read_tags(params["Tags"], old))


async def delete_tags(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])
    return await _change(call, params["FileSystemId"], lambda old: _without(old, gone))


async def describe_tags(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: need_file_system(tx, call.scope, params["FileSystemId"]))
    return {"Tags": tag_list(found.tags)}


def _without(tags: Mapping[str, str], gone: frozenset[str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in gone}
