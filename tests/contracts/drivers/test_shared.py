"""The contract of a driver, volumes: those of a task, and those that outlive it, shared between tasks."""

import os
from pathlib import Path

import pytest

from neargate.model.sandbox import VOLUME_FAILED, ContainerSpec, Mount, SharedVolume
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.node.shim import kernel
from tests.contracts.drivers.rig import Rig, ended, lines, only, shell


@pytest.fixture
def tree(rig: Rig) -> Path:
    """A file system's directory, beside what its tasks must never see."""
    (rig.directory / "secret").write_text("secret\n")
    tree = rig.directory / "efs" / "fs-1"
    tree.mkdir(parents=True)
    return tree


def mounting(name: str, script: str, readonly: bool = False, **settings: object) -> ContainerSpec:
    mounts = (Mount(volume="v", target="/mnt", readonly=readonly),)
    return shell(name, script, mounts=mounts, **settings)


async def opened(rig: Rig, tree: Path, *containers: ContainerSpec, **volume: object) -> Sandbox:
    if "as_user" in volume:
        volume["user"] = volume.pop("as_user")
    shared = SharedVolume(volume="v", tree=str(tree), **volume)  # type: ignore[arg-type]
    return await rig.run(*containers, shared_volumes=(shared,))


async def said(
    rig: Rig, tree: Path, script: str, readonly: bool = False, user: str | None = None, **volume: object
) -> str:
    sandbox = await opened(rig, tree, mounting("c", script, readonly, user=user), **volume)
    await ended(sandbox, "c", 60)
    text = lines(sandbox, "c")
    await sandbox.destroy()
    return text


async def test_data_outlive_a_task_and_are_shared_while_it_runs(rig: Rig, tree: Path) -> None:
    one = await opened(
        rig, tree, mounting("c", "echo one > /mnt/one; chown 1000:1001 /mnt/one; exec sleep 600")
    )
    two = await opened(rig, tree, mounting("c", "exec sleep 600"))
    await one.exec("c", ("sh", "-c", "echo two > /mnt/two"), 30)
    result = await two.exec("c", ("sh", "-c", "cat /mnt/one /mnt/two; stat -c %u:%g /mnt/one /mnt/two"), 30)
    assert result.output == b"one\ntwo\n1000:1001\n0:0\n"
    await one.destroy()
    await two.destroy()
    assert (tree / "two").read_text() == "two\n"
    assert [(tree / n).stat().st_uid for n in ("one", "two")] == [1000, 0]  # the tasks' own numbers
    text = await said(rig, tree, "cat /mnt/one && echo more >> /mnt/one && stat -c %U /mnt/one", user="web")
    assert text == "one\nweb\n"


async def test_read_only(rig: Rig, tree: Path) -> None:
    (tree / "kept").write_text("kept\n")
    script = "exec 2>/dev/null; cat /mnt/kept; echo x > /mnt/new || rm /mnt/kept || echo refused"
    assert await said(rig, tree, script, readonly=True) == "kept\nrefused\n"
    assert [path.name for path in tree.iterdir()] == ["kept"]


async def test_a_directory_of_it(rig: Rig, tree: Path) -> None:
    (tree / "a/b").mkdir(parents=True)
    (tree / "above").write_text("")
    assert await said(rig, tree, "touch /mnt/x; ls /mnt /mnt/..| head -1", path="/a/b") == "/mnt:\n"
    assert (tree / "a/b/x").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("missing", "No such file or directory"), ("file", "Not a directory"), ("loop", "Too many levels")],
)
async def test_a_directory_that_cannot_be_had(rig: Rig, tree: Path, kind: str, reason: str) -> None:
    (tree / "file").write_text("")
    (tree / "loop").symlink_to("loop")
    with pytest.raises(DriverError, match=reason) as caught:
        await opened(rig, tree, mounting("c", "true"), path=f"/{kind}")
    assert str(caught.value).startswith(VOLUME_FAILED)


async def test_a_file_system_that_is_not_there(rig: Rig, tree: Path) -> None:
    for path in (tree / "none", rig.directory / "secret"):
        with pytest.raises(DriverError, match="the file system is not there"):
            await opened(rig, path, mounting("c", "true"))
    (rig.directory / "efs/fs-2").symlink_to("/etc")
    with pytest.raises(DriverError, match="the file system is not there"):
        await opened(rig, rig.directory / "efs/fs-2", mounting("c", "true"))


@pytest.mark.parametrize("path", ["/up", "/absolute", "/up/../../..", "/../../..", "/deep/up", "/proc-link"])
async def test_no_path_leaves_its_file_system(rig: Rig, tree: Path, path: str) -> None:
    (tree / "deep").mkdir()
    (tree / "up").symlink_to("../../../../../../../../..")
    (tree / "deep/up").symlink_to("../../..")
    (tree / "absolute").symlink_to("/")
    (tree / "proc-link").symlink_to(str(rig.directory))
    (tree / "mark").write_text("")
    try:
        text = await said(rig, tree, "ls /mnt; cat /mnt/secret", path=path)
    except DriverError as error:
        assert "No such file or directory" in str(error)
    else:
        assert "mark" in text.split() and "secret" not in text.replace("'/mnt/secret'", "")


