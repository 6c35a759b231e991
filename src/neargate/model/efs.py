"""Records of EFS (file systems, mount targets, access points), and what a task's volume comes to. Pure.

Written by services/efs; services/cell reads them when a task with `efsVolumeConfiguration` gets its sandbox.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from neargate.model.record import Record
from neargate.model.sandbox import VOLUME_FAILED, SharedVolume

_ID = re.compile(
    r"(?:arn:aws[-a-z]*:elasticfilesystem:[0-9a-z-]+:[0-9]*:(?:file-system|access-point)/)?(fs(?:ap)?-[0-9a-f]+)"
)


class PosixUser(msgspec.Struct, frozen=True, omit_defaults=True):
    uid: int
    gid: int
    secondary: tuple[int, ...] = ()


class Creation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who gets an access point's root directory when it is made, and its mode."""

    uid: int
    gid: int
    permissions: str


class FileSystem(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    token: str
    created_at: float
    performance: str = "generalPurpose"
    throughput: str = "bursting"
    provisioned: float | None = None
    encrypted: bool = False
    kms_key_id: str | None = None
    zone: str | None = None
    zone_id: str | None = None
    """Of a One Zone file system."""
    backup: str = "DISABLED"
    protection: str = "ENABLED"
    policy: str | None = None
    lifecycle: tuple[dict[str, str], ...] = ()
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        return f"arn:aws:elasticfilesystem:{self.region}:{self.account}:file-system/{self.id}"


class MountTarget(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    file_system: str
    subnet_id: str
    vpc_id: str
    zone: str
    zone_id: str
    address: str
    interface_id: str
    security_groups: tuple[str, ...] = ()


class AccessPoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    token: str
    file_system: str
    user: PosixUser | None = None
    path: str = "/"
    creation: Creation | None = None
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        return f"arn:aws:elasticfilesystem:{self.region}:{self.account}:access-point/{self.id}"


class Measured(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How large a file system was found to be."""

    file_system: str
    size: int
    at: float


def bare_id(text: str) -> str:
    """The id in an id or an ARN; what is neither stays what it is."""
    found = _ID.fullmatch(text)
    return found[1] if found else text


def shared_volume(
    name: str,
    given: Mapping[str, Any],
    file_system: FileSystem | None,
    point: AccessPoint | None,
    targets: Sequence[MountTarget],
    *,
    vpc_id: str,
    root: str,
) -> SharedVolume:
    """What the node mounts for an `efsVolumeConfiguration`.

    file_system, point, targets -- those that it names, None where there is none. root -- of all file systems
    on the node. Raises ValueError in the words of the mount helper.
    """
    id = bare_id(given["fileSystemId"])
    wanted = given.get("authorizationConfig", {}).get("accessPointId")
    region = f"{file_system.region}." if file_system else ""
    if file_system is None or not any(target.vpc_id == vpc_id for target in targets):
        raise ValueError(
            f'{VOLUME_FAILED}Failed to resolve "{id}.efs.{region}amazonaws.com" - check that your file '
            "system ID is correct, and ensure that the VPC has an EFS mount target for this file system ID."
        )
    if wanted and (point is None or point.file_system != id):
        raise ValueError(
            f"{VOLUME_FAILED}b'mount.nfs4: access denied by server while mounting 127.0.0.1:/': the access"
            f" point {bare_id(wanted)} is not one of {id}"
        )
    shared = SharedVolume(volume=name, tree=f"{root}/{id}", path=given.get("rootDirectory") or "/")
    if point is None:
        return shared
    user, creation = point.user, point.creation
    return msgspec.structs.replace(
        shared,
        path=point.path,
        user=(user.uid, user.gid, *user.secondary) if user else None,
        create=(creation.uid, creation.gid, int(creation.permissions, 8)) if creation else None,
    )
