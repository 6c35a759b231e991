"""The contract of a driver, storage: a limit of its own for each sandbox, images counted, erased at the end.

(A virtual machine's disk is inside of it; where that is, tests that look into the file are not its.)
"""

import ctypes
import os
import signal
from pathlib import Path

import pytest

from neargate.model.sandbox import Mount
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.test_hostile import shim_of
from tests.contracts.drivers.traces import loop_devices

SIZE = 48 * MIB
FILL = "dd if=/dev/zero of={} bs=256k 2>&1 | grep -o 'No space left on device'"
MARK = b"a-task-wrote-this-" * 64
WRITE = f"yes {'a-task-wrote-this-' * 64} | head -c 4000000 > /secret; echo written; exec sleep 600"


async def output(sandbox: Sandbox, script: str) -> str:
    result = await sandbox.exec("c", ("sh", "-c", script), 60)
    return result.output.decode()


async def test_full_is_enospc_in_that_task_and_nowhere_else(rig: Rig) -> None:
    container = shell("c", "exec sleep 600", mounts=(Mount(volume="v", target="/scratch"),))
    full = await rig.run(container, ephemeral_bytes=SIZE, volumes=("v",))
    other = await rig.run(shell("c", "exec sleep 600"), ephemeral_bytes=SIZE)
    for path in ("/fill", "/tmp/fill", "/scratch/fill", "/etc/hosts"):
        assert "No space left on device" in await output(full, FILL.format(path)), path
        if (rig.tier, path) == ("microvm", "/etc/hosts"):
            continue  # it is in the guest's memory there, of which it can have one MiB
        assert "No space left" in await output(full, "cat /bin/busybox 2>&1 > /home/web/more"), path
        assert (await full.storage()).used >= SIZE, path
        assert await output(full, f": > {path}; echo room > /root/a && cat /root/a") == "room\n", path
        assert (await full.storage()).used < SIZE / 2, path
    assert "No space left on device" in await output(full, FILL.format("/fill"))
    assert await output(other, "cat /bin/busybox > /more && echo room") == "room\n"
    storage = await other.storage()
    assert storage.reserved == SIZE and storage.used < SIZE / 2


async def test_what_a_full_task_says_is_still_logged(rig: Rig) -> None:
    script = f"{FILL.format('/fill')}; yes long | head -c 300000; echo end; exit 3"
    sandbox = await rig.run(shell("c", script), ephemeral_bytes=SIZE)
    assert await ended(sandbox, "c", 60) == 3
    text = lines(sandbox, "c")
    assert text.startswith("No space left on device\n") and text.endswith("\nend\n") and len(text) > 300_000


async def test_running_out_of_inodes_is_the_same(rig: Rig) -> None:
    script = (
        "mkdir /d; cd /d; i=0; while : > f$i; do i=$((i+1)); done 2>&1 | grep -o 'No space left on device'"
    )
    sandbox = await rig.run(shell("c", script), ephemeral_bytes=SIZE)
    assert await ended(sandbox, "c", 120) is not None
    assert lines(sandbox, "c") == "No space left on device\n"


async def test_all_of_what_was_asked_for_can_be_written(rig: Rig) -> None:
    script = f"dd if=/dev/zero of=/fill bs=1M count={SIZE // MIB} 2>/dev/null; stat -c %s /fill"
    sandbox = await rig.run(shell("c", script), ephemeral_bytes=SIZE + 4 * MIB)
    assert await ended(sandbox, "c", 60) == 0
    assert lines(sandbox, "c") == f"{SIZE}\n"


