"""The contract of a driver, third part: tasks that go at the machine's limits, and what is left of them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.node.link import connect
from neargate.node.shim import kernel
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.traces import processes, traces

BOMB = "i=0; while [ $i -lt 25 ]; do (while :; do sleep 0.02; done) & i=$((i+1)); done; wait"
"""Twenty-five that fork and fork, so that who kills one after the other is never done."""
LEAK = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"


def inside(rig: Rig) -> list[str]:
    """What runs in containers of this rig."""
    return [process for process in processes(rig.instance) if "container" in process]


def shim_of(rig: Rig, sandbox: str) -> int:
    return int(json.loads((rig.directory / "driver/shims" / sandbox).read_text())["pid"])


@only("process", why="gVisor's kernel itself ends where its own threads meet the limit")
async def test_a_fork_bomb_ends_with_its_sandbox(rig: Rig) -> None:
    sandbox = await rig.run(shell("bomb", BOMB), shell("other", "exec sleep 600"), pids=100)
    await eventually(lambda: len(inside(rig)) > 25, "it goes off", 60)
    assert sandbox.states["other"].running
    await sandbox.destroy()
    await eventually(lambda: inside(rig) == [], "all of it is dead", 60)


@only("process", why="which container a process is of is seen only inside gVisor's kernel")
async def test_a_fork_bomb_can_be_killed_alone(rig: Rig) -> None:
    sandbox = await rig.run(shell("bomb", BOMB), shell("other", "exec sleep 600"), pids=100)
    await eventually(lambda: len(inside(rig)) > 25, "it goes off", 60)
    await sandbox.signal("bomb", signal.SIGKILL)
    assert await ended(sandbox, "bomb", 60) == 137
    assert sandbox.states["other"].running
    await eventually(lambda: len(inside(rig)) == 1, "only the other is left", 60)


@only("process", "gvisor", why="what runs in a guest is not seen here; it ends with its machine")
async def test_a_fork_bomb_whose_shim_is_killed(rig: Rig) -> None:
    sandbox = await rig.run(shell("bomb", BOMB), pids=100)
    await eventually(lambda: len(inside(rig)) > 25, "it goes off", 60)
    os.kill(shim_of(rig, sandbox.id), signal.SIGKILL)
    await eventually(lambda: sandbox.lost, "it is noticed", 60)
    await sandbox.destroy()
    await eventually(lambda: inside(rig) == [], "all of it is dead", 60)


@only("process", "gvisor", why="what runs in a guest is not seen here; it ends with its machine")
async def test_a_fork_bomb_found_by_the_next_daemon(rig: Rig) -> None:
    """Neither daemon nor shim was there when the sweep comes."""
    sandbox = await rig.run(shell("bomb", BOMB), pids=100)
    await eventually(lambda: len(inside(rig)) > 25, "it goes off", 60)
    await rig.driver.__aexit__(None, None, None)
    os.kill(shim_of(rig, sandbox.id), signal.SIGKILL)
    rig.driver = rig.new_driver()
    await rig.driver.__aenter__()
    await rig.driver.sweep(())
    await eventually(lambda: inside(rig) == [], "all of it is dead", 60)


async def test_a_memory_bomb_of_many_processes(rig: Rig) -> None:
    script = f"for i in 1 2 3 4 5 6; do ({LEAK}) & done; {LEAK}"
    sandbox = await rig.run(shell("hog", script), memory=64 * MIB)
    assert await ended(sandbox, "hog", 120) == 137
    assert sandbox.states["hog"].oom_killed
    assert not sandbox.lost


async def test_a_bomb_in_shared_memory_counts_as_the_tasks(rig: Rig) -> None:
    text = await rig.output("dd if=/dev/zero of=/dev/shm/x bs=1M count=500 2>/dev/null; du -m /dev/shm/x")
    assert int(text.split()[0]) <= 64  # Docker's size of /dev/shm


@pytest.fixture
async def small_rig(tmp_path: Path, image_path: Path) -> AsyncIterator[Rig]:
    """All of its directory on a file system of 24 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    kernel.mount("tmpfs", str(directory), "tmpfs", 0, "size=24m")
    try:
        small = Rig(directory, image_path, 49)
        await small.driver.__aenter__()
        try:
            yield small
        finally:
            await small.close()
    finally:
        kernel.umount(str(directory))
    for part in ("driver", "sandboxes"):  # whoever made a mount namespace meanwhile has a copy of ours above
        assert traces(small.instance, directory / part) == []


