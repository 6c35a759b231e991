"""A process that outlives its daemon: real ones, and a second `Companion` in place of the next daemon."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from neargate.node.companion import Companion, start_ticks

SLEEP = ["sleep", "600"]


class Begun:
    """Counts adoptions and starts."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[bool] = asyncio.Queue()

    async def __call__(self, adopted: bool) -> None:
        self.told.put_nowait(adopted)

    async def next(self) -> bool:
        async with asyncio.timeout(20):
            return await self.told.get()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(companion: Companion, command: list[str] = SLEEP) -> AsyncIterator[Begun]:
    begun = Begun()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(companion.run(command, begun))
        try:
            yield begun
        finally:
            running.cancel()


async def test_it_outlives_and_is_adopted(tmp_path: Path) -> None:
    first = Companion("one", tmp_path)
    async with kept(first) as begun:
        assert await begun.next() is False
        pid = first.pid
    assert pid is not None and start_ticks(pid)
    second = Companion("one", tmp_path)
    async with kept(second) as begun:
        assert await begun.next() is True
        assert second.pid == pid
    await second.stop()
    first._child.wait() if first._child else None
    assert start_ticks(pid) is None
    assert second.pid is None


async def test_it_is_started_again_at_once_when_it_dies(tmp_path: Path) -> None:
    companion = Companion("one", tmp_path)
    async with kept(companion) as begun:
        await begun.next()
        first = companion.pid
        assert first
        os.kill(first, signal.SIGKILL)
        assert await begun.next() is False
        assert companion.pid not in (None, first)
    await companion.stop()


async def test_an_adopted_one_is_started_again_too(tmp_path: Path) -> None:
    child = await asyncio.to_thread(_of_a_dead_daemon, tmp_path)
    companion = Companion("one", tmp_path)
    async with kept(companion) as begun:
        assert await begun.next() is True
        assert companion.pid == child
        os.kill(child, signal.SIGKILL)
        assert await begun.next() is False
    await companion.stop()


_DAEMON = """
import asyncio, os, sys
from pathlib import Path
from neargate.node.companion import Companion
async def begun(adopted): print(os.getpid(), companion.pid, flush=True); os.kill(os.getpid(), 9)
companion = Companion("one", Path(sys.argv[1]))
asyncio.run(companion.run(["sleep", "600"], begun))
"""


def _of_a_dead_daemon(directory: Path) -> int:
    """A companion whose daemon was killed with SIGKILL."""
    told = subprocess.run([sys.executable, "-c", _DAEMON, str(directory)], capture_output=True, text=True)
    assert told.returncode == -signal.SIGKILL, told.stderr
    return int(told.stdout.split()[1])


async def test_another_version_is_begun_anew(tmp_path: Path) -> None:
    old = Companion("one", tmp_path, version="1")
    async with kept(old) as begun:
        await begun.next()
        pid = old.pid
    new = Companion("one", tmp_path, version="2")
    async with kept(new) as begun:
        assert await begun.next() is False
        assert new.pid not in (None, pid)
    await new.stop()
    assert start_ticks(pid or 0) is None


async def test_a_recycled_process_id_is_not_taken_for_it(tmp_path: Path) -> None:
    own = start_ticks(os.getpid()) or 0
    (tmp_path / "one.pid").write_text(json.dumps({"pid": os.getpid(), "start": own - 1, "version": ""}))
    companion = Companion("one", tmp_path)
    assert companion.pid is None
    await companion.stop()  # this very process must live on
    assert not (tmp_path / "one.pid").exists()


async def test_it_is_placed_and_on_file_before_it_begins(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def placed(pid: int) -> None:
        trace.write_text(f"placed {pid}\n")

    companion = Companion("one", tmp_path, placed=placed)
    script = f"cat {tmp_path}/one.pid >>{trace}; exec sleep 600"
    async with kept(companion, ["/bin/sh", "-c", script]) as begun:
        await begun.next()
        await until(lambda: len(trace.read_text().splitlines()) == 2)
        placed_line, file_line = trace.read_text().splitlines()
        assert placed_line == f"placed {companion.pid}"
        assert json.loads(file_line)["pid"] == companion.pid
    await companion.stop()


async def test_one_that_cannot_be_placed_never_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def placed(pid: int) -> None:
        tries.append(pid)
        raise OSError("no such group")

    companion = Companion("one", tmp_path, placed=placed)
    async with kept(companion, ["/bin/sh", "-c", f"touch {tmp_path}/begun"]):
        await until(lambda: len(tries) >= 2)
    assert "no such group" in caplog.text
    assert all(start_ticks(pid) is None for pid in tries)
    assert not (tmp_path / "begun").exists()


async def test_none_begins_where_the_data_directory_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is that made anew: nobody would look for it there."""
    companion = Companion("one", tmp_path / "data" / "one")
    async with kept(companion):
        await until(lambda: "one cannot be started" in caplog.text)
    assert not (tmp_path / "data").exists()


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    companion = Companion("one", tmp_path)
    script = f"trap '' TERM; touch {tmp_path}/deaf; while :; do sleep 600; done"
    async with kept(companion, ["/bin/sh", "-c", script]) as begun:
        await begun.next()
        await until((tmp_path / "deaf").exists)
        pid = companion.pid
    with contextlib.suppress(ProcessLookupError):
        await companion.stop(seconds=0.1)
    assert start_ticks(pid or 0) is None


async def test_what_it_says_is_told_when_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with kept(Companion("one", tmp_path), ["/bin/sh", "-c", "echo no such port >&2; exit 1"]) as begun:
        await begun.next()
        await begun.next()
    assert "one has ended: no such port" in caplog.text


def test_on_the_daemons_event_loop(tmp_path: Path) -> None:
    """uvloop watches descriptors by other code than asyncio does."""

    async def main() -> None:
        companion = Companion("one", tmp_path)
        async with kept(companion) as begun:
            await begun.next()
            os.kill(companion.pid or 0, signal.SIGKILL)
            assert await begun.next() is False
        await companion.stop()

    uvloop.run(main())
