"""File systems: create (once per token), describe with sizes, update, delete. Called by gateway/dispatch.

A file system's directory is made before its record and discarded after it, so none is without one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.model import addresses
from neargate.model.efs import FileSystem, Measured
from neargate.services.call import Call, House, Params, Result
from neargate.services.efs.names import (
    bad,
    error,
    need_file_system,
    page,
    read_tags,
    tag_list,
    text,
)
from neargate.state.catalog import EFS_ACCESS_POINT, EFS_FILE_SYSTEM, EFS_MOUNT_TARGET, EFS_SIZE, efs_token
from neargate.state.store import Tx

log = logging.getLogger(__name__)

SWEEP_EVERY = 30.0
_MEASURE_EVERY = 60.0
_MEASURE_SECONDS = 2.0
"""How long a caller waits for sizes; those not known by then are measured the next time."""
_MEASURING = 4
"""How many directories are walked at a time."""
_EMPTY = 6144
"""What an empty file system reads on AWS, and one that has not been measured here."""


async def sweep_forever(house: House) -> None:
    """Remove the data of deleted file systems, until cancelled."""
    while True:
        try:
            await house.file_trees.sweep()
        except OSError as problem:
            log.error("data of deleted file systems is left: %s", problem)
        await house.clock.sleep(SWEEP_EVERY)


async def create_file_system(call: Call, params: Params) -> Result:
    record = _record(call, params)
    same = efs_token(call.scope, record.token)

    def body(tx: Tx) -> FileSystem:
        old = next(iter(tx.find(EFS_FILE_SYSTEM, "token", same)), None)
        if old is not None:
            message = f"File system '{old.id}' already exists with creation token '{record.token}'"
            raise error("FileSystemAlreadyExists", message, FileSystemId=old.id)
        return tx.insert(EFS_FILE_SYSTEM, record)

    call.house.file_trees.create(record.id)
    try:
        made = await call.store.write(body)
    except BaseException:
        call.house.file_trees.discard(record.id)
        raise
    return shown(made, None, 0) | {"LifeCycleState": "creating"}


def _record(call: Call, params: Params) -> FileSystem:
    mode, provisioned = params.get("ThroughputMode", "bursting"), params.get("ProvisionedThroughputInMibps")
    performance, encrypted = params.get("PerformanceMode", "generalPurpose"), bool(params.get("Encrypted"))
    zone = params.get("AvailabilityZoneName")
    _check_throughput(mode, provisioned)
    if params.get("KmsKeyId") and not encrypted:
        raise bad("KmsKeyId cannot be specified for a file system that is not encrypted.")
    if performance == "maxIO" and (zone or mode == "elastic"):
        raise bad("maxIO is supported neither with One Zone file systems nor with elastic throughput.")
    zones = dict(addresses.zones(call.scope.region))
    if zone and zone not in zones:
        raise error("UnsupportedAvailabilityZone", f"Availability zone '{zone}' is not supported.")
    account, region = call.scope.account, call.scope.region
    default_key = f"arn:aws:kms:{region}:{account}:alias/aws/elasticfilesystem" if encrypted else None
    backup = params.get("Backup", zone is not None)
    return FileSystem(
        account=account,
        region=region,
        id=f"fs-{call.ids.hex(17)}",
        token=text(params["CreationToken"], "CreationToken"),
        created_at=call.now(),
        performance=performance,
        throughput=mode,
        provisioned=provisioned,
        encrypted=encrypted,
        kms_key_id=params.get("KmsKeyId") or default_key,
        zone=zone,
        zone_id=zones[zone] if zone else None,
        backup="ENABLED" if backup else "DISABLED",
        tags=read_tags(params.get("Tags")),
    )


def _check_throughput(mode: str, provisioned: float | None) -> None:
    if mode == "provisioned" and provisioned is None:
        raise bad("ProvisionedThroughputInMibps is required with the throughput mode 'provisioned'.")
    if mode != "provisioned" and provisioned is not None:
        raise bad("ProvisionedThroughputInMibps is only for the throughput mode 'provisioned'.")


async def describe_file_systems(call: Call, params: Params) -> Result:
    id, token = params.get("FileSystemId"), params.get("CreationToken")
    if id and token:
        raise bad("FileSystemId and CreationToken exclude each other.")

    def body(tx: Tx) -> tuple[list[FileSystem], dict[str, int]]:
        if id:
            found = [need_file_system(tx, call.scope, id)]
        elif token:
            found = tx.find(EFS_FILE_SYSTEM, "token", efs_token(call.scope, text(token, "CreationToken")))
        else:
            found = tx.all(EFS_FILE_SYSTEM, call.scope)
        return found, {fs.id: tx.count(EFS_MOUNT_TARGET, "file-system", fs.id) for fs in found}

    found, targets = await call.store.read(body)
    limit, marker = params.get("MaxItems"), params.get("Marker")
    sizes = await measured(call, found)
    answer = page(
        found,
        lambda fs: fs.id,
        marker,
        limit,
        lambda fs: shown(fs, sizes.get(fs.id), targets[fs.id]),
        names=("FileSystems", "NextMarker"),
    )
    return answer | ({"Marker": marker} if marker else {})


async def measured(call: Call, systems: list[FileSystem]) -> dict[str, Measured]:
    """Sizes, walked through again where they are old. What takes long keeps its old one."""
    now, gate = call.now(), asyncio.Semaphore(_MEASURING)
    known = await call.store.read(lambda tx: {fs.id: tx.get(EFS_SIZE, fs.id) for fs in systems})
    sizes = {id: size for id, size in known.items() if size is not None}

    async def measure(fs: FileSystem) -> None:
        async with gate:
            size = await call.house.file_trees.measure(fs.id)
        if size is not None:
            made = Measured(account=fs.account, region=fs.region, file_system=fs.id, size=size, at=now)
            sizes[fs.id] = made

    old = [fs for fs in systems if fs.id not in sizes or now - sizes[fs.id].at >= _MEASURE_EVERY]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MEASURE_SECONDS), asyncio.TaskGroup() as group:
            for fs in old:
                group.create_task(measure(fs))
    fresh = [sizes[fs.id] for fs in old if fs.id in sizes and sizes[fs.id].at == now]
    if fresh:
        await call.store.write(lambda tx: _keep(tx, fresh))
    return sizes


def _keep(tx: Tx, sizes: list[Measured]) -> None:
    for size in sizes:
        if tx.get(EFS_FILE_SYSTEM, size.file_system) is not None:
            tx.put(EFS_SIZE, size)


def shown(fs: FileSystem, size: Measured | None, targets: int) -> dict[str, Any]:
    value = size.size if size else _EMPTY
    optional: Mapping[str, Any] = {
        "Name": fs.tags.get("Name"),
        "KmsKeyId": fs.kms_key_id,
        "ProvisionedThroughputInMibps": fs.provisioned,
        "AvailabilityZoneName": fs.zone,
        "AvailabilityZoneId": fs.zone_id,
    }
    return {
        "OwnerId": fs.account,
        "CreationToken": fs.token,
        "FileSystemId": fs.id,
        "FileSystemArn": fs.arn,
        "CreationTime": fs.created_at,
        "LifeCycleState": "available",
        "NumberOfMountTargets": targets,
        "SizeInBytes": {
            "Value": value,
            "ValueInIA": 0,
            "ValueInStandard": value,
            "ValueInArchive": 0,
            **({"Timestamp": size.at} if size else {}),
        },
        "PerformanceMode": fs.performance,
        "ThroughputMode": fs.throughput,
        "Encrypted": fs.encrypted,
        "Tags": tag_list(fs.tags),
        "FileSystemProtection": {"ReplicationOverwriteProtection": fs.protection},
        **{name: value for name, value in optional.items() if value is not None},
    }


async def update_file_system(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[FileSystem, int]:
        fs = need_file_system(tx, call.scope, params["FileSystemId"])
        mode = params.get("ThroughputMode", fs.throughput)
        kept = fs.provisioned if mode == "provisioned" else None
        provisioned = params.get("ProvisionedThroughputInMibps", kept)
        _check_throughput(mode, provisioned)
        if fs.performance == "maxIO" and mode == "elastic":
            raise bad("Elastic throughput is not supported with the performance mode maxIO.")
        fs = tx.put(EFS_FILE_SYSTEM, replace(fs, throughput=mode, provisioned=provisioned))
        return fs, tx.count(EFS_MOUNT_TARGET, "file-system", fs.id)

    fs, targets = await call.store.write(body)
    return shown(fs, None, targets)


async def update_file_system_protection(call: Call, params: Params) -> Result:
    wanted = params.get("ReplicationOverwriteProtection", "ENABLED")
    if wanted == "REPLICATING":
        raise bad("ReplicationOverwriteProtection can be set to ENABLED or DISABLED.")

    def body(tx: Tx) -> None:
        fs = need_file_system(tx, call.scope, params["FileSystemId"])
        tx.put(EFS_FILE_SYSTEM, replace(fs, protection=wanted))

    await call.store.write(body)
    return {"ReplicationOverwriteProtection": wanted}


async def delete_file_system(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> str:
        fs = need_file_system(tx, call.scope, params["FileSystemId"])
        if tx.count(EFS_MOUNT_TARGET, "file-system", fs.id):
            message = f"Cannot delete file system '{fs.id}' because it has mount targets."
            raise error("FileSystemInUse", message)
        _forget(tx, fs)
        return fs.id

    call.house.file_trees.discard(await call.store.write(body))
    return {}


def _forget(tx: Tx, fs: FileSystem) -> None:
    for point in tx.find(EFS_ACCESS_POINT, "file-system", fs.id):
        tx.delete(EFS_ACCESS_POINT, point.id)
    tx.delete(EFS_SIZE, fs.id)
    tx.delete(EFS_FILE_SYSTEM, fs.id)