async def test_a_full_disk_harms_only_the_task_itself(small_rig: Rig) -> None:
    """States, log and end are told all the same, and once there is room again, written down too."""
    fill = "dd if=/dev/zero of=/fill bs=1M count=40 2>/dev/null; sync; yes | head -c 3000000; exit 7"
    script = f"echo begin; while [ ! -e /go ]; do sleep 0.1; done; {fill}"
    sandbox = await small_rig.run(shell("other", "exec sleep 600"), shell("filler", script))
    await eventually(lambda: lines(sandbox, "filler") == "begin\n", "output", 60)
    await sandbox.exec("filler", ("touch", "/go"), 60)
    await eventually(lambda: not sandbox.states["filler"].running, "end", 60)
    assert sandbox.states["filler"].exit_code == 7
    assert sandbox.states["other"].running and not sandbox.lost
    assert lines(sandbox, "filler").startswith("begin\n")  # whole frames, whatever had no room
    await sandbox.signal("other", signal.SIGKILL)
    await eventually(lambda: not sandbox.states["other"].running, "it is told", 60)
    directory = small_rig.directory_of(small_rig.specs[sandbox.id])
    os.truncate(directory / "disk", 0)

    def written() -> bool:
        states = json.loads((directory / "states.json").read_text())["states"]
        return [states[name]["running"] for name in ("filler", "other")] == [False, False]

    await eventually(written, "the states are written down", 60)


@pytest.mark.parametrize(
    "script",
    [
        "i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; touch f",
        "mkdir t; cd t; i=0; while [ $i -lt 3000 ]; do : > f$i; i=$((i+1)); done",
        "touch /x; chmod 000 /x /tmp; mkdir -p /a/b; chmod 000 /a",
        "ln -s /etc /tmp/l; ln -s / /data/root; mknod /p p",
    ],
)
async def test_whatever_it_leaves_in_its_root_goes(rig: Rig, script: str) -> None:
    sandbox = await rig.run(shell("c", script))
    assert await ended(sandbox, "c", 60) == 0
    directory = rig.directory_of(rig.specs[sandbox.id])
    await sandbox.destroy()
    await eventually(lambda: not (directory / "c").exists(), "its root is gone", 60)
    await eventually(lambda: not list((rig.directory / "driver/trash").iterdir()), "the trash is empty", 60)


async def test_a_sweep_ends_what_a_killed_shim_was_removing(rig: Rig) -> None:
    trash = rig.directory / "driver/trash"
    for name in ("a" * 32 + "-4194305", f"{'b' * 32}-{os.getpid()}"):  # of nobody, and of one that lives
        (trash / name / "c/app/upper/deep").mkdir(parents=True)
    await rig.driver.sweep(())
    assert [path.name for path in trash.iterdir()] == [f"{'b' * 32}-{os.getpid()}"]


async def test_garbage_on_its_socket_harms_nobody(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    directory = rig.directory_of(rig.specs[sandbox.id])
    for garbage in (
        b"garbage\n",
        b"[]\n",
        b"{}\n",
        b'{"op": "nothing"}\n',
        b"\xff\xfe\n",
        b'{"id": 1, "op": "start"}\n',
    ):
        reader, writer = await asyncio.open_unix_connection(sock=connect(directory))
        writer.write(garbage)
        await writer.drain()
        writer.write_eof()
        while await reader.read(65536):
            pass
        writer.close()
    assert not sandbox.lost and sandbox.states["c"].running
    assert (await sandbox.exec("c", ("echo", "alive"), 30)).output == b"alive\n"


async def test_streams_closed_long_before_the_end(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "echo one; exec >&- 2>&-; sleep 0.3; exit 5"))
    assert await ended(sandbox, "c", 60) == 5
    assert lines(sandbox, "c") == "one\n"


async def test_output_of_a_child_that_outlives_its_parent(rig: Rig) -> None:
    sandbox = await rig.run(
        shell("c", "(sleep 0.2; echo late; sleep 600) & echo early; exit 3"), shared_pid=True
    )
    assert await ended(sandbox, "c", 60) == 3
    assert "early\n" in lines(sandbox, "c")
    await eventually(lambda: not any("sleep" in process for process in inside(rig)), "the child is dead", 60)


async def test_a_line_without_end(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo done"))
    assert await ended(sandbox, "c", 60) == 0
    text = lines(sandbox, "c")
    assert text.endswith("x\ndone\n") and text.count("x") == 5_000_000
