"""`make run`'s script with the stock clients, twice on one daemon, and nothing left after `neargate down`."""

import subprocess
from pathlib import Path

from tests.support.real import ROOT, RealDaemon, nothing_left


def test_the_quick_start_runs_twice(tmp_path: Path) -> None:
    daemon = RealDaemon(tmp_path / "data")
    with nothing_left(daemon.data_dir), daemon:
        for _ in range(2):
            done = subprocess.run(
                ["examples/quickstart.sh"],
                cwd=ROOT,
                env=daemon.environment,
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            for expected in (
                "Hello from neargate",
                "web server starting on port 80",
                "quick start done",
                "UserInitiated",
                "total",
            ):
                assert expected in done.stdout, expected