@only("process", "gvisor", why="images are disks of their own to a virtual machine")
async def test_an_image_takes_its_room_once(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "larger.erofs"
    path.write_bytes(rig.image_path.read_bytes())
    os.truncate(path, 20 * MIB)
    image = Image("sha256:2", "sha256:3", path, 20 * MIB, ImageConfig(), 1)
    sandbox = await rig.open(ephemeral_bytes=SIZE)
    before = (await sandbox.storage()).used
    for name in ("a", "b"):
        await sandbox.start(shell(name, "exec sleep 600"), image)
    assert 20 * MIB <= (await sandbox.storage()).used - before < 22 * MIB
    os.truncate(path, 80 * MIB)
    too_small = await rig.open(ephemeral_bytes=SIZE)
    with pytest.raises(DriverError, match="image does not fit: no space left on device"):
        await too_small.start(shell("a", "exec sleep 600"), image)


async def test_a_restarted_container_gets_its_room_back(rig: Rig) -> None:
    container = shell("c", "dd if=/dev/zero of=/fill bs=1M count=20 2>/dev/null && echo wrote")
    sandbox = await rig.run(container, ephemeral_bytes=SIZE)
    for _ in range(2):
        assert await ended(sandbox, "c", 60) == 0
        await sandbox.start(container, rig.image())
    assert await ended(sandbox, "c", 60) == 0
    assert lines(sandbox, "c") == "wrote\n" * 3


async def test_the_limit_outlives_the_daemon(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"), ephemeral_bytes=SIZE)
    spec = rig.specs[sandbox.id]
    await rig.reopen()
    again = await rig.driver.adopt(spec, rig.directory_of(spec))
    assert again is not None
    before = (await again.storage()).used
    assert "No space left on device" in await output(again, FILL.format("/fill"))
    assert (await again.storage()).used > before + 20 * MIB


def _disk(rig: Rig, sandbox: Sandbox) -> Path:
    return rig.directory_of(rig.specs[sandbox.id]) / "disk"


async def _written(rig: Rig) -> tuple[Sandbox, Path]:
    """A sandbox that has written something, and another name for the blocks where that is."""
    sandbox = await rig.run(shell("c", WRITE))
    await eventually(lambda: lines(sandbox, "c") == "written\n", "it is written", 60)
    kept = rig.directory / f"kept-{sandbox.id}"
    kept.hardlink_to(_disk(rig, sandbox))
    write_out(shim_of(rig, sandbox.id))
    assert holds(kept, MARK)
    return sandbox, kept


def write_out(shim: int) -> None:
    """Have the kernel write a sandbox's disk out into its file now."""
    mounts = Path(f"/proc/{shim}/mountinfo").read_text().splitlines()
    place = next(line.split()[4] for line in mounts if line.endswith("barrier=0") or "nobarrier" in line)
    fd = os.open(f"/proc/{shim}/root{place}", os.O_RDONLY)
    assert ctypes.CDLL(None).syncfs(fd) == 0
    os.close(fd)


def holds(path: Path, mark: bytes) -> bool:
    """Is `mark` in what is no hole of a file?"""
    with path.open("rb") as file:
        at, size = 0, path.stat().st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return False
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            if mark in os.pread(file.fileno(), end - at, at):
                return True
            at = end
    return False


@only("process", "gvisor", why="the file is another's there")
async def test_erased_at_stop(rig: Rig) -> None:
    sandbox, kept = await _written(rig)
    path = _disk(rig, sandbox)
    await sandbox.destroy()
    assert not path.exists()
    await eventually(lambda: kept.stat().st_nlink == 1, "the file is removed", 30)
    assert not holds(kept, MARK[:18])
    await eventually(lambda: loop_devices(rig.directory) == [], "no loop device is left")


@only("process", "gvisor", why="the file is another's there")
@pytest.mark.parametrize("daemon_too", [False, True])
async def test_erased_when_its_shim_was_killed(rig: Rig, daemon_too: bool) -> None:
    sandbox, kept = await _written(rig)
    if daemon_too:
        await rig.driver.__aexit__(None, None, None)
    os.kill(shim_of(rig, sandbox.id), signal.SIGKILL)
    if daemon_too:
        rig.driver = rig.new_driver()
        await rig.driver.__aenter__()
        await rig.driver.sweep(())
    else:
        await eventually(lambda: sandbox.lost, "it is noticed", 60)
        await sandbox.destroy()
    await eventually(lambda: kept.stat().st_nlink == 1, "the file is removed", 30)
    assert not holds(kept, MARK[:18])
    await eventually(lambda: loop_devices(rig.directory) == [], "no loop device is left", 10)


async def test_many_at_once_leave_no_device(rig: Rig) -> None:
    found = [await rig.run(shell("c", "echo x > /x; exec sleep 600")) for _ in range(8)]
    for sandbox in found:
        await sandbox.destroy()
    await eventually(lambda: loop_devices(rig.directory) == [], "no loop device is left", 10)
    # os.walk passes over what is being removed meanwhile
    await eventually(
        lambda: not any("disk" in names for _, _, names in os.walk(rig.directory)), "no file is left", 10
    )
