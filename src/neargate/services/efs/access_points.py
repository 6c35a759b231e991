"""Access points: a directory of a file system, and as whom it is used. Called by gateway/dispatch."""

from typing import Any

from neargate.model.efs import AccessPoint, Creation, PosixUser
from neargate.services.call import Call, Params, Result
from neargate.services.efs.names import (
    bad,
    error,
    need_access_point,
    need_file_system,
    page,
    read_tags,
    tag_list,
    text,
)
from neargate.state.catalog import EFS_ACCESS_POINT, efs_token
from neargate.state.store import Tx


async def create_access_point(call: Call, params: Params) -> Result:
    user, root = params.get("PosixUser"), params.get("RootDirectory") or {}
    creation, path = root.get("CreationInfo"), root.get("Path", "/")
    if ".." in path.split("/"):
        raise bad("The path of a root directory cannot go upwards.")
    token = text(params["ClientToken"], "ClientToken")

    def body(tx: Tx) -> AccessPoint:
        fs = need_file_system(tx, call.scope, params["FileSystemId"])
        old = next(iter(tx.find(EFS_ACCESS_POINT, "token", efs_token(call.scope, token))), None)
        if old is not None:
            message = f"Access point already exists with client token '{token}'"
            raise error("AccessPointAlreadyExists", message, AccessPointId=old.id)
        return tx.insert(
            EFS_ACCESS_POINT,
            AccessPoint(
                account=fs.account,
                region=fs.region,
                id=f"fsap-{call.ids.hex(17)}",
                token=token,
                file_system=fs.id,
                user=user and PosixUser(user["Uid"], user["Gid"], tuple(user.get("SecondaryGids") or ())),
                path=text(path, "Path"),
                creation=creation
                and Creation(creation["OwnerUid"], creation["OwnerGid"], creation["Permissions"]),
                tags=read_tags(params.get("Tags")),
            ),
        )

    return _shown(await call.store.write(body)) | {"LifeCycleState": "creating"}


def _shown(point: AccessPoint) -> dict[str, Any]:
    root: dict[str, Any] = {"Path": point.path}
    if point.creation:
        owner = {"OwnerUid": point.creation.uid, "OwnerGid": point.creation.gid}
        root["CreationInfo"] = {**owner, "Permissions": point.creation.permissions}
    shown: dict[str, Any] = {
        "ClientToken": point.token,
        "Tags": tag_list(point.tags),
        "AccessPointId": point.id,
        "AccessPointArn": point.arn,
        "FileSystemId": point.file_system,
        "RootDirectory": root,
        "OwnerId": point.account,
        "LifeCycleState": "available",
    }
    if "Name" in point.tags:
        shown["Name"] = point.tags["Name"]
    if point.user:
        user = {"Uid": point.user.uid, "Gid": point.user.gid}
        groups = {"SecondaryGids": list(point.user.secondary)} if point.user.secondary else {}
        shown["PosixUser"] = {**user, **groups}
    return shown


async def describe_access_points(call: Call, params: Params) -> Result:
    point, fs = params.get("AccessPointId"), params.get("FileSystemId")
    if point and fs:
        raise bad("AccessPointId and FileSystemId exclude each other.")

    def body(tx: Tx) -> list[AccessPoint]:
        if point:
            return [need_access_point(tx, call.scope, point)]
        if fs:
            return tx.find(EFS_ACCESS_POINT, "file-system", need_file_system(tx, call.scope, fs).id)
        return tx.all(EFS_ACCESS_POINT, call.scope)

    found = await call.store.read(body)
    limit, token = params.get("MaxResults"), params.get("NextToken")
    return page(found, lambda p: p.id, token, limit, _shown, names=("AccessPoints", "NextToken"))


async def delete_access_point(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        tx.delete(EFS_ACCESS_POINT, need_access_point(tx, call.scope, params["AccessPointId"]).id)

    await call.store.write(body)
    return {}
