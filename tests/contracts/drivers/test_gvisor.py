"""What is the gVisor tier's alone: a kernel between task and machine, one sandbox for all of a task."""

import asyncio
import contextlib
import json
import os
import resource
import secrets
import signal
from pathlib import Path

import pytest

from neargate.model.sandbox import Mount
from neargate.node.drivers.base import DriverError, DriverUnavailable
from neargate.node.drivers.gvisor import verdict
from neargate.node.drivers.gvisor.driver import GvisorDriver
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.traces import traces

pytestmark = [pytest.mark.root, only("gvisor", why="it is about this tier")]


_OF_AN_EMPTY_ROOT = 1 << 18 | 1 << 21
"""CAP_SYS_CHROOT and CAP_SYS_ADMIN, which runsc makes one with, in a user namespace with nothing."""


def sandbox_process(rig: Rig, sandbox: str) -> Path:
    """/proc of the process that is the task's kernel."""
    (pid,) = {path.read_text() for path in rig.directory.glob(f"sandboxes/{sandbox}/c/*/pid")}
    return Path("/proc", pid)


def processes(rig: Rig, sandbox: str, kind: str) -> int:
    """How many of its sandbox's processes there are: of file servers (`gofer`), of all (empty)."""
    found = 0
    for tree in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        group = Path(tree, f"neargate_{rig.instance}/{sandbox}/sandbox/cgroup.procs")
        with contextlib.suppress(OSError):  # it is in the other one, or goes meanwhile
            for pid in group.read_text().split():
                with contextlib.suppress(OSError):
                    found += kind.encode() in Path("/proc", pid, "cmdline").read_bytes()
            break
    return found


def status(process: Path, field: str) -> list[str]:
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


async def test_a_task_has_a_kernel_of_its_own(rig: Rig) -> None:
    text = await rig.output("cat /proc/version; grep MemTotal /proc/meminfo", memory=192 * MIB)
    assert Path("/proc/version").read_text() not in text
    assert "196608 kB" in text  # the task's size is all the memory that it sees


async def test_the_kernels_process_is_nobody_filtered_and_without_the_machines_files(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    process = sandbox_process(rig, sandbox.id)
    assert set(status(process, "Uid")) == {"65534"}
    assert status(process, "Seccomp") == ["2"]
    assert status(process, "NoNewPrivs") == ["1"]
    for field in ("CapPrm", "CapEff", "CapAmb"):  # none of the container's
        assert int(*status(process, field), 16) & ~_OF_AN_EMPTY_ROOT == 0
    files = [path for path in (process / "root").glob("[!p]*/**/*") if path.is_file()]
    assert [path.name for path in files] == ["localtime"]  # a copy; /proc is its own
    spaces = {kind: os.readlink(process / "ns" / kind) for kind in ("net", "mnt", "ipc", "uts", "user")}  # noqa: PTH115
    assert all(os.readlink(f"/proc/self/ns/{kind}") != space for kind, space in spaces.items())  # noqa: PTH115


async def test_files_in_tmp_are_on_disk_not_in_the_tasks_memory(rig: Rig) -> None:
    write = "dd if=/dev/zero of=/tmp/big bs=1M count=200 2>/dev/null; stat -c %s /tmp/big; ls -ld /tmp"
    text = await rig.output(write, memory=96 * MIB)
    assert text.startswith(f"{200 * MIB}\ndrwxrwxrwt")


async def test_an_oom_ends_the_whole_task_and_a_restart_gets_a_new_sandbox(rig: Rig) -> None:
    hog, other = shell("hog", "exec tail /dev/zero"), shell("other", "exec sleep 600")
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


@pytest.mark.parametrize("names", [("c",), ("c", "d")])
async def test_a_killed_kernel_ends_its_containers(rig: Rig, names: tuple[str, ...]) -> None:
    sandbox = await rig.run(*(shell(name, "exec sleep 600") for name in names))
    os.kill(int(sandbox_process(rig, sandbox.id).name), signal.SIGKILL)
    for name in names:
        assert await ended(sandbox, name, 30) == 137
        assert not sandbox.states[name].oom_killed
    await sandbox.signal("c", signal.SIGTERM)
    await sandbox.start(shell("c", "exit 3"), rig.image())
    assert await ended(sandbox, "c", 30) == 3


async def test_what_a_broken_kernel_ends_with_is_not_its_containers_status(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "i=0; while true; do i=$((i+1)); echo $i | cat >/dev/null; done"))
    kernel = int(sandbox_process(rig, sandbox.id).name)
    resource.prlimit(kernel, resource.RLIMIT_AS, (1 << 20, 1 << 20))  # Go ends with 2 for want of memory
    assert await ended(sandbox, "c", 60) == 137


