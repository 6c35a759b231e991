"""A service whose tasks are killed at random, and the daemon with them.

Ten seconds in CI; `NEARGATE_TEST_STORM=60` is the full form (`make services-full`).
"""

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.support.fleet import Fleet, fleet_of

SECONDS = int(os.environ.get("NEARGATE_TEST_STORM", "10"))
TASKS, RATE, SHARE, PAUSE = 6, 200, 0.3, 2.0
SEEN_SECONDS = 1.0
"""After a kill, the balancer has seen it by then."""
UNDER_WAY_SECONDS = 0.25
"""So long before it a request may have been sent that the task was about to answer."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


def test_a_storm_of_kills(fleet: Fleet) -> None:
    random.seed(7)
    balancer, group = fleet.balancer("storm"), fleet.group("storm")
    fleet.listener(balancer, 80, group)
    fleet.create("storm", fleet.definition("v1"), TASKS, group)
    fleet.stable("storm")
    fleet.serving(group, TASKS)
    kills: list[tuple[float, float]] = []
    """From when to when requests may fail by each."""
    daemons = {SECONDS / 3, SECONDS * 2 / 3}
    with fleet.traffic(balancer, rate=RATE) as traffic:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < SECONDS or daemons:
            tasks = fleet.tasks("storm")
            for arn in random.sample(tasks, min(len(tasks), max(1, int(len(tasks) * SHARE)))):
                at = time.time()
                if fleet.kill_task(arn):
                    kills.append((at - UNDER_WAY_SECONDS, time.time() + SEEN_SECONDS))
            for due in [moment for moment in daemons if moment <= elapsed]:
                daemons.remove(due)
                fleet.daemon.kill()
                fleet.daemon.up()
            time.sleep(max(0.0, PAUSE - (time.monotonic() - began - elapsed)))
        fleet.stable("storm")
        fleet.serving(group, TASKS)
        time.sleep(2)
    assert not daemons and len(kills) >= SECONDS / PAUSE / 2
    late = [f for f in traffic.report.failures if not any(begin <= f[0] <= end for begin, end in kills)]
    assert late == [], f"{len(late)} of {traffic.report.sent} failed with no task just killed"
    assert traffic.report.answered > traffic.report.sent * 0.95
    fleet.remove("storm")
