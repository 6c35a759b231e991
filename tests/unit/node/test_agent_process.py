"""The agent on the real process tier: what a daemon that was cut off leaves is found again. Root only."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest

from neargate.model.sandbox import ContainerSpec, HealthCheck, SandboxSpec
from neargate.oci.images import Image
from tests.contracts.drivers.rig import Rig, build_image, shell
from tests.contracts.drivers.traces import traces
from tests.unit.node.rig import Node, by_name, eventually, sink

pytestmark = pytest.mark.root


class OneImage:
    """node/images.Images: whatever is asked for is the rig's busybox."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.pulls: dict[str, tuple[int, int]] = {}

    async def fetch(self, name: str, account: str, region: str) -> Image:
        return self._rig.image()

    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        return self._rig.image(stop_signal="SIGUSR1")

    def held(self, sandbox: str, digest: str) -> Image | None:
        return self._rig.image(stop_signal="SIGUSR1")

    def release(self, sandbox: str) -> None:
        return

    async def run(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "rig", build_image(tmp_path / "image"), 47)
    await rig.driver.__aenter__()
    try:
        yield rig
    finally:
        await rig.close()
    assert traces(rig.instance, rig.directory) == []


async def test_a_daemon_cut_off_and_the_next_one(rig: Rig, tmp_path: Path) -> None:
    node = Node(tmp_path / "sandboxes")
    node.driver = rig.driver  # type: ignore[assignment]
    node.images = OneImage(rig)  # type: ignore[assignment]
    check = HealthCheck(command=("CMD-SHELL", "test -e /ready"), interval=0.2)
    script = "trap 'echo bye; exit 4' USR1; touch /ready; echo up; while true; do sleep 0.05; done"
    stays = rig.spec(shell("main", script, log=sink(stream="stays"), health_check=check))
    ends = rig.spec(shell("main", "echo going; sleep 1; exit 7", log=sink(stream="ends")))
    loses = rig.spec(shell("main", "sleep 600", log=sink(stream="loses")))
    async with node.up():
        node.cell.want(stays, ends, loses)
        for one in (stays, ends, loses):
            await node.reached(one, "RUNNING")
        await eventually(
            lambda: (s := node.cell.last(stays.id)) and by_name(s)["main"].health == "HEALTHY", "healthy"
        )
        before = node.cell.last(stays.id)
    await rig.driver.__aexit__(None, None, None)
    os.kill(_shim(rig, loses.id), signal.SIGKILL)
    await asyncio.sleep(1.2)
    node.driver = rig.driver = rig.new_driver()  # type: ignore[assignment]
    await rig.driver.__aenter__()
    async with node.up():
        ended, lost = await node.reached(ends, "STOPPED"), await node.reached(loses, "STOPPED")
        assert by_name(ended)["main"].exit_code == 7
        assert node.cell.lines["ends"] == ["going"]
        assert lost.failure is not None and lost.failure.code == "InfrastructureHealth"
        after = node.cell.last(stays.id)
        assert before is not None and after is not None
        assert (after.containers, after.started_at) == (before.containers, before.started_at)
        node.cell.want(stays, desired="STOPPED")
        stopped = await node.reached(stays, "STOPPED")
        assert by_name(stopped)["main"].exit_code == 4, "the image's own stop signal"
        assert node.cell.lines["stays"] == ["up", "bye"]
        for one in (stays, ends, loses):
            await node.gone(one)


def _shim(rig: Rig, sandbox: str) -> int:
    return int(json.loads((rig.directory / "driver" / "shims" / sandbox).read_text())["pid"])
