"""Who may mount a file system, and write there: the task's role, and the file system's own policy."""

from typing import Any

import pytest

from tests.api.test_execution_role import definition, settled, start
from tests.support import roles
from tests.support.door import Door
from tests.support.roles import allow, deny, document

DENIED = (
    "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr:"
    " b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' : unsuccessful EFS utils command"
    " execution; code: 32"
)
MOUNT, WRITE = "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"
OPEN = {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}


@pytest.fixture
def fs(door: Door) -> str:
    efs = door.client("efs")
    id = efs.create_file_system(CreationToken="t")["FileSystemId"]
    for subnet in door.client("ec2").describe_subnets()["Subnets"]:
        efs.create_mount_target(FileSystemId=id, SubnetId=subnet["SubnetId"])
    return str(id)


def mounted(door: Door, fs: str, role: str = "", **access: Any) -> str:
    """`rw`, `ro`, or why the task stopped; with the role's name the volume says `iam`."""
    volume = {"fileSystemId": fs, "transitEncryption": "ENABLED"}
    if role:
        access["iam"] = "ENABLED"
    if access:
        volume["authorizationConfig"] = access  # type: ignore[assignment]
    members: dict[str, Any] = {"volumes": [{"name": "v", "efsVolumeConfiguration": volume}]}
    if role:
        members["taskRoleArn"] = f"arn:aws:iam::000000000000:role/{role}"
    definition(door, container={"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}, **members)
    arn = start(door)
    task = settled(door, arn)
    if task["lastStatus"] == "STOPPED":
        return str(task["stoppedReason"])
    sandbox = door.daemon.driver.sandboxes[arn.rpartition("/")[2]]  # type: ignore[attr-defined]
    (mount,) = sandbox.spec.containers[0].mounts
    return "ro" if mount.readonly else "rw"


def put(door: Door, fs: str, *statements: dict[str, Any]) -> None:
    door.client("efs").put_file_system_policy(FileSystemId=fs, Policy=document(*statements))


def to(principal: Any, *actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A statement as the console writes it: without a Resource."""
    return {"Effect": effect, "Principal": principal, "Action": list(actions), **more}


def test_without_a_policy_it_is_open_to_all(door: Door, fs: str) -> None:
    assert mounted(door, fs) == "rw"
    assert mounted(door, fs, "unheard-of") == "rw"
    roles.make(door.client("iam"), "own")
    assert mounted(door, fs, "own") == "rw"
    roles.put(door.client("iam"), "own", deny(WRITE))
    assert mounted(door, fs, "own") == "ro"
    roles.put(door.client("iam"), "own", deny(MOUNT))
    assert mounted(door, fs, "own") == DENIED


def test_a_policy_lets_in_whom_it_names(door: Door, fs: str) -> None:
    iam = door.client("iam")
    own = roles.make(iam, "own")
    roles.make(iam, "other")
    put(door, fs, to({"AWS": own}, MOUNT, WRITE))
    assert [mounted(door, fs, role) for role in ("own", "other", "")] == ["rw", DENIED, DENIED]
    put(door, fs, to({"AWS": "*"}, MOUNT, Condition=OPEN), to({"AWS": own}, WRITE))
    assert [mounted(door, fs, role) for role in ("own", "other", "")] == ["rw", "ro", "ro"]
    put(door, fs, to({"AWS": "*"}, MOUNT, WRITE), to({"AWS": own}, WRITE, effect="Deny"))
    assert [mounted(door, fs, role) for role in ("own", "")] == ["ro", "rw"]


def test_the_roles_own_policies_count_as_well(door: Door, fs: str) -> None:
    arn = f"arn:aws:elasticfilesystem:us-east-1:000000000000:file-system/{fs}"
    roles.make(door.client("iam"), "own", allow(MOUNT, arn))
    put(door, fs, to({"AWS": "000000000000"}, MOUNT, WRITE))  # leaves it to the account's policies
    assert mounted(door, fs, "own") == "ro"


def test_an_access_point_can_be_demanded(door: Door, fs: str) -> None:
    point = door.client("efs").create_access_point(FileSystemId=fs)
    only = {"StringEquals": {"elasticfilesystem:AccessPointArn": point["AccessPointArn"]}}
    put(door, fs, to({"AWS": "*"}, MOUNT, WRITE, Condition=only))
    assert mounted(door, fs) == DENIED
    assert mounted(door, fs, accessPointId=point["AccessPointId"]) == "rw"
