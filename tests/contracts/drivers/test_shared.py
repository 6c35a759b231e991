"""The contract of a driver, volumes: those of a task, and those that outlive it, shared between tasks."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neargate.model.sandbox import VOLUME_FAILED, ContainerSpec, Mount, SharedVolume
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.node.shim import kernel
from tests.contracts.drivers.rig import Rig, ended, eventually, lines, only, shell


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
        rig, tree, mounting("c", "echo one > /mnt/one; chown 1000:1001 /mnt/one; echo up; exec sleep 600")
    )
    await eventually(lambda: lines(one, "c") == "up\n", "it is written")
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


@pytest.mark.parametrize("user", ["web", "5000:6000", "5000:50"])
async def test_a_container_of_another_user_is_the_access_points_too(rig: Rig, tree: Path, user: str) -> None:
    os.chown(tree, 5000, 6000)
    script = "umask 77; echo mine > /mnt/f; mkdir /mnt/d; ln -s f /mnt/d/l; stat -c %u:%g /mnt/f; cat /mnt/f"
    assert await said(rig, tree, script, user=user, **_as(5000, 6000)) == "5000:6000\nmine\n"
    for name, mode in (("f", 0o600), ("d", 0o700), ("d/l", 0o777)):
        found = (tree / name).lstat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (5000, 6000, mode)


async def test_every_user_is_the_access_points(rig: Rig, tree: Path) -> None:
    """Of one container, whatever the modes are; files are on disk and look from inside as that user's."""
    os.chown(tree, 5000, 6000)
    tree.chmod(0o700)
    (tree / "closed").write_text("closed\n")
    (tree / "closed").chmod(0o600)
    users = ("root", "web", "other")
    sandbox = await opened(rig, tree, mounting("c", "exec sleep 600"), **_as(5000, 6000))

    async def run(user: str, script: str) -> str:
        argv = ("su", user, "-s", "/bin/sh", "-c", f"exec 2>/dev/null; umask 77; {script}", user)
        return (await sandbox.exec("c", argv, 60)).output.decode()

    for user in users:
        script = "echo $0 >> /mnt/all; echo $0 > /mnt/$0; mkdir /mnt/in-$0; stat -c %u:%g /mnt/$0 /mnt/in-$0"
        assert await run(user, script) == "5000:6000\n5000:6000\n"
        assert await run(user, "cat /mnt/closed || rm -f /mnt/closed/x || echo refused") == "refused\n"
    for user in users:
        each = "cat /mnt/$u && touch /mnt/in-$u/$0 && mv /mnt/$u /mnt/x && mv /mnt/x /mnt/$u"
        script = f"for u in root web other; do {each}; done; cat /mnt/all"
        assert await run(user, script) == "root\nweb\nother\nroot\nweb\nother\n"
    for user in users:
        for path in (tree / user, tree / f"in-{user}", *(tree / f"in-{user}/{other}" for other in users)):
            found = path.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o77) == (5000, 6000, 0)


