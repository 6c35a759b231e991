"""Mount targets: one per availability zone, with an address of its subnet. Called by gateway/dispatch.

The address is only recorded: tasks reach a file system through the node, which wants to see that there is a
mount target in their VPC, as they would find none on AWS without it.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from neargate.model import addresses
from neargate.model.efs import FileSystem, MountTarget
from neargate.model.network import Interface, Subnet
from neargate.services.call import Call, Params, Result
from neargate.services.efs.names import (
    bad,
    error,
    is_of,
    need_access_point,
    need_file_system,
    need_mount_target,
    page,
)
from neargate.state.catalog import EFS_MOUNT_TARGET, INTERFACE, SECURITY_GROUP, SUBNET
from neargate.state.store import Tx

_MAX_GROUPS = 5


async def create_mount_target(call: Call, params: Params) -> Result:
    if params.get("Ipv6Address") or params.get("IpAddressType", "IPV4_ONLY") != "IPV4_ONLY":
        raise bad("Subnets have IPv4 addresses only here.")

    def body(tx: Tx) -> MountTarget:
        fs = need_file_system(tx, call.scope, params["FileSystemId"])
        subnet = tx.get(SUBNET, params["SubnetId"])
        if subnet is None or not is_of(call.scope, subnet):
            raise error("SubnetNotFound", f"The subnet ID '{params['SubnetId']}' does not exist")
        _check_place(tx, fs, subnet)
        groups = _groups(tx, call, params.get("SecurityGroups"), subnet.vpc_id)
        interface = _interface(tx, call, fs, subnet, groups, params.get("IpAddress"))
        target = MountTarget(
            account=fs.account,
            region=fs.region,
            id=f"fsmt-{call.ids.hex(17)}",
            file_system=fs.id,
            subnet_id=subnet.id,
            vpc_id=subnet.vpc_id,
            zone=subnet.zone,
            zone_id=subnet.zone_id,
            address=interface.address,
            interface_id=interface.id,
            security_groups=groups,
        )
        text = f"EFS mount target for {fs.id} ({target.id})"
        tx.insert(INTERFACE, replace(interface, description=text))
        return tx.insert(EFS_MOUNT_TARGET, target)

    return _shown(await call.store.write(body)) | {"LifeCycleState": "creating"}


def _check_place(tx: Tx, fs: FileSystem, subnet: Subnet) -> None:
    for other in tx.find(EFS_MOUNT_TARGET, "file-system", fs.id):
        if other.vpc_id != subnet.vpc_id:
            message = f"requested subnet for new mount target is not in the same VPC as {other.vpc_id}"
            raise error("MountTargetConflict", message)
        if other.zone == subnet.zone:
            raise error("MountTargetConflict", "mount target already exists in this AZ")
    if fs.zone is not None and fs.zone != subnet.zone:
        message = f"The file system is in {fs.zone}, the subnet is in {subnet.zone}."
        raise error("AvailabilityZonesMismatch", message)


def _groups(tx: Tx, call: Call, given: Sequence[str] | None, vpc_id: str) -> tuple[str, ...]:
    """Security groups of a request; the VPC's default one if there are none."""
    if given and len(given) > _MAX_GROUPS:
        raise error("SecurityGroupLimitExceeded", f"{_MAX_GROUPS} security groups can be given at most.")
    for id in given or ():
        group = tx.get(SECURITY_GROUP, id)
        if group is None or not is_of(call.scope, group) or group.vpc_id != vpc_id:
            raise error("SecurityGroupNotFound", f"The security group '{id}' does not exist")
    if given:
        return tuple(dict.fromkeys(given))
    return tuple(g.id for g in tx.find(SECURITY_GROUP, "vpc", vpc_id) if g.name == "default")


