"""EFS volumes on this machine's kernel: through an access point with a user, beside none; process and gvisor.

Root only, at the driver. A container writes and syncs a file, reads it, and looks at many: the server is
asked for each name and each look, and never for what is in files.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from bench.measure import Figure, median
from neargate.model.sandbox import Mount, SharedVolume
from tests.contracts.drivers.rig import Rig, build_image, shell

FILE_MIB, FILES, ROUNDS = 256, 3000, 5
_WRITE = f"dd if=/dev/zero of=/mnt/big bs=1M count={FILE_MIB} conv=fsync"
_READ = "dd if=/mnt/big of=/dev/null bs=1M"
_MAKE = f"mkdir /mnt/d && cd /mnt/d && for n in $(seq {FILES}); do : > $n; done"
_LOOK = "find /mnt/d -size +1k"
_OPEN = f"cd /mnt/d && for n in $(seq {FILES}); do : < $n; done"
_USER = (5000, 6000)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        return asyncio.run(_measure(Path(work)))


async def _measure(work: Path) -> list[Figure]:
    image, figures = build_image(work / "image"), []
    for number, tier in enumerate(("process", "gvisor")):
        (work / tier).mkdir()
        rig = Rig(work / tier, image, 34 + number, tier)
        async with rig.driver:
            try:
                plain = await _rates(rig, work / f"{tier}-plain", None)
                through = await _rates(rig, work / f"{tier}-through", _USER)
            finally:
                await rig.driver.sweep(())
        figures += [
            Figure(f"{tier}: {what}, access point", through[what], unit, "", f"without: {plain[what]:,.0f}")
            for what, unit in _UNITS.items()
        ]
        figures.append(Figure(f"{tier}: server of an idle task", through["memory"] / 1e6, "MB"))
    return figures


_UNITS = {"written and synced": "MB/s", "read": "MB/s", "made": "/s", "looked at": "/s", "opened": "/s"}


async def _rates(rig: Rig, tree: Path, user: tuple[int, int] | None) -> dict[str, float]:
    tree.mkdir()
    os.chown(tree, *_USER)
    volume = SharedVolume(volume="v", tree=str(tree), user=user)
    container = shell("c", "exec sleep 3600", mounts=(Mount(volume="v", target="/mnt"),))
    sandbox = await rig.run(container, shared_volumes=(volume,))

    async def rate(amount: float, script: str, before: str = "true") -> float:
        rates = []
        for _ in range(ROUNDS):
            assert (await sandbox.exec("c", ("sh", "-c", before), 120)).exit_code == 0
            began = time.perf_counter()
            result = await sandbox.exec("c", ("sh", "-c", script), 300)
            rates.append(amount / (time.perf_counter() - began))
            assert result.exit_code == 0, result.output
        return median(rates)

    megabytes = FILE_MIB * 1.048576
    found = {"memory": float(_memory(rig.instance))}
    found["written and synced"] = await rate(megabytes, _WRITE, "rm -f /mnt/big")
    found["read"] = await rate(megabytes, _READ)
    found["made"] = await rate(FILES, _MAKE, "rm -rf /mnt/d")
    found["looked at"] = await rate(FILES, _LOOK)
    found["opened"] = await rate(FILES, _OPEN)
    await sandbox.destroy()
    return found


def _memory(instance: str) -> int:
    """What the two processes of a server hold for themselves."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            named = (path / "comm").read_text() == "neargate-files\n"
            if named and instance in (path / "cgroup").read_text():
                kept = (path / "smaps_rollup").read_text().split("Private_Dirty:")[1].split()[0]
                total += int(kept) * 1024
        except OSError:
            continue
    return total