async def test_what_is_made_is_given_to_nobody_else(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    script = (
        "touch /mnt/f; chown 5000:6000 /mnt/f; chown 7 /mnt/f || echo refused; chgrp 7 /mnt/f || echo refused"
    )
    text = await said(rig, tree, f"exec 2>/dev/null; {script}; stat -c %u:%g /mnt/f", **_as(5000, 6000))
    # gVisor's kernel keeps such refusals to itself
    assert text == ("" if rig.tier == "gvisor" else "refused\nrefused\n") + "5000:6000\n"
    assert ((tree / "f").stat().st_uid, (tree / "f").stat().st_gid) == (5000, 6000)


async def test_an_access_points_further_groups(rig: Rig, tree: Path) -> None:
    (tree / "groups").write_text("groups\n")
    os.chown(tree / "groups", 0, 7000)
    (tree / "groups").chmod(0o640)
    script = "exec 2>/dev/null; cat /mnt/groups || echo refused"
    assert await said(rig, tree, script, **{"as_user": (5000, 6000, 7000)}) == "groups\n"
    assert await said(rig, tree, script, **_as(5000, 6000)) == "refused\n"


async def test_an_access_points_files_are_seen_at_once_by_all(rig: Rig, tree: Path) -> None:
    """Between a task with an access point and one without, of what both have open, too."""
    os.chown(tree, 5000, 6000)
    one = await opened(rig, tree, mounting("c", "exec 3<>/mnt/f; exec sleep 600"), **_as(5000, 6000))
    two = await opened(rig, tree, mounting("c", "exec sleep 600"))
    sandboxes, wanted = [one, two], b""
    for number in range(8):
        line = b"%d\n" % number
        wanted += line
        script = f"echo {number} >> /mnt/f; echo {number} > /mnt/new; mv /mnt/new /mnt/{number}; sync"
        assert (await sandboxes[number % 2].exec("c", ("sh", "-c", script), 30)).output == b""
        if rig.tier == "microvm":
            await asyncio.sleep(1.1)  # for so long a guest believes what it knows
        for sandbox in sandboxes:
            script = f"cat /mnt/f; cat /mnt/{number}; stat -c %s /mnt/f"
            result = await sandbox.exec("c", ("sh", "-c", script), 30)
            assert result.output == wanted + line + b"%d\n" % len(wanted)


@only("process", why="gVisor's sandbox ends with it, a guest gets errors")
async def test_a_killed_server_of_an_access_point_is_made_anew(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    loop = "exec 3>/mnt/log; while :; do echo line >&3; sleep 0.05; done"
    sandbox = await opened(rig, tree, mounting("c", loop), **_as(5000, 6000))
    for which in (min, max):
        await _until(lambda: len(_servers(rig)) == 2)
        servers = _servers(rig)
        os.kill(which(servers), signal.SIGKILL)
        await _until(lambda old=servers: len(_servers(rig)) == len(_servers(rig) - old) == 2)  # type: ignore[misc]
        result = await sandbox.exec("c", ("sh", "-c", "echo x > /mnt/f && cat /mnt/f"), 30)
        assert (result.exit_code, result.output) == (0, b"x\n")
        size = (tree / "log").stat().st_size
        await _until(lambda size=size: (tree / "log").stat().st_size > size)  # type: ignore[misc]
    assert sandbox.states["c"].running and not sandbox.lost


@only("gvisor", why="what runsc knows of files, the next server does not")
async def test_a_killed_server_of_an_access_point_ends_a_sandbox(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    container = mounting("c", "echo line >> /mnt/log; exec sleep 600")
    sandbox = await opened(rig, tree, container, **_as(5000, 6000))
    await _until(lambda: (tree / "log").exists() and (tree / "log").read_text() == "line\n")
    servers = _servers(rig)
    (server,) = [pid for pid in servers if _parent(pid) in servers]
    os.kill(server, signal.SIGKILL)
    assert await ended(sandbox, "c", 30) == 137
    await sandbox.start(container, rig.image())
    await _until(lambda: (tree / "log").read_text() == "line\nline\n")


@only("process", "gvisor", why="a guest's server goes with its machine: see test_microvm.py")
async def test_an_access_points_server_ends_with_its_sandbox(rig: Rig, tree: Path) -> None:
    os.chown(tree, 5000, 6000)
    write = "while :; do echo x > /mnt/f; done"
    one, two = [await opened(rig, tree, mounting("c", write), **_as(5000, 6000)) for _ in range(2)]
    await rig.reopen()
    await _until(lambda: len(_servers(rig)) == 4)  # it is nothing of the daemon's
    await rig.driver.sweep((one.id,))
    await _until(lambda: len(_servers(rig)) == 2)
    before = (tree / "f").stat().st_mtime_ns
    await _until(lambda: (tree / "f").stat().st_mtime_ns > before)
    (shim,) = {_parent(pid) for pid in _servers(rig)} - _servers(rig)
    os.kill(shim, signal.SIGKILL)
    await _until(lambda: not _servers(rig))
    await rig.driver.sweep(())
    assert two.id != one.id


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _servers(rig: Rig) -> set[int]:
    """Processes that serve this test's volumes: what they hold open is the test's alone."""
    found = set()
    for path in Path("/proc").iterdir():
        try:
            named = path.name.isdigit() and (path / "comm").read_text() == "neargate-files\n"
            if named and rig.instance in (path / "cgroup").read_text():
                found.add(int(path.name))
        except OSError:
            continue
    return found


async def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


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
    result = await sandbox.exec("a", ("sh", "-c", "until [ -s /s/s ]; do sleep 0.05; done"), 30)
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


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test mounts for this whole machine. Not in the rig's directory: a daemon of another test that
    starts meanwhile takes along what is mounted, and that is no trace of this one's."""
    return tmp_path_factory.mktemp("elsewhere")


async def test_a_file_system_that_cannot_map_owners(rig: Rig, elsewhere: Path) -> None:
    """One of the network, say (here an overlay): numbers are the tasks' own all the same."""
    root = elsewhere / "mounted"
    parts = [elsewhere / name for name in ("lower", "upper", "work")]
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
        os.chown(root / "fs-9", 5, 5)
        script = "echo y > /mnt/y; su web -s /bin/sh -c 'echo x >> /mnt/y; cat /mnt/y; stat -c %u /mnt/y'"
        assert await said(rig, root / "fs-9", script, **_as(5, 5)) == "y\nx\n5\n"
        assert (root / "fs-9/y").stat().st_uid == 5
    finally:
        kernel.umount(str(root))


async def test_a_file_system_may_be_on_another_mount(rig: Rig, elsewhere: Path) -> None:
    """efs_root is any mounted file system: here one of its own, whose mounts below are not shown."""
    root = elsewhere / "mounted"
    root.mkdir()
    kernel.mount("tmpfs", str(root), "tmpfs", 0)
    try:
        await rig.reopen()  # what is mounted later is not seen by the daemon's shims
        (root / "fs-9").mkdir()
        assert await said(rig, root / "fs-9", "echo x > /mnt/x; stat -c %u /mnt/x") == "0\n"
        assert (root / "fs-9/x").stat().st_uid == 0
    finally:
        kernel.umount(str(root))