def _interface(
    tx: Tx, call: Call, fs: FileSystem, subnet: Subnet, groups: tuple[str, ...], wanted: str | None
) -> Interface:
    return Interface(
        account=fs.account,
        region=fs.region,
        id=f"eni-{call.ids.hex(17)}",
        subnet_id=subnet.id,
        vpc_id=subnet.vpc_id,
        zone=subnet.zone,
        address=_wanted(tx, subnet, wanted) if wanted else _free(tx, subnet),
        mac=addresses.mac(call.ids.hex(10)),
        security_groups=groups,
        attachment_id=call.ids.uuid(),
        created_at=call.now(),
    )


def _wanted(tx: Tx, subnet: Subnet, address: str) -> str:
    network = ipaddress.IPv4Network(subnet.cidr)
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        raise bad(f"'{address}' is no IPv4 address.") from None
    first = ipaddress.IPv4Address(addresses.address_at(subnet.cidr, 1))
    if not first <= parsed < network.broadcast_address:
        raise bad(f"The address '{address}' is not one that the subnet '{subnet.id}' gives.")
    if tx.count(INTERFACE, "address", f"{subnet.id}/{parsed}"):
        raise error("IpAddressInUse", f"The address '{parsed}' is in use.")
    return str(parsed)


def _free(tx: Tx, subnet: Subnet) -> str:
    for _ in range(addresses.usable(subnet.cidr)):
        address = addresses.address_at(subnet.cidr, tx.next(f"address/{subnet.id}"))
        if not tx.count(INTERFACE, "address", f"{subnet.id}/{address}"):
            return address
    raise error("NoFreeAddressesInSubnet", f"The subnet '{subnet.id}' has no free address.")


def _shown(target: MountTarget) -> dict[str, Any]:
    return {
        "OwnerId": target.account,
        "MountTargetId": target.id,
        "FileSystemId": target.file_system,
        "SubnetId": target.subnet_id,
        "LifeCycleState": "available",
        "IpAddress": target.address,
        "NetworkInterfaceId": target.interface_id,
        "AvailabilityZoneId": target.zone_id,
        "AvailabilityZoneName": target.zone,
        "VpcId": target.vpc_id,
    }


async def describe_mount_targets(call: Call, params: Params) -> Result:
    given = [name for name in ("FileSystemId", "MountTargetId", "AccessPointId") if params.get(name)]
    if len(given) != 1:
        raise bad("Exactly one of FileSystemId, MountTargetId and AccessPointId is needed.")

    def body(tx: Tx) -> list[MountTarget]:
        id = params[given[0]]
        if given == ["MountTargetId"]:
            return [need_mount_target(tx, call.scope, id)]
        if given == ["AccessPointId"]:
            id = need_access_point(tx, call.scope, id).file_system
        return tx.find(EFS_MOUNT_TARGET, "file-system", need_file_system(tx, call.scope, id).id)

    marker = params.get("Marker")
    answer = page(
        await call.store.read(body),
        lambda target: target.id,
        marker,
        params.get("MaxItems"),
        _shown,
        names=("MountTargets", "NextMarker"),
    )
    return answer | ({"Marker": marker} if marker else {})


async def delete_mount_target(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        target = need_mount_target(tx, call.scope, params["MountTargetId"])
        tx.delete(INTERFACE, target.interface_id)
        tx.delete(EFS_MOUNT_TARGET, target.id)

    await call.store.write(body)
    return {}


async def describe_mount_target_security_groups(call: Call, params: Params) -> Result:
    target = await call.store.read(lambda tx: need_mount_target(tx, call.scope, params["MountTargetId"]))
    return {"SecurityGroups": list(target.security_groups)}


async def modify_mount_target_security_groups(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        target = need_mount_target(tx, call.scope, params["MountTargetId"])
        groups = _groups(tx, call, params.get("SecurityGroups"), target.vpc_id)
        tx.put(EFS_MOUNT_TARGET, replace(target, security_groups=groups))
        interface = tx.get(INTERFACE, target.interface_id)
        if interface is not None:
            tx.put(INTERFACE, replace(interface, security_groups=groups))

    await call.store.write(body)
    return {}
