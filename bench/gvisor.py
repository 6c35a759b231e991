"""The gVisor tier: RunTask to RUNNING (one container, image cached), beside the process tier and `runsc run`.

Measured as in run_task.py, but asking less often. `runsc run` is one container by hand, without network,
limits or logs: what runsc itself takes. Memory is what an idle task's processes hold for themselves, its
shim included.
"""

import itertools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import Figure, median, percentile
from bench.run_task import prepare, start_and_stop
from neargate.main import instance_of
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually

ROUNDS = 40
_PAUSE = 0.015
"""Between two questions for the state: asked without a pause, client and door take one of two processors."""


def run() -> list[Figure]:
    took: dict[str, list[float]] = {}
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        layout = busybox_image(place / "image", entrypoint=["/bin/sleep"], cmd=["600"])
        for tier in ("gvisor", "process"):
            with RealDaemon(place / tier, NEARGATE_ISOLATION=tier) as daemon:
                definition, network = prepare(daemon, layout)
                took[tier] = [start_and_stop(daemon, definition, network, _PAUSE) for _ in range(ROUNDS)]
                figures.append(Figure(f"idle task, {tier}", _idle(daemon, definition, network), "MB"))
        by_hand = [_runsc(place) for _ in range(ROUNDS // 2)]
    gvisor, process = took["gvisor"], took["process"]
    return [
        Figure("RunTask to RUNNING, gvisor, median", median(gvisor), "ms", "<= 250", f"n={len(gvisor)}"),
        Figure("RunTask to RUNNING, gvisor, p99", percentile(gvisor, 0.99), "ms"),
        Figure("RunTask to RUNNING, process, median", median(process), "ms", "", f"n={len(process)}"),
        Figure("`runsc run --detach` by hand, median", median(by_hand), "ms", "", f"n={len(by_hand)}"),
        *figures,
    ]


def _idle(daemon: RealDaemon, definition: str, network: dict[str, Any]) -> float:
    """Private MB of a task that sleeps."""
    ecs = daemon.client("ecs")
    task = ecs.run_task(
        cluster="bench", taskDefinition=definition, launchType="FARGATE", networkConfiguration=network
    )["tasks"][0]["taskArn"]

    def status() -> str:
        return str(ecs.describe_tasks(cluster="bench", tasks=[task])["tasks"][0]["lastStatus"])

    eventually(lambda: status() == "RUNNING", "running")
    time.sleep(1)
    held = sum(_private(pid) for pid in _processes(daemon, task.rsplit("/", 1)[1]))
    ecs.stop_task(cluster="bench", task=task)
    eventually(lambda: status() == "STOPPED", "stopped")
    return held / 1e6


def _processes(daemon: RealDaemon, sandbox: str) -> set[int]:
    records = daemon.data_dir.glob(f"*/shims/{sandbox}")
    found = {int(json.loads(record.read_text())["pid"]) for record in records}
    for process in Path("/proc").glob("[0-9]*"):
        group = f"/neargate_{instance_of(daemon.data_dir)}/{sandbox}"
        try:
            if group in (process / "cgroup").read_text():
                found.add(int(process.name))
        except OSError:
            continue  # it has ended
    return found


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


_numbers = itertools.count()


def _runsc(place: Path) -> float:
    """Of a container with a busybox root, in a namespace with what runsc needs."""
    bundle, name = place / "bundle", f"bench-{os.getpid()}-{next(_numbers)}"
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "/bin/busybox", bundle / "rootfs/busybox"], check=True)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/busybox", "sleep", "600"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    command = ["runsc", "--root", str(place / "rt"), "--network=none", "--ignore-cgroups"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.perf_counter()
    subprocess.run([*command, "run", "--detach", "--bundle", bundle, name], check=True, **quiet)
    took = (time.perf_counter() - began) * 1000
    subprocess.run([*command, "delete", "--force", name], check=True, **quiet)
    return took
