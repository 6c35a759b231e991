"""kill -9 of the process that drives, at any moment of opening, starting and destroying: the next one
finds all.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from neargate.model.sandbox import spec_from_json
from neargate.node.drivers.base import Sandbox
from tests.contracts.drivers.rig import Rig, eventually
from tests.contracts.drivers.traces import populated, processes, traces

pytestmark = pytest.mark.root

_DAEMON = """
import asyncio, sys
from pathlib import Path
from neargate.model.sandbox import as_json
from tests.contracts.drivers.rig import Rig, shell

async def main():
    rig = Rig(Path(sys.argv[1]), Path(sys.argv[2]), 0, sys.argv[5])
    rig.instance, rig.cidr, rig._net = sys.argv[3], sys.argv[4], sys.argv[4].removesuffix(".0.0/16")
    rig.driver = rig.new_driver()
    async with rig.driver:
        async def task():
            while True:
                containers = (shell("a", "exec sleep 600"), shell("b", "sleep 0.01; exit 9"))
                spec = rig.spec(*containers)
                directory = rig.directory_of(spec)
                (directory / "spec.json").write_bytes(as_json(spec))
                sandbox = await rig.driver.open(spec, directory)
                for container in containers:
                    await sandbox.start(container, rig.image())
                await asyncio.sleep(0.02)
                if int(spec.id[0], 16) % 2:
                    await sandbox.destroy()
        print("ready", flush=True)
        await asyncio.wait_for(asyncio.gather(*(task() for _ in range(3))), 20)

asyncio.run(main())
"""


MOMENTS = [("process", 0.4, seed) for seed in range(6)] + [("gvisor", 1.5, seed) for seed in range(3)]
MACHINES = [pytest.param("microvm", 4.0, seed, marks=pytest.mark.microvm) for seed in range(3)]


@pytest.mark.parametrize(("tier", "longest", "seed"), [*MOMENTS, *MACHINES])
async def test_killed_at_any_moment(
    tmp_path: Path, image_path: Path, tier: str, longest: float, seed: int
) -> None:
    rig = Rig(tmp_path, image_path, 40 + seed, tier)
    command = [sys.executable, "-c", _DAEMON, str(tmp_path), str(image_path), rig.instance, rig.cidr, tier]
    daemon = subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    assert daemon.stdout
    try:
        assert await asyncio.to_thread(daemon.stdout.readline) == b"ready\n"
        await asyncio.sleep(random.Random(seed).uniform(0.01, longest))
    finally:
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        daemon.stdout.close()
    await rig.driver.__aenter__()
    try:
        await _find_again(rig)
    finally:
        await rig.close()
    assert traces(rig.instance, tmp_path) == []


async def _find_again(rig: Rig) -> None:
    found = {}
    for path in (rig.directory / "sandboxes").glob("*/spec.json"):
        spec = spec_from_json(path.read_bytes())
        sandbox = await rig.driver.adopt(spec, path.parent)
        if sandbox is not None:
            assert not sandbox.lost  # no shim was killed
            found[spec.id] = sandbox
    await rig.driver.sweep(found)
    for sandbox in found.values():
        # what was being started goes on without the daemon, and its end is known
        await eventually(partial(_b_has_ended, sandbox), "b has ended")
        assert "b" not in sandbox.states or sandbox.states["b"].exit_code == 9
        assert "a" not in sandbox.states or sandbox.states["a"].running
    if rig.tier in ("gvisor", "microvm"):
        await eventually(lambda: populated(rig.instance) == set(found), "no process but of known sandboxes")
        return
    running = sum("a" in s.states for s in found.values())
    await eventually(lambda: len(_containers(rig)) == running, "as many processes as containers known to run")


def _b_has_ended(sandbox: Sandbox) -> bool:
    return "b" not in sandbox.states or not sandbox.states["b"].running


def _containers(rig: Rig) -> list[str]:
    return [p for p in processes(rig.instance) if "container" in p]
