"""How quick the process tier is: open + start of one container with a cached image, one after the other
and with eight in parallel; CPU per task (all processes), destroy, and a shim's private memory. Root
only.

    .venv/bin/python bench/driver_start.py [tasks]
"""

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from neargate.node.drivers.base import Sandbox
from tests.contracts.drivers.rig import Rig, build_image, shell
from tests.contracts.drivers.test_isolation import shim_memory

PARALLEL = 8


async def measure(rig: Rig, count: int) -> None:
    opened: list[float] = []
    started: list[float] = []
    destroyed: list[float] = []

    async def task() -> Sandbox:
        at = time.perf_counter()
        sandbox = await rig.open()
        opened.append(time.perf_counter() - at)
        await sandbox.start(shell("c", "exec sleep 600"), rig.image())
        started.append(time.perf_counter() - at)
        return sandbox

    async def end(sandbox: Sandbox) -> None:
        at = time.perf_counter()
        await sandbox.destroy()
        destroyed.append(time.perf_counter() - at)

    await end(await task())  # mounts the image, compiles the filter
    for numbers in (opened, started, destroyed):
        numbers.clear()
    for _ in range(count):
        sandbox = await task()
        memory = shim_memory(rig, sandbox.id)
        await end(sandbox)
    print(
        f"one at a time, {count} tasks, ms: {_line('open', opened)}; {_line('open + start', started)}; ",
        end="",
    )
    print(f"{_line('destroy', destroyed)}; shim {memory / 1e6:.1f} MB private")

    gate, started_before = asyncio.Semaphore(PARALLEL), len(started)
    sandboxes: list[Sandbox] = []

    async def gated() -> None:
        async with gate:
            sandboxes.append(await task())

    before, own = time.perf_counter(), time.process_time()
    busy = _busy()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(gated())
    wall = time.perf_counter() - before
    print(
        f"{PARALLEL} in parallel: {count / wall:.0f} tasks/s; {_line('each', started[started_before:])}; "
        f"CPU per task {1000 * (_busy() - busy) / count:.0f} ms on the machine, "
        f"{1000 * (time.process_time() - own) / count:.1f} ms of it the daemon"
    )
    before = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for sandbox in sandboxes:
            group.create_task(end(sandbox))
    print(f"all destroyed: {count / (time.perf_counter() - before):.0f} tasks/s")


def _line(name: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{name} median {statistics.median(ordered) * 1000:.1f} p99 {p99 * 1000:.1f}"


def _busy() -> float:
    """CPU seconds that the machine has spent working."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / 100


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory), build_image(Path(directory)), 48)
        async with rig.driver:
            try:
                await measure(rig, count)
            finally:
                await rig.driver.sweep(())
                await rig.driver.teardown()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