async def test_links_inside_lead_into_the_container_only(rig: Rig, tree: Path) -> None:
    (tree / "out").symlink_to(str(rig.directory / "secret"))
    (tree / "up").symlink_to("../../../../../../../.." + str(rig.directory / "secret"))
    script = "cat /mnt/out /mnt/up; ls /mnt/../../..; mknod /mnt/disk b 254 0 && cat /mnt/disk | head -c 1"
    text = await said(rig, tree, script)
    assert "secret\n" not in text and "mnt" in text
    assert "denied" in text or "not permitted" in text


async def test_a_race_of_links_finds_no_way_out(rig: Rig, tree: Path) -> None:
    """While a task swaps a directory for a link to the host's root, others mount it, again and again."""
    step = "rm -f /mnt/a; mkdir /mnt/a; touch /mnt/a/in; rm -r /mnt/a; ln -s ../../.. /mnt/a; sleep 0.05"
    swap = f"while :; do {step}; done"
    swapper = await opened(rig, tree, mounting("c", swap))
    outcomes = set()
    for create in (None, (0, 0, 0o755)):
        for _ in range(12 if rig.tier == "process" else 4):
            try:
                # what goes between the listing and the look at it is told on the other stream
                text = await said(rig, tree, "ls /mnt 2>/dev/null", path="/a/", create=create)
            except DriverError as error:
                outcomes.add("refused")
                assert "secret" not in str(error)
            else:
                outcomes.add("mounted")
                assert set(text.split()) <= {"in", "a"}, text
    assert "mounted" in outcomes
    await swapper.destroy()
    assert {path.name for path in rig.directory.iterdir()} >= {"secret", "efs"}


async def test_an_access_point_makes_its_directory(rig: Rig, tree: Path) -> None:
    await said(rig, tree, "true", path="/data/app", create=(1234, 4321, 0o750))
    for path in (tree / "data", tree / "data/app"):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 4321, 0o750)
    os.chown(tree / "data/app", 1, 1)
    await said(rig, tree, "true", path="/data/app", create=(1234, 4321, 0o750))
    assert (tree / "data/app").stat().st_uid == 1  # what is there stays as it is


async def test_all_is_done_as_the_access_points_user(rig: Rig, tree: Path) -> None:
    (tree / "others").mkdir()
    (tree / "others/closed").write_text("closed\n")
    (tree / "others/closed").chmod(0o600)
    (tree / "others/open").write_text("open\n")
    os.chown(tree, 5000, 6000)
    script = (
        "exec 2>/dev/null; echo mine > /mnt/file; mkdir /mnt/dir; touch /mnt/dir/x; cat /mnt/others/open;"
        "cat /mnt/others/closed; echo x >> /mnt/others/open; rm /mnt/others/open; chown 7 /mnt/file;"
        "echo more >> /mnt/file; cat /mnt/file"
    )
    text = await said(rig, tree, script, **_as(5000, 6000))
    assert "open\n" in text and text.endswith("mine\nmore\n") and "closed\n" not in text
    for name in ("file", "dir", "dir/x"):
        found = (tree / name).stat()
        assert (found.st_uid, found.st_gid) == (5000, 6000), name
    assert (tree / "others/open").read_text() == "open\n"


def _as(uid: int, gid: int) -> dict[str, object]:
    return {"as_user": (uid, gid)}


