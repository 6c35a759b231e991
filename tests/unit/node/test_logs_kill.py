"""A daemon's log side killed with SIGKILL while a container writes: nothing lost, nothing twice."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from neargate.node.spool import STDERR, STDOUT, SpoolWriter
from tests.unit.node.test_logs import ACCOUNT, REGION, SANDBOX, cell_on, container, shipper, stored


async def ship(directory: Path, pattern: str, until_drained: bool) -> list[str]:
    async with cell_on(directory) as cell, shipper(cell) as shipping:
        spec = container(multiline_pattern=pattern)
        shipping.attach(SANDBOX, spec, ACCOUNT, REGION, directory / "spool")
        if not until_drained:
            await asyncio.Event().wait()
        assert await shipping.drain(SANDBOX, 20)
        return await stored(cell)


def forked(directory: Path, pattern: str) -> int:
    pid = os.fork()
    if pid == 0:
        asyncio.run(ship(directory, pattern, False))
        os._exit(1)
    return pid


@pytest.mark.parametrize("pattern", ["", "^out [0-9]*0$"])
def test_sigkill(tmp_path: Path, pattern: str) -> None:
    chance = random.Random(7)
    writer = SpoolWriter(str(tmp_path / "spool"), 1 << 30, True)
    out = err = 0
    for _ in range(20):
        pid = forked(tmp_path, pattern)
        try:
            end = time.monotonic() + 0.02 + chance.random() * 0.12
            while time.monotonic() < end:
                lines = "".join(f"out {out + i}\n" for i in range(chance.randint(1, 300)))
                out += lines.count("\n")
                writer.feed(STDOUT, lines.encode())
                writer.feed(STDERR, f"err {err}\n".encode())
                err += 1
                time.sleep(0.002)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    writer.finish()
    writer.close()
    events = asyncio.run(ship(tmp_path, pattern, True))
    lines_ = [line for event in events for line in event.split("\n") if line]
    assert [line for line in lines_ if line.startswith("out")] == [f"out {i}" for i in range(out)]
    assert [line for line in lines_ if line.startswith("err")] == [f"err {i}" for i in range(err)]
    assert out > 1000