async def test_what_ended_keeps_no_file_server(rig: Rig) -> None:
    stays, short = shell("stays", "exec sleep 600"), shell("short", "exit 3")
    sandbox = await rig.open(stays, short)
    await sandbox.start(stays, rig.image())
    assert processes(rig, sandbox.id, "gofer") == 2  # of the root, and of `stays`
    for _ in range(3):
        await sandbox.start(short, rig.image())
        assert await ended(sandbox, "short") == 3
    await eventually(lambda: processes(rig, sandbox.id, "gofer") == 2, "those of `short` are gone")
    assert sandbox.states["stays"].running


async def test_one_container_alone_is_the_root_of_its_sandbox(rig: Rig) -> None:
    sole = shell("c", "sleep 600 & exec sleep 600")
    sandbox = await rig.open(sole)
    assert processes(rig, sandbox.id, "") == 0
    await sandbox.start(sole, rig.image())
    assert processes(rig, sandbox.id, "gofer") == 1
    await sandbox.signal("c", signal.SIGTERM)
    assert await ended(sandbox, "c") == 143
    await eventually(lambda: processes(rig, sandbox.id, "") == 0, "its sandbox has ended with it")


async def test_what_a_short_container_alone_ends_with_is_told(rig: Rig) -> None:
    """Its sandbox may have ended before anybody asks it."""
    sole = shell("c", "echo $$; exit 3")
    sandbox = await rig.open(sole)
    for _ in range(6):
        await sandbox.start(sole, rig.image())
        assert await ended(sandbox, "c") == 3
    assert lines(sandbox, "c").split() == ["1"] * 6
    assert sandbox.states["c"].restarts == 5
    killed = shell("c", "kill -KILL $$", init=True)
    await sandbox.start(killed, rig.image())
    assert await ended(sandbox, "c") == 137


async def test_a_container_alone_that_cannot_start_can_later(rig: Rig) -> None:
    sole = shell("c", "exit 3")
    sandbox = await rig.open(sole)
    with pytest.raises(DriverError, match=r'^exec: "nosuch": executable file not found'):
        await sandbox.start(shell("c", "", command=("nosuch",)), rig.image())
    await sandbox.start(sole, rig.image())
    assert await ended(sandbox, "c") == 3


async def test_a_container_alone_finds_what_it_left_in_its_volume(rig: Rig) -> None:
    mount = Mount(volume="data", target="/data")
    grow = "head -c 3000000 /dev/zero >> /data/big; stat -c %s /data/big | tee /data/kept"
    sole = shell("c", f"cat /data/kept; {grow}", mounts=(mount,))
    sandbox = await rig.open(sole)
    for _ in range(2):
        await sandbox.start(sole, rig.image())
        assert await ended(sandbox, "c") == 0
    assert lines(sandbox, "c", 1).split() == ["3000000", "3000000", "6000000"]


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
    instance = secrets.token_hex(3)
    other = GvisorDriver(tmp_path / "other", instance, "10.253.0.0/16", platform="nosuch")
    with pytest.raises(DriverUnavailable, match="runsc runs no sandbox here"):
        await other.__aenter__()
    assert traces(instance, tmp_path / "other") == []


async def test_many_tasks_at_once(rig: Rig) -> None:
    async def one(number: int) -> None:
        sandbox = await rig.run(shell("c", f"echo {number}; exit {number}"))
        assert await ended(sandbox, "c", 60) == number
        await sandbox.destroy()

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(one(number))
