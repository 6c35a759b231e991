"""Ephemeral storage and EFS with a real daemon and real tasks."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support.real import eventually

pytestmark = pytest.mark.root

FAILED = "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "


class Media:
    """A file system with a mount target in each subnet."""

    def __init__(self, stack: Stack, token: str) -> None:
        self.stack = stack
        self.efs = stack.daemon.client("efs")
        self.id: str = self.efs.create_file_system(CreationToken=token)["FileSystemId"]
        for subnet in stack.subnets:
            self.efs.create_mount_target(FileSystemId=self.id, SubnetId=subnet)
        self.tree = stack.daemon.data_dir / "efs" / self.id

    def volume(self, **settings: Any) -> dict[str, Any]:
        return {"name": "media", "efsVolumeConfiguration": {"fileSystemId": self.id, **settings}}

    def point(self, **settings: Any) -> dict[str, Any]:
        made = self.efs.create_access_point(ClientToken=os.urandom(8).hex(), FileSystemId=self.id, **settings)
        access = {"accessPointId": made["AccessPointId"]}
        return self.volume(transitEncryption="ENABLED", authorizationConfig=access)

    def container(self, script: str, read_only: bool = False, **more: Any) -> dict[str, Any]:
        mounts = [{"sourceVolume": "media", "containerPath": "/media", "readOnly": read_only}]
        return self.stack.container(script, mountPoints=mounts, **more)

    def says(self, script: str, volume: dict[str, Any] | None = None, **more: Any) -> list[str]:
        """What a task with the volume says until it ends."""
        arn = self.stack.run(self.container(script, **more), volumes=[volume or self.volume()])
        self.stack.wait(arn, "STOPPED")
        return self.stack.lines(arn)


@pytest.fixture
def media(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Media]:
    media = Media(stack, request.node.name[:64])
    yield media
    for target in media.efs.describe_mount_targets(FileSystemId=media.id)["MountTargets"]:
        media.efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    media.efs.delete_file_system(FileSystemId=media.id)
    assert not media.tree.exists()


def test_data_outlive_tasks_and_are_shared_between_running_ones(stack: Stack, media: Media) -> None:
    first = stack.run(media.container("echo one > /media/one; exec sleep 600"), volumes=[media.volume()])
    wait = "until [ -s /media/one ]; do sleep 0.1; done; cat /media/one; echo two > /media/two"
    assert media.says(wait) == ["one"]
    assert (media.tree / "two").read_text() == "two\n"
    stack.stop(first)
    assert media.says("cat /media/one /media/two") == ["one", "two"]
    refusing = "echo x > /media/x || rm /media/one || echo refused"
    assert "refused" in media.says(refusing, read_only=True)
    size = media.efs.describe_file_systems(FileSystemId=media.id)["FileSystems"][0]["SizeInBytes"]
    assert size["Value"] >= 4096


def test_an_access_point_decides_who_and_where(stack: Stack, media: Media) -> None:
    root = {"Path": "/app", "CreationInfo": {"OwnerUid": 5000, "OwnerGid": 6000, "Permissions": "0750"}}
    volume = media.point(PosixUser={"Uid": 5000, "Gid": 6000}, RootDirectory=root)
    (media.tree / "above").write_text("")
    assert media.says("id -u; echo mine > /media/mine; ls /media", volume) == ["0", "mine"]
    assert media.says("id -u; cat /media/mine; echo web > /media/web", volume, user="1000:1001") == [
        "1000",
        "mine",
    ]
    assert sorted(path.name for path in (media.tree / "app").iterdir()) == ["mine", "web"]
    for path in (media.tree / "app", media.tree / "app/mine", media.tree / "app/web"):
        assert (path.stat().st_uid, path.stat().st_gid) == (5000, 6000)
    assert (media.tree / "app").stat().st_mode & 0o777 == 0o750


def test_what_cannot_be_mounted_stops_the_task(stack: Stack, media: Media) -> None:
    point = {"accessPointId": "fsap-01234567"}
    wrong = [
        ({"fileSystemId": "fs-01234567"}, 'stderr: Failed to resolve "fs-01234567.efs.amazonaws.com"'),
        ({"fileSystemId": media.id, "rootDirectory": "/none"}, "No such file or directory"),
        (
            {"fileSystemId": media.id, "transitEncryption": "ENABLED", "authorizationConfig": point},
            "the access point fsap-01234567 is not one of",
        ),
    ]
    for configuration, text in wrong:
        volumes = [{"name": "media", "efsVolumeConfiguration": configuration}]
        task = stack.wait(stack.run(media.container("true"), volumes=volumes), "STOPPED")
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"].startswith(FAILED) and text in task["stoppedReason"]


def test_a_link_in_a_file_system_leads_nowhere(stack: Stack, media: Media) -> None:
    media.says("ln -s / /media/host; ln -s ../../../../../.. /media/up")
    for name in ("host", "up"):
        lines = media.says("ls /media; ls -d /media/daemon.json", media.volume(rootDirectory=f"/{name}"))
        assert {"host", "up"} <= set(lines) and "/media/daemon.json" not in lines


def test_a_task_has_the_storage_it_asks_for(stack: Stack) -> None:
    script = "df -k / | tail -1; dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null; exec sleep 600"
    plain = stack.run(stack.container(script))
    large = stack.run(stack.container(script), ephemeralStorage={"sizeInGiB": 30})
    for arn, size in ((plain, 20), (large, 30)):
        task = stack.wait(arn, "RUNNING")
        assert task["ephemeralStorage"] == {"sizeInGiB": size}
        assert task["fargateEphemeralStorage"]["sizeInGiB"] == size
        lines = eventually(lambda arn=arn: stack.lines(arn), "it says its size")
        kib = int(lines[0].split()[1])
        assert size <= kib / 1024**2 < size * 1.01
    disks = list((stack.daemon.data_dir / "sandboxes").glob("*/disk"))
    assert len(disks) >= 2
    stack.stop(plain)
    stack.stop(large)
    ids = [arn.rsplit("/", 1)[1] for arn in (plain, large)]
    gone = lambda: not any((stack.daemon.data_dir / "sandboxes" / id / "disk").exists() for id in ids)  # noqa: E731
    eventually(gone, "the disks are gone")


def test_storage_is_in_the_tasks_metadata(stack: Stack) -> None:
    fill = "dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null"
    script = f"{fill}; wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task"
    arn = stack.run(stack.container(script))
    stack.wait(arn, "STOPPED")
    told = json.loads("".join(stack.lines(arn)))["EphemeralStorageMetrics"]
    assert told["Reserved"] == 20496 and 64 <= told["Utilized"] < 128


def test_limits_and_volumes_are_kept_over_a_restart(stack: Stack, media: Media) -> None:
    write = "echo $i > /media/next; mv /media/next /media/count"  # whole, whenever it is killed
    arn = stack.run(
        media.container(f"i=0; while :; do i=$((i+1)); {write}; sleep 0.1; done"),
        volumes=[media.volume()],
    )
    stack.wait(arn, "RUNNING")
    stack.daemon.kill()
    stack.daemon.up()
    count = media.tree / "count"
    before = eventually(lambda: count.exists() and count.read_text(), "it counts")
    eventually(lambda: count.read_text() != before, "it goes on")
    stack.stop(arn)
    assert media.says("test -s /media/count && echo kept") == ["kept"]
