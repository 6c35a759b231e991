"""Many tasks: 100 asked at once, the daemon's memory with 200 running, its restart with 200 running.

Memory is the daemon's resident set; the shims, one process per task, are shown beside it.
"""

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.measure import Figure
from bench.run_task import prepare
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        layout = busybox_image(place / "image", entrypoint=["/bin/sleep"], cmd=["3600"])
        with RealDaemon(place / "data") as daemon:
            definition, network = prepare(daemon, layout)
            first = _ask(daemon, definition, network, 100)
            _ask(daemon, definition, network, 100, already=100)
            time.sleep(5)
            resident, shims = _memory(daemon)
            daemon.kill()
            began = time.monotonic()
            daemon.up()
            ready = time.monotonic() - began
            eventually(lambda: _running(daemon) == 200, "200 tasks running after the restart")
            adopted = _adopted(daemon, began)
            _stop_all(daemon)
    return [
        Figure("100 tasks asked at once, to RUNNING", 100 / first, "tasks/s", ">= 25"),
        Figure("memory of the daemon, 200 tasks running", resident / 2**20, "MB", "<= 150", "resident set"),
        Figure("memory of the shims, each (proportional)", shims / 2**20 / 200, "MB"),
        Figure(
            "restart with 200 tasks running, to all adopted",
            adopted,
            "s",
            "<= 3",
            f"door open at {ready:.2f} s",
        ),
    ]


def _ask(daemon: RealDaemon, definition: str, network: dict[str, Any], count: int, already: int = 0) -> float:
    """Seconds from the first of the calls (10 tasks each, at once) to the last task RUNNING."""
    clients = [daemon.client("ecs") for _ in range(count // 10)]
    began = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as pool:
        calls = [
            pool.submit(
                client.run_task,
                cluster="bench",
                taskDefinition=definition,
                launchType="FARGATE",
                count=10,
                networkConfiguration=network,
            )
            for client in clients
        ]
        for call in calls:
            assert call.result()["failures"] == []
    eventually(lambda: _running(daemon) == count + already, f"{count} tasks running", 120)
    return time.monotonic() - began


def _running(daemon: RealDaemon) -> int:
    cluster = daemon.client("ecs").describe_clusters(clusters=["bench"])["clusters"][0]
    return int(cluster["runningTasksCount"])


def _memory(daemon: RealDaemon) -> tuple[int, int]:
    """Resident bytes of the daemon; proportional bytes of all its shims."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024, sum(_proportional(process) for process in _shims(daemon))


def _shims(daemon: RealDaemon) -> Iterator[Path]:
    marker = str(daemon.data_dir).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != daemon.pid and marker in (process / "cmdline").read_bytes():
                yield process


def _proportional(process: Path) -> int:
    with contextlib.suppress(OSError):
        match = re.search(r"^Pss:\s+(\d+) kB", (process / "smaps_rollup").read_text(), re.M)
        return int(match[1]) * 1024 if match else 0
    return 0


def _adopted(daemon: RealDaemon, began: float) -> float:
    """Seconds from `began` to the moment at which the agent had adopted every sandbox, as status tells."""
    document = eventually(
        lambda: (
            (s := json.loads(daemon.cli("status", "--json").stdout)).get("adopted_sandboxes") == 200 and s
        ),
        "200 adopted",
    )
    now_to_epoch = time.time() - time.monotonic()
    return float(document["adopted_at"]) - (began + now_to_epoch)


def _stop_all(daemon: RealDaemon) -> None:
    daemon.cli("down")
