"""Volumes of a task definition and how its containers mount them. Pure; called by definition."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.definition_containers import refuse

Json = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_KINDS = (
    "host",
    "dockerVolumeConfiguration",
    "efsVolumeConfiguration",
    "s3filesVolumeConfiguration",
    "fsxWindowsFileServerVolumeConfiguration",
    "configuredAtLaunch",
)


def normalise_volumes(given: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Volumes as AWS returns them: one of no kind is an empty host volume; EFS has a root directory."""
    volumes = []
    for item in given:
        volume: Json = {k: v for k, v in item.items() if v is not None}
        if not any(volume.get(kind) for kind in _KINDS[1:]):
            volume.setdefault("host", {})
        if "efsVolumeConfiguration" in volume:
            volume["efsVolumeConfiguration"] = {"rootDirectory": "/", **volume["efsVolumeConfiguration"]}
        volumes.append(volume)
    return volumes


def check_volumes(body: Json) -> None:
    volumes: list[Json] = body["volumes"]
    names = [volume.get("name") or "" for volume in volumes]
    for name in names:
        if not _NAME.fullmatch(name):
            refuse(
                f"Invalid volume name '{name[:300]}': up to 255 letters, numbers, hyphens and underscores are"
                " allowed."
            )
    if len(set(names)) != len(names):
        refuse("Volume names must be unique within a task definition")
    for volume in volumes:
        if sum(1 for kind in _KINDS if volume.get(kind)) > 1:
            refuse(f"Volume '{volume['name']}' must have only one volume configuration")
        if "efsVolumeConfiguration" in volume:
            _check_efs(volume["efsVolumeConfiguration"])
    _check_mounts(body, set(names))
    _check_launch(body)


def _check_efs(efs: Json) -> None:
    access = efs.get("authorizationConfig", {})
    encrypted = efs.get("transitEncryption") == "ENABLED"
    if efs.get("transitEncryptionPort") is not None and not encrypted:
        refuse("TransitEncryptionPort requires that TransitEncryption is enabled")
    if access.get("iam") == "ENABLED" and not encrypted:
        refuse("EFS IAM authorization requires TransitEncryption to be enabled")
    if access.get("accessPointId"):
        if not encrypted:
            refuse("EFS access points require TransitEncryption to be enabled")
        if efs["rootDirectory"] != "/":
            refuse(
                'When using an EFS access point, the root directory must either be set to "/" or be omitted'
            )


def _check_mounts(body: Json, volumes: set[str]) -> None:
    names = {container["name"] for container in body["containerDefinitions"]}
    for container in body["containerDefinitions"]:
        targets: set[str] = set()
        for mount in container["mountPoints"]:
            if mount.get("sourceVolume") not in volumes:
                refuse(f"Unknown volume '{mount.get('sourceVolume') or ''}'")
            target = mount.get("containerPath") or ""
            check_path(container["name"], target)
            if target.rstrip("/") in targets:
                refuse(f"Duplicate mount point '{target}' in container '{container['name']}'")
            targets.add(target.rstrip("/"))
        for source in container["volumesFrom"]:
            other = source.get("sourceContainer") or ""
            if other not in names or other == container["name"]:
                refuse(f"Invalid 'volumesFrom' setting. Unknown container: '{other[:300]}'")


def check_path(container: str, path: str) -> None:
    """A place to mount at: absolute, below the root, without a step upwards."""
    steps = path.split("/")
    if not path.startswith("/") or not path.strip("/") or ".." in steps or "\0" in path:
        refuse(f"Invalid container path '{path[:300]}' in container '{container}': it must be absolute.")


def _check_launch(body: Json) -> None:
    """EBS volumes come with RunTask: one per revision, and mounted."""
    launched = [v["name"] for v in body["volumes"] if v.get("configuredAtLaunch")]
    if len(launched) > 1:
        refuse("Only one volume can be configured at launch per task definition revision")
    mounted = {m["sourceVolume"] for c in body["containerDefinitions"] for m in c["mountPoints"]}
    unused = [name for name in launched if name not in mounted]
    if unused:
        refuse(f"Volumes [{', '.join(unused)}] are not referenced by any of the containers")
