"""How logs behave under a flood, and at rest.

    .venv/bin/python bench/log_flood.py [--seconds 20] [--idle 200]

A writer process fills a spool as fast as it can, as the shim does for a container that writes on and on; this
process has the shipper and the store, as the daemon has. Printed: rates, lines kept, dropped and shipped, the
longest time that the event loop stood still, and resident memory over time, which must stay flat. Then the
CPU time of a shipper with many idle spools.
"""

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from neargate.kit.clock import SystemClock
from neargate.kit.settings import Settings
from neargate.model.sandbox import ContainerSpec, LogBatch, LogCursor, LogSink
from neargate.node.logs import LogShipper
from neargate.node.spool import STDOUT, SpoolWriter
from neargate.services.cell import log_intake
from neargate.services.logs import EXPIRE_EVERY, expire
from neargate.state.sqlite import SqliteStore

ACCOUNT, REGION = "000000000000", "us-east-1"
LINE = b"2026-11-24T09:13:15 INFO request handled path=/api/v1/items status=200 bytes=1534 ms=12\n"
SINK = LogSink(group="/bench", stream="flood", create_group=True)


class IntakeCell:
    """The daemon's intake, called as services/cell does."""

    def __init__(self, house: Any) -> None:
        self._house = house
        self.events = self.bytes = 0

    async def log_cursors(self, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
        return await log_intake.log_cursors(self._house, runtime_ids)

    async def put_logs(self, batches: Sequence[LogBatch]) -> None:
        await log_intake.put_logs(self._house, batches)
        self.events += sum(len(batch.events) for batch in batches)
        self.bytes += sum(len(event.message) + 1 for batch in batches for event in batch.events)


def write_flood(directory: str, seconds: float, blocking: bool, total: Any) -> None:
    writer = SpoolWriter(directory, 10 * 1024 * 1024, blocking)
    chunk = LINE * (60_000 // len(LINE))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if blocking and writer.full:
            time.sleep(0.005)
            continue
        writer.feed(STDOUT, chunk)
        total.value += len(chunk)
    writer.finish()
    writer.close()


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


async def watch_loop(worst: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.01)
        worst[0] = max(worst[0], time.monotonic() - began - 0.01)


async def expire_often(house: Any) -> None:
    while True:
        await asyncio.sleep(EXPIRE_EVERY / 5)
        await expire(house, time.time())


async def flood(seconds: float, blocking: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with SqliteStore(Path(directory) / "logs.db") as store:
            settings = Settings(log_max_bytes=200 * 1024 * 1024)
            house: Any = SimpleNamespace(logs=store, clock=SystemClock(), settings=settings)
            await log_intake.open_log_stream(house, ACCOUNT, REGION, SINK.group, SINK.stream, True)
            cell, spool = IntakeCell(house), Path(directory) / "spool"
            spec = ContainerSpec(name="flood", image="i", runtime_id="r", log=SINK)
            total = multiprocessing.Value("q", 0, lock=False)
            writer = multiprocessing.get_context("fork").Process(
                target=write_flood, args=(str(spool), seconds, blocking, total)
            )
            worst, memory = [0.0], [resident()]
            async with LogShipper(cell, SystemClock()) as shipper:  # type: ignore[arg-type]
                shipper.attach("s", spec, ACCOUNT, REGION, spool)
                watching = [
                    asyncio.ensure_future(watch_loop(worst)),
                    asyncio.ensure_future(expire_often(house)),
                ]
                began = time.monotonic()
                writer.start()
                while writer.is_alive():
                    await asyncio.sleep(1)
                    memory.append(resident())
                drained = await shipper.drain("s", 60)
                took = time.monotonic() - began
                for task in watching:
                    task.cancel()
            dropped = spool / "dropped"
            print(f"flood, {'blocking' if blocking else 'non-blocking'}, {seconds:.0f} s, drained {drained}")
            print(f"  written  {total.value / seconds / 1e6:8.1f} MB/s")
            print(f"  shipped  {cell.bytes / took / 1e6:8.1f} MB/s  {cell.events / took:9.0f} events/s")
            print(f"  dropped  {dropped.read_text() if dropped.exists() else '0 0'} (lines bytes)")
            print(f"  loop     {worst[0] * 1000:8.1f} ms at its longest stop")
            print("  memory   " + " ".join(f"{m:.0f}" for m in memory) + " MiB")


async def idle(count: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with SqliteStore(Path(directory) / "logs.db") as store:
            house: Any = SimpleNamespace(logs=store, clock=SystemClock())
            await log_intake.open_log_stream(house, ACCOUNT, REGION, SINK.group, SINK.stream, True)
            async with LogShipper(IntakeCell(house), SystemClock()) as shipper:  # type: ignore[arg-type]
                for i in range(count):
                    spec = ContainerSpec(name="c", image="i", runtime_id=f"r{i}", log=SINK)
                    shipper.attach(f"s{i}", spec, ACCOUNT, REGION, Path(directory) / f"spool{i}")
                await asyncio.sleep(1)
                began = time.process_time()
                await asyncio.sleep(seconds)
                used = time.process_time() - began
    print(f"idle, {count} spools: {100 * used / seconds:.3f} % of a core")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--idle", type=int, default=200)
    options = parser.parse_args()
    asyncio.run(idle(options.idle, 5))
    asyncio.run(flood(options.seconds, blocking=True))
    asyncio.run(flood(options.seconds, blocking=False))


if __name__ == "__main__":
    main()
