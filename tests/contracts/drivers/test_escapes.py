"""The contract of a driver, fifth part: ways out of a container that were found elsewhere, and what a task
does to its neighbour. All of it is a shell's.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from neargate.model.sandbox import Mount
from neargate.node import linked
from neargate.node.drivers.base import DriverError
from tests.contracts.drivers.rig import MIB, Rig, ended, lines, shell
from tests.contracts.drivers.test_hostile import BOMB, LEAK, shim_of

pytestmark = pytest.mark.root


async def test_no_device_of_the_kernel_can_be_opened(rig: Rig) -> None:
    """Whatever kinds there are, by nodes of its own making, on disk and in memory."""
    script = """
    kinds=$(awk '$1 + 0 {print $1}' /proc/devices 2>/dev/null | sort -nu)
    for place in /tmp /dev /dev/shm; do for major in ${kinds:-1 4 7 8 10 253 254}; do for kind in b c; do
      for minor in 0 1 2 200 229 232; do
        [ $minor -gt 2 ] && [ $major != 10 ] && continue
        node=$place/$kind$major.$minor
        mknod $node $kind $major $minor 2>/dev/null || continue
        (exec 3<$node) 2>/dev/null && echo "opened $kind $major $minor"
        rm $node
      done
    done; done; done
    echo end
    """
    sandbox = await rig.run(shell("c", script))
    assert await ended(sandbox, "c", 120) == 0
    *opened, end = lines(sandbox, "c").splitlines()
    assert end == "end"
    own = {f"opened c 5 {minor}" for minor in range(3)}  # Docker's: terminals, of the container or of nobody
    if rig.tier == "gvisor":
        own |= {"opened c 10 200", "opened c 10 229"}  # /dev/net/tun and /dev/fuse of its own kernel
    opened = [line for line in opened if not line.startswith("opened c 136 ")]  # its own terminals
    assert set(opened) <= own


async def test_no_descriptor_is_inherited(rig: Rig) -> None:
    """A container has three, a command run in it has three: none of them leads out."""
    show = "cd /proc/$$/fd; for fd in *; do [ $fd -gt 2 ] && readlink $fd; done; echo end"
    own = "while [ ! -e /go ]; do sleep 0.1; done; " + show
    sandbox = await rig.run(shell("c", own), shell("t", "exec sleep 600", tty=True))
    for name in ("c", "t"):
        result = await sandbox.exec(name, ("sh", "-c", show), 30)
        assert [line for line in result.output.decode().splitlines() if "/proc" not in line] == ["end"]
    await sandbox.exec("c", ("touch", "/go"), 30)
    assert await ended(sandbox, "c", 30) == 0
    assert lines(sandbox, "c") == "end\n"


async def test_no_work_directory_leads_out(rig: Rig) -> None:
    """Descriptors of the runtime are numbers that a work directory can name."""
    sandbox = await rig.open()
    script = "cd -P . 2>/dev/null; ls -a ../../../../../../../.. . /proc/self/cwd/../../../../../.. 2>&1"
    for number in (3, 5, 6, 7, 8, 9, 10, 11, 12, 14, 20):
        for owner in ("self", "1"):
            name = f"{owner}{number}"
            container = shell(name, script, working_directory=f"/proc/{owner}/fd/{number}")
            try:
                await sandbox.start(container, rig.image())
            except DriverError:
                continue
            await ended(sandbox, name, 30)
            seen = set(lines(sandbox, name).split())
            assert not seen & {"work", "mnt", "boot", "srv", "opt", "driver", "shims"}, lines(sandbox, name)


async def test_no_mount_is_made_through_an_images_links(rig: Rig) -> None:
    """`/outside` of the image leads to `../../../../../../../../etc`."""
    mount = Mount(volume="v", target="/outside/neargate-was-here", readonly=False)
    script = "echo x > /etc/neargate-was-here/kept; cat /etc/neargate-was-here/kept"
    sandbox = await rig.open()
    await sandbox.start(shell("c", script, mounts=(mount,)), rig.image())
    assert await ended(sandbox, "c", 30) == 0
    assert lines(sandbox, "c") == "x\n"
    assert not Path("/etc/neargate-was-here").exists()


@pytest.mark.parametrize("harm", ["processes", "memory", "processor", "log", "disk", "shared memory"])
async def test_a_task_that_misbehaves_leaves_its_neighbour_in_peace(rig: Rig, harm: str) -> None:
    script = {
        "processes": BOMB,
        "memory": f"while :; do ({LEAK}); done",
        "processor": "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait",
        "log": "for i in 1 2 3 4; do yes & done; wait",
        "disk": "while :; do dd if=/dev/zero of=/tmp/x bs=1M count=100 2>/dev/null; done",
        "shared memory": "while :; do dd if=/dev/zero of=/dev/shm/x bs=64k count=2000 2>/dev/null; done",
    }[harm]
    neighbour = await rig.run(shell("c", "exec sleep 600"))
    sandbox = await rig.run(shell("c", script), memory=64 * MIB, pids=64, cpu=256, ephemeral_bytes=20 << 30)
    for _ in range(5):
        result = await neighbour.exec("c", ("sh", "-c", "echo fine > /tmp/x; cat /tmp/x"), 60)
        assert result.output == b"fine\n"
        await asyncio.sleep(0.2)
    assert neighbour.states["c"].running and not neighbour.lost
    await asyncio.wait_for(sandbox.destroy(), 120)


async def test_who_never_answers_keeps_nobody_waiting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest's agent is the task's to stop; a shim that hangs is the same to the daemon."""
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    monkeypatch.setattr(linked, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(linked, "_ATTACH_SECONDS", 2.0)
    owner = sandbox.states["c"].pid if rig.tier == "microvm" else shim_of(rig, sandbox.id)
    assert owner
    os.kill(owner, signal.SIGSTOP)
    try:
        with pytest.raises(DriverError, match="no answer within 1 s"):
            await asyncio.wait_for(sandbox.signal("c", signal.SIGTERM), 60)
        result = await asyncio.wait_for(sandbox.exec("c", ("true",), 1), 60)
        assert result.timed_out and result.exit_code == -1
        with pytest.raises(DriverError, match="no answer within 2 s"):
            await asyncio.wait_for(sandbox.attach("c", ("sh",), 80, 24), 60)
        if rig.tier == "microvm":
            await asyncio.wait_for(sandbox.destroy(), 60)
    finally:
        if rig.tier != "microvm":
            os.kill(owner, signal.SIGCONT)
