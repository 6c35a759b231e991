"""What is the gVisor tier's alone: a kernel between task and machine, one sandbox for all of a task."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.gvisor import verdict
from neargate.node.drivers.gvisor.driver import GvisorDriver
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.traces import traces

pytestmark = [pytest.mark.root, only("gvisor", why="it is about this tier")]


def sandbox_process(rig: Rig, sandbox: str) -> Path:
    """/proc of the process that is the task's kernel."""
    (pid,) = rig.directory.glob(f"sandboxes/{sandbox}/c/.sandbox/pid")
    return Path("/proc", pid.read_text())


def status(process: Path, field: str) -> list[str]:
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


async def test_a_task_has_a_kernel_of_its_own(rig: Rig) -> None:
    text = await rig.output("cat /proc/version; grep MemTotal /proc/meminfo", memory=192 * MIB)
    assert Path("/proc/version").read_text() not in text
    assert "196608 kB" in text  # the task's size is all the memory that it sees


async def test_the_kernels_process_is_nobody_filtered_and_without_the_machines_files(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 60"))
    process = sandbox_process(rig, sandbox.id)
    assert set(status(process, "Uid")) == {"65534"}
    assert status(process, "Seccomp") == ["2"]
    assert status(process, "NoNewPrivs") == ["1"]
    files = [path for path in (process / "root").glob("[!p]*/**/*") if path.is_file()]
    assert [path.name for path in files] == ["localtime"]  # a copy; /proc is its own
    spaces = {kind: os.readlink(process / "ns" / kind) for kind in ("net", "mnt", "ipc", "uts", "user")}  # noqa: PTH115
    assert all(os.readlink(f"/proc/self/ns/{kind}") != space for kind, space in spaces.items())  # noqa: PTH115


async def test_files_in_tmp_are_on_disk_not_in_the_tasks_memory(rig: Rig) -> None:
    write = "dd if=/dev/zero of=/tmp/big bs=1M count=200 2>/dev/null; stat -c %s /tmp/big; ls -ld /tmp"
    text = await rig.output(write, memory=96 * MIB)
    assert text.startswith(f"{200 * MIB}\ndrwxrwxrwt")


async def test_an_oom_ends_the_whole_task_and_a_restart_gets_a_new_sandbox(rig: Rig) -> None:
    hog, other = shell("hog", "exec tail /dev/zero"), shell("other", "exec sleep 60")
    sandbox = await rig.run(hog, other, memory=64 * MIB)
    for name in ("hog", "other"):
        assert await ended(sandbox, name, 60) == 137
        assert sandbox.states[name].oom_killed
    assert not sandbox.lost
    again = shell("other", "ip addr show eth0; echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp")
    await sandbox.start(again, rig.image())
    interface = rig.specs[sandbox.id].interface
    assert interface is not None
    await eventually(lambda: f"inet {interface.address}/32" in lines(sandbox, "other"), "its address")
    assert await rig.output(f"wget -qO- http://{interface.address}/") == "page\n"
    assert sandbox.states["other"].restarts == 1


async def test_containers_that_all_have_a_limit_hold_the_sandbox_to_their_sum(rig: Rig) -> None:
    sandbox = await rig.run(
        shell("a", "grep MemTotal /proc/meminfo", memory=40 * MIB),
        shell("b", "exec sleep 9", memory=50 * MIB),
    )
    assert await ended(sandbox, "a") == 0
    assert str(90 * 1024) in lines(sandbox, "a")


async def test_a_killed_kernel_ends_its_containers(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 60"), shell("d", "exec sleep 60"))
    os.kill(int(sandbox_process(rig, sandbox.id).name), signal.SIGKILL)
    for name in ("c", "d"):
        assert await ended(sandbox, name, 30) == 137
        assert not sandbox.states[name].oom_killed
    await sandbox.signal("c", signal.SIGTERM)
    await sandbox.start(shell("c", "exit 3"), rig.image())
    assert await ended(sandbox, "c", 30) == 3


async def test_what_ended_keeps_no_file_server(rig: Rig) -> None:
    sandbox = await rig.run(shell("stays", "exec sleep 60"))
    group = Path("/sys/fs/cgroup/pids", f"neargate_{rig.instance}/{sandbox.id}/sandbox/cgroup.procs")
    if not group.exists():
        group = Path("/sys/fs/cgroup", f"neargate_{rig.instance}/{sandbox.id}/sandbox/cgroup.procs")

    def gofers() -> int:
        command = [Path("/proc", pid, "cmdline") for pid in group.read_text().split()]
        return sum(b"runsc-gofer" in path.read_bytes() for path in command if path.exists())

    assert gofers() == 2  # of the root, and of `stays`
    for _ in range(3):
        await sandbox.start(shell("short", "true"), rig.image())
        await ended(sandbox, "short")
    await eventually(lambda: gofers() == 2, "those of `short` are gone")


async def test_sysctls_are_said_to_have_no_effect(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.run(shell("c", "true", sysctls=(("net.core.somaxconn", "1234"),)))
    assert "net.core.somaxconn stays as it is" in caplog.text


async def test_the_machine_is_tried_once_and_the_verdict_kept(rig: Rig, tmp_path: Path) -> None:
    kept = tmp_path / "verdict.json"

    def driver(**options: bool) -> GvisorDriver:
        return GvisorDriver(tmp_path / "other", rig.instance, rig.cidr, verdict=kept, **options)

    async with driver():
        found = json.loads(kept.read_text())
        assert found["platform"] in ("systrap", "kvm", "ptrace") and os.uname().release in found["key"]
    verdict.write(kept, found["key"], verdict.Verdict("", "it hangs"))
    with pytest.raises(DriverUnavailable, match="it hangs"):
        await driver(retry=False).__aenter__()
    async with driver():
        assert json.loads(kept.read_text()) == found
    verdict.write(kept, "another kernel", verdict.Verdict("", "it hangs"))
    async with driver(retry=False):
        assert json.loads(kept.read_text()) == found


async def test_a_platform_that_does_not_work_is_not_taken(tmp_path: Path, rig: Rig) -> None:
    other = GvisorDriver(tmp_path / "other", "fefefe", "10.253.0.0/16", platform="nosuch")
    with pytest.raises(DriverUnavailable, match="runsc runs no sandbox here"):
        await other.__aenter__()
    assert traces("fefefe", tmp_path / "other") == []


async def test_many_tasks_at_once(rig: Rig) -> None:
    async def one(number: int) -> None:
        sandbox = await rig.run(shell("c", f"echo {number}; exit {number}"))
        assert await ended(sandbox, "c", 60) == number
        await sandbox.destroy()

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(one(number))
