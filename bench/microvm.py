"""Virtual machines: a task's start at the driver, cold and with a clone ready; a plain boot; memory; fifty.

Root only. Times are of `open` and the `start` of one container, image cached, one task at a time. Without KVM
all of it is software emulation, so the load of the machine shows: the processor time that QEMU took until the
container ran is given beside each.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import Figure, median, percentile
from neargate.model.sandbox import Mount, SandboxSpec, SharedVolume
from neargate.node.drivers.base import Sandbox
from neargate.node.drivers.microvm.driver import MicrovmDriver
from tests.contracts.drivers.rig import CACHE, Rig, build_image, shell

TASKS, IDLE, MANY = 15, 10, 50
FILE_MIB = 64
_PLAIN = """
import json, os, sys, time
from neargate.node.drivers.microvm.vmm import qemu, scratch
from neargate.node.shim import kernel
about, image, place = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
kernel.mount_erofs(image, about["root"])
memory = os.memfd_create("memory")
os.ftruncate(memory, about["memory"] << 20)
os.fchmod(memory, 0o666)
began = time.perf_counter()
vm = qemu.boot(about, memory, scratch.copy(about["directory"] + "/scratch", place))
try:
    vm.hear("ready", 300)
    vm.rehearse(about, 300)
    print(time.perf_counter() - began)
finally:
    os.kill(vm.pid, 9)
"""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        return asyncio.run(_measure(Path(work)))


async def _measure(work: Path) -> list[Figure]:
    image = build_image(work / "image")
    cold, cold_cpu = await _starts(_rig(work / "cold", image, ready=0))
    ready, ready_cpu = await _starts(_rig(work / "ready", image, ready=1))
    plain = await _plain_boots(_rig(work / "plain", image, ready=0), work)
    idle = await _idle(_rig(work / "idle", image, ready=0), IDLE)
    written, read = await _shared_files(_rig(work / "files", image, ready=0), work)
    (work / "beside").mkdir()
    own_written, own_read = await _shared_files(Rig(work / "beside", image, 31, "process"), work)
    seconds, used = await _many(_rig(work / "many", image, ready=0))
    note = f"n={TASKS}, processor {median(cold_cpu):.0f} ms"
    return [
        Figure("clone of a template to running, median", median(cold), "ms", "<= 500", note),
        Figure("clone of a template to running, p99", percentile(cold, 0.99), "ms"),
        Figure("with a clone ready to running, median", median(ready), "ms", "<= 200",
               f"n={TASKS}, processor {median(ready_cpu):.0f} ms with its warming"),
        Figure("with a clone ready to running, p99", percentile(ready, 0.99), "ms"),
        Figure("plain boot of the same guest to its first container, median", median(plain), "ms", "", "n=3"),
        Figure("idle machine, beyond its template", median(idle) / 1e6, "MB", "<= 30", f"n={IDLE}"),
        Figure("EFS volume, written and synced", written, "MB/s", "", f"process tier {own_written:.0f}"),
        Figure("EFS volume, read", read, "MB/s", "", f"process tier {own_read:.0f}"),
        Figure("machine with one container, one of fifty", used / MANY / 1e6, "MB", "", "by MemAvailable"),
        Figure("fifty machines at once to running", seconds, "s", "", f"{used / 2**30:.1f} GiB in all"),
    ]  # fmt: skip


def _rig(directory: Path, image: Path, ready: int) -> Rig:
    directory.mkdir()
    rig = Rig(directory, image, 30, "microvm")
    rig.driver = MicrovmDriver(directory / "driver", rig.instance, rig.cidr, CACHE, "auto", ready)
    return rig


async def _close(rig: Rig) -> None:
    await rig.driver.sweep(())
    await rig.driver.teardown()


async def _task(rig: Rig) -> Sandbox:
    return await rig.run(shell("c", "exec sleep 3600"))


async def _starts(rig: Rig) -> tuple[list[float], list[float]]:
    """Milliseconds of each start, and of the processor until then."""
    took, processor = [], []
    assert isinstance(rig.driver, MicrovmDriver)
    async with rig.driver:
        try:
            await (await _task(rig)).destroy()  # makes the template
            for _ in range(TASKS):
                await rig.driver.ready.settled()
                began = time.perf_counter()
                sandbox = await _task(rig)
                took.append((time.perf_counter() - began) * 1000)
                fields = Path(f"/proc/{sandbox.states['c'].pid}/stat").read_text().rpartition(")")[2].split()
                processor.append((int(fields[11]) + int(fields[12])) * 10.0)
                await sandbox.destroy()
        finally:
            await _close(rig)
    return took, processor


async def _plain_boots(rig: Rig, work: Path) -> list[float]:
    assert isinstance(rig.driver, MicrovmDriver)
    (work / "root").mkdir()
    async with rig.driver:
        try:
            spec = SandboxSpec(id="0" * 32, containers=(), interface=None, cpu=1024, memory=256 << 20)
            about = await rig.driver.template(spec) | {"root": str(work / "root")}
        finally:
            await _close(rig)
    root = next((CACHE / "guests").glob(f"{Path(about['kernel']).parent.name}/vmm.erofs"))
    arguments = [json.dumps(about), str(root), str(work)]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    found = []
    for _ in range(3):
        command = [sys.executable, "-c", _PLAIN, *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        found.append(float(done.stdout) * 1000)
    return found


async def _idle(rig: Rig, count: int) -> list[int]:
    """Bytes that QEMU and the supervisor of a machine without containers have for themselves."""
    found = []
    async with rig.driver:
        try:
            for _ in range(count):
                sandbox = await rig.open()
                record = rig.directory / "driver/shims" / sandbox.id
                supervisor = int(json.loads(record.read_text())["pid"])
                children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
                await asyncio.sleep(1)
                found.append(sum(_own(int(pid)) for pid in (supervisor, *children)))
        finally:
            await _close(rig)
    return found


async def _shared_files(rig: Rig, work: Path) -> tuple[float, float]:
    """Megabytes a second that a container writes to a volume that outlives it, and reads of it anew."""
    tree = work / f"tree-{rig.tier}"
    tree.mkdir()
    mounts, volume = (Mount(volume="v", target="/mnt"),), SharedVolume(volume="v", tree=str(tree))
    rates = []
    async with rig.driver:
        try:
            sandbox = await rig.run(shell("c", "exec sleep 3600", mounts=mounts), shared_volumes=(volume,))
            for script in (
                f"dd if=/dev/zero of=/mnt/f bs=1M count={FILE_MIB} conv=fsync",
                "dd if=/mnt/f of=/dev/null bs=1M",
            ):
                began = time.perf_counter()
                result = await sandbox.exec("c", ("sh", "-c", script), 120)
                assert result.exit_code == 0, result.output
                rates.append(FILE_MIB * 1.048576 / (time.perf_counter() - began))
        finally:
            await _close(rig)
    return rates[0], rates[1]


def _own(pid: int) -> int:
    """Anonymous memory, but for what a fork still shares with its parent."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines() if line.endswith(" kB")}
    return min(kib["Anonymous"], kib["Pss_Anon"]) * 1024


async def _many(rig: Rig) -> tuple[float, int]:
    async with rig.driver:
        try:
            await (await _task(rig)).destroy()
            before, began = _available(), time.perf_counter()
            await asyncio.gather(*(_task(rig) for _ in range(MANY)))
            seconds = time.perf_counter() - began
            assert all(s.states["c"].running for s in rig.sandboxes[1:])
            return seconds, before - _available()
        finally:
            await _close(rig)


def _available() -> int:
    line = next(ln for ln in Path("/proc/meminfo").read_text().splitlines() if ln.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024
