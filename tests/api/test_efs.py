"""EFS by an unmodified client, from creation to deletion; and what a task's volume comes to."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from neargate.model.efs import (
    AccessPoint,
    Creation,
    FileSystem,
    MountTarget,
    PosixUser,
    bare_id,
    shared_volume,
)
from neargate.model.sandbox import VOLUME_FAILED, SharedVolume
from neargate.state.file_trees import FileTrees
from neargate.state.store import StoreError
from tests.support.door import Door


@pytest.fixture
def efs(door: Door) -> Any:
    return door.client("efs")


def refused(code: str, operation: Any, **params: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        operation(**params)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value


def subnets(door: Door) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = door.client("ec2").describe_subnets()["Subnets"]
    return found


def tree(door: Door, id: str) -> Path:
    return door.settings.efs_directory / id


def test_a_file_system_from_birth_to_death(door: Door, efs: Any) -> None:
    tags = [{"Key": "Name", "Value": "media"}]
    made = efs.create_file_system(CreationToken="t", Encrypted=True, PerformanceMode="maxIO", Tags=tags)
    id = made["FileSystemId"]
    assert made["LifeCycleState"] == "creating" and made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FileSystemArn"] == f"arn:aws:elasticfilesystem:us-east-1:000000000000:file-system/{id}"
    assert tree(door, id).is_dir()
    for given in (id, made["FileSystemArn"]):
        shown = efs.describe_file_systems(FileSystemId=given)["FileSystems"][0]
        assert shown["LifeCycleState"] == "available"
        assert shown["Name"] == "media" and shown["Tags"] == tags
        assert shown["Encrypted"] and shown["PerformanceMode"] == "maxIO"
        assert shown["KmsKeyId"].endswith("alias/aws/elasticfilesystem")
        assert shown["ThroughputMode"] == "bursting"
        assert shown["NumberOfMountTargets"] == 0 and shown["CreationToken"] == "t"
    changed = efs.update_file_system(
        FileSystemId=id, ThroughputMode="provisioned", ProvisionedThroughputInMibps=5
    )
    assert changed["ProvisionedThroughputInMibps"] == 5
    assert efs.describe_file_systems(CreationToken="t")["FileSystems"][0]["ThroughputMode"] == "provisioned"
    assert efs.describe_file_systems(CreationToken="other")["FileSystems"] == []
    efs.delete_file_system(FileSystemId=id)
    assert not tree(door, id).exists()
    refused("FileSystemNotFound", efs.describe_file_systems, FileSystemId=id)
    refused("FileSystemNotFound", efs.delete_file_system, FileSystemId=id)
    assert efs.create_file_system(CreationToken="t")["FileSystemId"] != id


def test_a_token_makes_one_file_system(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    error = refused("FileSystemAlreadyExists", efs.create_file_system, CreationToken="t")
    response: Any = error.response
    assert response["FileSystemId"] == id and response["ErrorCode"] == "FileSystemAlreadyExists"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert [path.name for path in door.settings.efs_directory.iterdir() if path.name.startswith("fs-")] == [
        id
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"ThroughputMode": "provisioned"},
        {"ProvisionedThroughputInMibps": 3},
        {"KmsKeyId": "alias/x"},
        {"PerformanceMode": "maxIO", "ThroughputMode": "elastic"},
        {"Tags": [{"Key": "aws:x", "Value": ""}]},
        {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]},
    ],
)
def test_what_cannot_be_created(door: Door, efs: Any, params: dict[str, Any]) -> None:
    refused("BadRequest", efs.create_file_system, CreationToken="t", **params)
    assert efs.describe_file_systems()["FileSystems"] == []


def test_one_zone(door: Door, efs: Any) -> None:
    first, second = subnets(door)[:2]
    zone = first["AvailabilityZone"]
    made = efs.create_file_system(CreationToken="t", AvailabilityZoneName=zone)
    assert made["AvailabilityZoneId"] == first["AvailabilityZoneId"]
    id = made["FileSystemId"]
    assert efs.describe_backup_policy(FileSystemId=id)["BackupPolicy"] == {"Status": "ENABLED"}
    wrong = {"FileSystemId": id, "SubnetId": second["SubnetId"]}
    refused("AvailabilityZonesMismatch", efs.create_mount_target, **wrong)
    refused(
        "UnsupportedAvailabilityZone",
        efs.create_file_system,
        CreationToken="u",
        AvailabilityZoneName="mars-1a",
    )


def test_pages(door: Door, efs: Any) -> None:
    ids = {efs.create_file_system(CreationToken=str(n))["FileSystemId"] for n in range(5)}
    pages = list(efs.get_paginator("describe_file_systems").paginate(MaxItems=2))
    assert [len(page["FileSystems"]) for page in pages] == [2, 2, 1]
    assert {fs["FileSystemId"] for page in pages for fs in page["FileSystems"]} == ids
    refused("BadRequest", efs.describe_file_systems, Marker="%%%")


def test_the_size_is_what_was_written(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    (tree(door, id) / "file").write_bytes(b"x" * 1_000_000)
    size = efs.describe_file_systems(FileSystemId=id)["FileSystems"][0]["SizeInBytes"]
    assert 1_000_000 <= size["Value"] < 1_100_000 and size["ValueInStandard"] == size["Value"]
    (tree(door, id) / "more").write_bytes(b"x" * 1_000_000)
    again = efs.describe_file_systems(FileSystemId=id)["FileSystems"][0]["SizeInBytes"]
    assert again == size  # measured a moment ago


def test_a_size_that_takes_long_is_told_another_time(
    door: Door, efs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    (tree(door, id) / "file").write_bytes(b"x" * 1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr("neargate.services.efs.file_systems._MEASURE_SECONDS", 0.0)
        size = efs.describe_file_systems(FileSystemId=id)["FileSystems"][0]["SizeInBytes"]
        assert size["Value"] == 6144 and "Timestamp" not in size
    size = efs.describe_file_systems(FileSystemId=id)["FileSystems"][0]["SizeInBytes"]
    assert size["Value"] >= 1_000_000


def test_mount_targets(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    first, second = subnets(door)[:2]
    made = efs.create_mount_target(FileSystemId=id, SubnetId=first["SubnetId"])
    assert made["VpcId"] == first["VpcId"] and made["AvailabilityZoneName"] == first["AvailabilityZone"]
    refused("MountTargetConflict", efs.create_mount_target, FileSystemId=id, SubnetId=first["SubnetId"])
    taken = {"FileSystemId": id, "SubnetId": second["SubnetId"]}
    address = second["CidrBlock"].rpartition(".")[0] + ".99"
    other = efs.create_mount_target(**taken, IpAddress=address)
    assert other["IpAddress"] == address
    shown = efs.describe_mount_targets(FileSystemId=id)["MountTargets"]
    assert {t["MountTargetId"] for t in shown} == {made["MountTargetId"], other["MountTargetId"]}
    assert {t["LifeCycleState"] for t in shown} == {"available"}
    interfaces = door.client("ec2").describe_network_interfaces(
        NetworkInterfaceIds=[made["NetworkInterfaceId"]]
    )["NetworkInterfaces"]
    assert interfaces[0]["PrivateIpAddress"] == made["IpAddress"]
    assert interfaces[0]["Description"] == f"EFS mount target for {id} ({made['MountTargetId']})"
    refused("FileSystemInUse", efs.delete_file_system, FileSystemId=id)
    for target in (made, other):
        efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    refused("MountTargetNotFound", efs.delete_mount_target, MountTargetId=made["MountTargetId"])
    assert door.client("ec2").describe_network_interfaces()["NetworkInterfaces"] == []
    efs.delete_file_system(FileSystemId=id)


def test_mount_targets_that_cannot_be(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    subnet = subnets(door)[0]
    place = {"FileSystemId": id, "SubnetId": subnet["SubnetId"]}
    make = efs.create_mount_target
    refused("FileSystemNotFound", make, **{**place, "FileSystemId": "fs-01234567"})
    refused("SubnetNotFound", make, **{**place, "SubnetId": "subnet-01234567"})
    refused("SecurityGroupNotFound", make, **place, SecurityGroups=["sg-01234567"])
    refused("BadRequest", make, **place, IpAddress="8.8.8.8")
    refused("BadRequest", make, **place, IpAddress=subnet["CidrBlock"].partition("/")[0])
    refused("BadRequest", make, **place, IpAddressType="DUAL_STACK")
    refused("BadRequest", efs.describe_mount_targets)
    refused("MountTargetNotFound", efs.describe_mount_targets, MountTargetId="fsmt-01234567")
    made = make(**place)
    another = efs.create_file_system(CreationToken="u")["FileSystemId"]
    refused("IpAddressInUse", make, **{**place, "FileSystemId": another}, IpAddress=made["IpAddress"])


def test_security_groups_are_recorded(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    target = efs.create_mount_target(FileSystemId=id, SubnetId=subnets(door)[0]["SubnetId"])["MountTargetId"]
    default = door.client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    assert efs.describe_mount_target_security_groups(MountTargetId=target)["SecurityGroups"] == [default]
    efs.modify_mount_target_security_groups(MountTargetId=target, SecurityGroups=[default, default])
    assert efs.describe_mount_target_security_groups(MountTargetId=target)["SecurityGroups"] == [default]
    wrong = {"MountTargetId": target, "SecurityGroups": ["sg-01234567"]}
    refused("SecurityGroupNotFound", efs.modify_mount_target_security_groups, **wrong)


def test_access_points(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    root = {"Path": "/app/data", "CreationInfo": {"OwnerUid": 1, "OwnerGid": 2, "Permissions": "0750"}}
    user = {"Uid": 1000, "Gid": 1001, "SecondaryGids": [5]}
    tags = [{"Key": "Name", "Value": "app"}]
    params = {"FileSystemId": id, "PosixUser": user, "RootDirectory": root, "Tags": tags}
    made = efs.create_access_point(ClientToken="c", **params)
    point = made["AccessPointId"]
    for given in (point, made["AccessPointArn"]):
        shown = efs.describe_access_points(AccessPointId=given)["AccessPoints"][0]
        assert shown["LifeCycleState"] == "available" and shown["Name"] == "app"
        assert shown["PosixUser"] == user and shown["RootDirectory"] == root
    error = refused("AccessPointAlreadyExists", efs.create_access_point, ClientToken="c", **params)
    response: Any = error.response
    assert response["AccessPointId"] == point
    plain = efs.create_access_point(ClientToken="d", FileSystemId=id)
    assert plain["RootDirectory"] == {"Path": "/"} and "PosixUser" not in plain
    pages = list(efs.get_paginator("describe_access_points").paginate(FileSystemId=id, MaxResults=1))
    assert [len(page["AccessPoints"]) for page in pages][:2] == [1, 1]
    efs.delete_access_point(AccessPointId=plain["AccessPointId"])
    refused("AccessPointNotFound", efs.delete_access_point, AccessPointId=plain["AccessPointId"])
    refused("FileSystemNotFound", efs.create_access_point, ClientToken="e", FileSystemId="fs-01234567")
    up = {"RootDirectory": {"Path": "/a/.."}}
    with pytest.raises(ClientError):
        efs.create_access_point(ClientToken="f", FileSystemId=id, **up)
    efs.delete_file_system(FileSystemId=id)
    assert efs.describe_access_points()["AccessPoints"] == []


def test_policies_and_lifecycle(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    refused("PolicyNotFound", efs.describe_file_system_policy, FileSystemId=id)
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*"}]}'
    efs.put_file_system_policy(FileSystemId=id, Policy=policy)
    assert efs.describe_file_system_policy(FileSystemId=id)["Policy"] == policy
    for wrong in ("not json", "[]", "{}"):
        refused("InvalidPolicyException", efs.put_file_system_policy, FileSystemId=id, Policy=wrong)
    efs.delete_file_system_policy(FileSystemId=id)
    refused("PolicyNotFound", efs.describe_file_system_policy, FileSystemId=id)
    assert efs.describe_lifecycle_configuration(FileSystemId=id)["LifecyclePolicies"] == []
    policies = [{"TransitionToIA": "AFTER_30_DAYS"}, {"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"}]
    efs.put_lifecycle_configuration(FileSystemId=id, LifecyclePolicies=policies)
    assert efs.describe_lifecycle_configuration(FileSystemId=id)["LifecyclePolicies"] == policies
    both = [{"TransitionToIA": "AFTER_7_DAYS", "TransitionToArchive": "AFTER_90_DAYS"}]
    refused("BadRequest", efs.put_lifecycle_configuration, FileSystemId=id, LifecyclePolicies=both)
    efs.put_lifecycle_configuration(FileSystemId=id, LifecyclePolicies=[])
    assert efs.describe_lifecycle_configuration(FileSystemId=id)["LifecyclePolicies"] == []
    assert efs.describe_backup_policy(FileSystemId=id)["BackupPolicy"] == {"Status": "DISABLED"}
    efs.put_backup_policy(FileSystemId=id, BackupPolicy={"Status": "ENABLED"})
    assert efs.describe_backup_policy(FileSystemId=id)["BackupPolicy"] == {"Status": "ENABLED"}
    refused(
        "ValidationException", efs.put_backup_policy, FileSystemId=id, BackupPolicy={"Status": "ENABLING"}
    )
    efs.update_file_system_protection(FileSystemId=id, ReplicationOverwriteProtection="DISABLED")
    shown = efs.describe_file_systems(FileSystemId=id)["FileSystems"][0]
    assert shown["FileSystemProtection"] == {"ReplicationOverwriteProtection": "DISABLED"}


def test_tags(door: Door, efs: Any) -> None:
    made = efs.create_file_system(CreationToken="t")
    point = efs.create_access_point(ClientToken="c", FileSystemId=made["FileSystemId"])
    for id in (made["FileSystemId"], made["FileSystemArn"], point["AccessPointId"], point["AccessPointArn"]):
        efs.tag_resource(ResourceId=id, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        efs.untag_resource(ResourceId=id, TagKeys=["a"])
        assert efs.list_tags_for_resource(ResourceId=id)["Tags"] == [{"Key": "b", "Value": "2"}]
    id = made["FileSystemId"]
    efs.create_tags(FileSystemId=id, Tags=[{"Key": "c", "Value": "3"}])
    efs.delete_tags(FileSystemId=id, TagKeys=["b"])
    assert efs.describe_tags(FileSystemId=id)["Tags"] == [{"Key": "c", "Value": "3"}]
    refused("FileSystemNotFound", efs.list_tags_for_resource, ResourceId="fs-01234567")
    refused("AccessPointNotFound", efs.list_tags_for_resource, ResourceId="fsap-01234567")


def test_what_is_not_built_says_so(door: Door, efs: Any) -> None:
    with pytest.raises(ClientError, match="DescribeReplicationConfigurations") as caught:
        efs.describe_replication_configurations()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_deleted_tree_goes_from_the_disk(door: Door, efs: Any) -> None:
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    deep = tree(door, id).joinpath(*["d"] * 1500)
    subprocess.run(["mkdir", "-p", str(deep)], check=True)
    (deep / "link").symlink_to("/etc")
    efs.delete_file_system(FileSystemId=id)
    door.call(door.daemon.house.file_trees.sweep())
    assert not list(door.settings.efs_directory.glob(f"*{id}*"))
    assert Path("/etc/passwd").exists()


def test_a_root_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file system fs-1 cannot be made"):
        FileTrees(tmp_path / "file" / "efs").create("fs-1")


# -- what a task's volume comes to ---------------------------------------------------------------------------

OWNER = {"account": "0" * 12, "region": "us-east-1"}
SYSTEM = FileSystem(**OWNER, id="fs-1a", token="t", created_at=0.0)
TARGET = MountTarget(
    **OWNER, id="fsmt-1", file_system="fs-1a", subnet_id="s", vpc_id="vpc-1", zone="z", zone_id="z1",
    address="10.0.0.4", interface_id="eni-1",
)  # fmt: skip
POINT = AccessPoint(
    **OWNER, id="fsap-1b", token="t", file_system="fs-1a", user=PosixUser(5, 6), path="/app",
    creation=Creation(7, 8, "0750"),
)  # fmt: skip
PLAIN = {"fileSystemId": "fs-1a", "rootDirectory": "/data"}
THROUGH = {"fileSystemId": "fs-1a", "rootDirectory": "/", "authorizationConfig": {"accessPointId": "fsap-1b"}}


def volume(given: dict[str, Any], **changes: Any) -> SharedVolume:
    arguments: dict[str, Any] = {
        "file_system": SYSTEM,
        "point": POINT,
        "targets": [TARGET],
        "vpc_id": "vpc-1",
    }
    arguments |= changes
    if "authorizationConfig" not in given:
        arguments["point"] = None
    file_system, point, targets = (arguments.pop(name) for name in ("file_system", "point", "targets"))
    return shared_volume("v", given, file_system, point, targets, root="/efs", **arguments)


def test_a_volume() -> None:
    assert volume(PLAIN) == SharedVolume(volume="v", tree="/efs/fs-1a", path="/data")
    assert volume(THROUGH) == SharedVolume(
        volume="v", tree="/efs/fs-1a", path="/app", user=(5, 6), create=(7, 8, 0o750)
    )
    arn = SYSTEM.arn
    assert bare_id(arn) == "fs-1a" and volume({**PLAIN, "fileSystemId": arn}).tree == "/efs/fs-1a"


@pytest.mark.parametrize(
    ("given", "changes", "text"),
    [
        (PLAIN, {"file_system": None}, 'Failed to resolve "fs-1a.efs.amazonaws.com"'),
        (PLAIN, {"targets": []}, 'Failed to resolve "fs-1a.efs.us-east-1.amazonaws.com"'),
        (PLAIN, {"vpc_id": "vpc-2"}, "ensure that the VPC has an EFS mount target"),
        (THROUGH, {"point": None}, "access denied by server"),
        (THROUGH, {"file_system": FileSystem(**OWNER, id="fs-2", token="t", created_at=0.0)}, ""),
    ],
)
def test_a_volume_that_cannot_be_had(given: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    if "fs-2" in str(changes):
        given = {**given, "fileSystemId": "fs-2"}
        text = "the access point fsap-1b is not one of fs-2"
    with pytest.raises(ValueError) as caught:
        volume(given, **changes)
    assert str(caught.value).startswith(VOLUME_FAILED) and text in str(caught.value)