@only("process", why="see test_an_access_point_needs_root_in_gvisor")
async def test_a_container_of_another_user_is_the_access_points_too(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    text = await said(
        rig, tree, "echo mine > /mnt/f; stat -c %U /mnt/f; cat /mnt/f", user="web", **_as(5000, 6000)
    )
    assert text == "web\nmine\n"
    assert ((tree / "f").stat().st_uid, (tree / "f").stat().st_gid) == (5000, 6000)


@only("process", "gvisor", why="a virtual machine's files are served as the access point's user to all")
async def test_other_users_of_that_container_make_nothing_there(rig: Rig, tree: Path) -> None:
    """Never a file of an owner that the access point does not allow."""
    os.chown(tree, 5000, 6000)
    tree.chmod(0o777)
    sandbox = await opened(rig, tree, mounting("c", "exec sleep 600"), **_as(5000, 6000))
    script = "su web -s /bin/sh -c 'echo x > /mnt/f' || echo refused"
    result = await sandbox.exec("c", ("sh", "-c", script), 30)
    assert result.output.endswith(b"refused\n")
    assert list(tree.iterdir()) == []


@only("microvm", why="elsewhere owners are mapped by the kernel, one to one")
async def test_every_user_is_the_access_points(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    (tree / "closed").write_text("closed\n")
    (tree / "closed").chmod(0o600)
    script = "echo mine > /mnt/$0; stat -c %u:%g /mnt/$0; cat /mnt/closed || chown 7 /mnt/$0 || echo refused"
    sandbox = await opened(rig, tree, mounting("c", "exec sleep 600"), **_as(5000, 6000))
    for user in ("root", "web"):
        command = f"su {user} -s /bin/sh -c '{script}' {user} 2>/dev/null"
        result = await sandbox.exec("c", ("sh", "-c", command), 30)
        assert result.output == b"5000:6000\nrefused\n"
        found = (tree / user).stat()
        assert (found.st_uid, found.st_gid) == (5000, 6000)


@only("gvisor", why="the kernel's own maps take any user")
async def test_an_access_point_needs_root_in_gvisor(rig: Rig, tree: Path) -> None:
    with pytest.raises(DriverError, match="this tier needs the container's to be root"):
        await opened(rig, tree, mounting("c", "true", user="web"), **_as(5000, 6000))


async def test_volumes_from_takes_over_what_another_mounts(rig: Rig, tree: Path) -> None:
    shared = SharedVolume(volume="v", tree=str(tree))
    mounts = (Mount(volume="v", target="/mnt"), Mount(volume="scratch", target="/s"))
    first = shell("a", "echo a > /mnt/a; echo s > /s/s; exec sleep 600", mounts=mounts)
    second = shell(
        "b", "cat /mnt/a /s/s; echo b > /mnt/b || echo b > /s/b || echo refused", volumes_from=(("a", True),)
    )
    third = shell("d", "echo d > /mnt/d; echo d > /s/d; cat /s/s", volumes_from=(("a", False),))
    sandbox = await rig.open(first, second, third, shared_volumes=(shared,), volumes=("scratch",))
    await sandbox.start(first, rig.image())
    result = await sandbox.exec("a", ("sh", "-c", "until [ -e /s/s ]; do sleep 0.05; done"), 30)
    assert result.exit_code == 0
    for container in (second, third):
        await sandbox.start(container, rig.image())
        await ended(sandbox, container.name, 60)
    assert lines(sandbox, "b", 1) == "a\ns\nrefused\n"
    assert lines(sandbox, "d", 1) == "s\n"
    assert sorted(path.name for path in tree.iterdir()) == ["a", "d"]


async def test_a_volume_begins_as_what_the_image_has_there(rig: Rig) -> None:
    mounts = (Mount(volume="v", target="/home/web"),)
    container = shell("c", "stat -c %U:%a /home/web; cat /home/web/kept; touch /home/web/new", mounts=mounts)
    other = shell("d", "ls /data", mounts=(Mount(volume="v", target="/data"),))
    sandbox = await rig.open(container, other, volumes=("v",))
    await sandbox.start(container, rig.image(volumes=("/home/web",)))
    await ended(sandbox, "c", 60)
    await sandbox.start(other, rig.image())
    await ended(sandbox, "d", 60)
    assert lines(sandbox, "c") == "web:750\nkept\n"
    assert lines(sandbox, "d") == "kept\nnew\n"


async def test_a_file_system_that_cannot_map_owners(rig: Rig, tmp_path: Path) -> None:
    """One of the network, say (here an overlay): numbers are the tasks' own all the same."""
    root = tmp_path / "mounted"
    parts = [tmp_path / name for name in ("lower", "upper", "work")]
    for path in (root, *parts):
        path.mkdir()
    options = "lowerdir={},upperdir={},workdir={}".format(*parts)
    kernel.mount("overlay", str(root), "overlay", 0, options)
    try:
        await rig.reopen()
        (root / "fs-9").mkdir()
        script = "echo x > /mnt/x; chown web /mnt/x; stat -c %u /mnt/x"
        assert await said(rig, root / "fs-9", script) == "1000\n"
        assert (root / "fs-9/x").stat().st_uid == 1000
        if rig.tier != "microvm":
            with pytest.raises(DriverError, match="cannot map owners"):
                await opened(rig, root / "fs-9", mounting("c", "true"), **_as(5, 5))
    finally:
        kernel.umount(str(root))


async def test_a_file_system_may_be_on_another_mount(rig: Rig, tmp_path: Path) -> None:
    """efs_root is any mounted file system: here one of its own, whose mounts below are not shown."""
    root = tmp_path / "mounted"
    root.mkdir()
    kernel.mount("tmpfs", str(root), "tmpfs", 0)
    try:
        await rig.reopen()  # what is mounted later is not seen by the daemon's shims
        (root / "fs-9").mkdir()
        assert await said(rig, root / "fs-9", "echo x > /mnt/x; stat -c %u /mnt/x") == "0\n"
        assert (root / "fs-9/x").stat().st_uid == 0
    finally:
        kernel.umount(str(root))
