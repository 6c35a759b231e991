"""What virtual machines owe beyond the contract: each clone its own, QEMU confined, clones kept ready."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.node.drivers.base import DriverError
from neargate.node.drivers.microvm.driver import MicrovmDriver
from tests.contracts.drivers.rig import CACHE, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.test_storage import holds
from tests.contracts.drivers.traces import processes, traces

pytestmark = [pytest.mark.root, pytest.mark.microvm, only("microvm", why="it is about virtual machines")]

_SELF = (
    "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | md5sum; "
    "date +%s; hostname; exec sleep 600"
)


async def _identity(rig: Rig) -> list[str]:
    sandbox = await rig.run(shell("c", _SELF))
    await eventually(lambda: len(lines(sandbox, "c").split("\n")) > 5, "five lines", 30)
    return lines(sandbox, "c").splitlines()


async def test_two_clones_of_a_template_are_two_machines(rig: Rig) -> None:
    one, other = await _identity(rig), await _identity(rig)
    for a, b in zip(one[:3], other[:3], strict=True):  # boot id, a UUID, random bytes
        assert a != b
    assert one[4] != other[4]
    for told in (one, other):
        assert abs(int(told[3]) - time.time()) < 60


async def test_clones_kept_ready_are_machines_of_their_own_and_end_with_the_daemon(
    tmp_path: Path, image_path: Path
) -> None:
    rig = Rig(tmp_path, image_path, 46, "microvm")
    rig.driver = driver = MicrovmDriver(tmp_path / "driver", rig.instance, rig.cidr, CACHE, "tcg", ready=1)
    async with driver:
        cold = await _identity(rig)
        await driver.ready.settled()
        waiting = set(_machines(rig))
        assert len(waiting) == 2  # the task's, and the one that is ready
        warm = await _identity(rig)
        assert rig.sandboxes[1].states["c"].pid in waiting
        await driver.ready.settled()
        again = await _identity(rig)
        for values in zip(cold[:3], warm[:3], again[:3], strict=True):
            assert len(set(values)) == 3
        await driver.sweep(())
        await driver.teardown()
    assert traces(rig.instance, tmp_path) == []


def _machines(rig: Rig) -> list[int]:
    """QEMU processes that descend from processes of this rig's daemon."""
    ours = {int(p.split()[-1]) for p in processes(rig.instance)}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in ours and "qemu-system" in (process / "cmdline").read_text():
                found.append(int(process.name))
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture
async def machine(rig: Rig) -> AsyncIterator[Path]:
    """A running machine's /proc directory."""
    sandbox = await rig.run(shell("c", "echo here; exec sleep 600"))
    await eventually(lambda: lines(sandbox, "c"), "output", 30)
    yield Path(f"/proc/{sandbox.states['c'].pid}")


async def test_qemu_is_nobody_and_can_do_nothing(machine: Path) -> None:
    status = dict(line.split(":\t", 1) for line in (machine / "status").read_text().splitlines())
    assert {int(uid) >= 3 << 30 for uid in (status["Uid"] + "\t" + status["Gid"]).split("\t")} == {True}
    assert status["Groups"].strip() == ""
    assert {status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("mnt", "net", "pid", "ipc", "uts", "cgroup"):
        assert (machine / "ns" / kind).readlink() != Path("/proc/self/ns", kind).readlink()


async def test_qemu_sees_no_file_of_the_host_but_its_disks(rig: Rig, machine: Path) -> None:
    root = machine / "root"
    assert {path.name for path in root.iterdir()} <= {"usr", "lib", "lib64", "proc", "dev", "old"}
    assert not list((root / "old").iterdir()) and not list((root / "dev").iterdir())
    mounts = [line.split()[4] for line in (machine / "mountinfo").read_text().splitlines()]
    assert sorted(mounts) == ["/", "/proc"]
    numbers = [path for path in (root / "proc").iterdir() if path.name.isdigit()]
    assert [path.name for path in numbers] == ["1"] and not (root / "proc/sys").exists()
    opened = {str(fd.readlink()) for fd in (machine / "fd").iterdir()}
    files = {name for name in opened if name.startswith("/") and not name.startswith(("/dev/", "/proc/"))}
    disks = {name for name in files if not name.startswith("/memfd:template")}
    assert str(rig.image_path) in disks
    assert all(name == str(rig.image_path) or "(deleted)" in name or "rehearsal" in name for name in disks)


async def test_a_killed_machine_is_a_lost_sandbox(rig: Rig) -> None:
    sandbox = await rig.run(shell("done", "exit 3"), shell("c", "exec sleep 600"))
    assert await ended(sandbox, "done", 30) == 3
    told = asyncio.Event()
    sandbox.watch(told.set)
    pid = sandbox.states["c"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(told.wait(), 60)
    await eventually(lambda: sandbox.lost, "lost")
    assert sandbox.states["c"].exit_code == 137 and sandbox.states["done"].exit_code == 3
    with pytest.raises(DriverError):
        await sandbox.exec("c", ("true",), 5)


async def test_a_machine_that_panics_takes_nobody_along(rig: Rig) -> None:
    other = await rig.run(shell("c", "exec sleep 600"))
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    pid = sandbox.states["c"].pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)  # QEMU ends in order, as it does when its guest powers off
    await eventually(lambda: sandbox.lost, "lost")
    assert (await other.exec("c", ("echo", "fine"), 30)).output == b"fine\n"


async def test_the_scratch_disk_is_as_large_as_asked_full_is_enospc_and_nothing_is_left(rig: Rig) -> None:
    marker = f"secret-{os.urandom(8).hex()}"
    small = await rig.run(shell("c", "exec sleep 600"))
    large = await rig.run(shell("c", "exec sleep 600"), ephemeral_bytes=30 << 30)
    sizes = []
    for sandbox in (small, large):
        result = await sandbox.exec("c", ("sh", "-c", "df -k / | tail -1 | awk '{print $2}'"), 30)
        sizes.append(int(result.output) / (1 << 20))
    assert 19 < sizes[0] < 20.1 and 29 < sizes[1] < 30.1
    full = await small.exec("c", ("fallocate", "-l", str(25 << 30), "/big"), 60)
    assert full.exit_code != 0 and b"No space left" in full.output
    script = f"echo {marker} > /kept; sync; cat /kept"
    assert marker.encode() in (await large.exec("c", ("sh", "-c", script), 60)).output
    assert [path.name for path in _where(rig, marker.encode())] == ["disk"]
    for sandbox in (small, large):
        await sandbox.destroy()
    await eventually(lambda: not _where(rig, marker.encode()), "it is erased", 30)


def _where(rig: Rig, mark: bytes) -> list[Path]:
    """(Not by Path.rglob, which fails on a directory that is removed meanwhile.)"""
    found = [Path(top, name) for top, _, names in os.walk(rig.directory) for name in names]
    return [path for path in found if path.is_file() and holds(path, mark)]


async def test_the_task_has_its_memory_beside_the_guests_own(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "grep MemTotal /proc/meminfo; nproc"), cpu=2048)
    assert await ended(sandbox, "c", 30) == 0
    text = lines(sandbox, "c")
    assert int(text.split()[1]) > 256 * 1024 and text.split()[-1] == "2"
