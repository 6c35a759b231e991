"""Deployments of a service of six tasks under steady traffic: not one failed request.

`NEARGATE_TEST_ROLLOUTS=10` repeats each (`make services-full`).
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fleet import PORT, Fleet, fleet_of
from tests.support.real import eventually
from tests.support.traffic import Report

RUNS = int(os.environ.get("NEARGATE_TEST_ROLLOUTS", "1"))
RATE, TASKS = 500, 6


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


def _nothing_failed(report: Report, *versions: str) -> None:
    assert report.failures == [], f"{len(report.failures)} of {report.sent} failed"
    assert report.answered == report.sent > RATE
    assert set(report.bodies) == set(versions)


def test_a_rolling_update_fails_no_request(fleet: Fleet) -> None:
    balancer, group = fleet.balancer("rolling"), fleet.group("rolling")
    fleet.listener(balancer, 80, group)
    fleet.create("rolling", fleet.definition("v0"), TASKS, group)
    fleet.stable("rolling")
    fleet.serving(group, TASKS)
    for run in range(RUNS):
        old, new = f"v{run}", f"v{run + 1}"
        with fleet.traffic(balancer, rate=RATE) as traffic:
            time.sleep(1)
            definition = fleet.definition(new)
            fleet.update("rolling", taskDefinition=definition)
            fleet.stable("rolling", definition=definition)
            time.sleep(1)
        _nothing_failed(traffic.report, old, new)
    fleet.remove("rolling")


def test_a_rollback_fails_no_request(fleet: Fleet) -> None:
    """The new version never turns healthy: the breaker trips and the old one is what is left."""
    balancer, group = fleet.balancer("back"), fleet.group("back")
    fleet.listener(balancer, 80, group)
    good = fleet.definition("good")
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    fleet.create("back", good, TASKS, group, deploymentConfiguration=breaker)
    fleet.stable("back")
    fleet.serving(group, TASKS)
    for _ in range(RUNS):
        with fleet.traffic(balancer, rate=RATE) as traffic:
            time.sleep(1)
            bad = fleet.definition("bad", environment={"SICK": "1"})
            fleet.update("back", taskDefinition=bad)
            eventually(lambda bad=bad: _rolled_back(fleet, bad), "rolled back", 240)
            fleet.stable("back", definition=good)
        _nothing_failed(traffic.report, "good")
    fleet.remove("back")


def _rolled_back(fleet: Fleet, bad: str) -> bool:
    service = fleet.describe("back")
    return service["taskDefinition"] != bad and any("rolling back" in m for m in fleet.messages("back"))


def _shifting(fleet: Fleet, name: str, configuration: dict[str, Any]) -> tuple[str, list[str]]:
    """A service with two groups behind one rule; (balancer, groups)."""
    balancer = fleet.balancer(name)
    groups = [fleet.group(f"{name}-{colour}") for colour in ("blue", "green")]
    rule = fleet.rule(fleet.listener(balancer, 80, groups[0]), *groups)
    advanced = {
        "alternateTargetGroupArn": groups[1],
        "productionListenerRule": rule,
        "roleArn": "arn:aws:iam::000000000000:role/ecs-balancing",
    }
    one = {"targetGroupArn": groups[0], "containerName": "web", "containerPort": PORT}
    fleet.create(
        name,
        fleet.definition("v0"),
        TASKS,
        loadBalancers=[{**one, "advancedConfiguration": advanced}],
        deploymentConfiguration=configuration,
    )
    fleet.stable(name)
    fleet.serving(groups[0], TASKS)
    return balancer, groups


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("bluegreen", {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}),
        (
            "canary",
            {
                "strategy": "CANARY",
                "bakeTimeInMinutes": 0,
                "canaryConfiguration": {"canaryPercent": 20.0, "canaryBakeTimeInMinutes": 0},
            },
        ),
        (
            "linear",
            {
                "strategy": "LINEAR",
                "bakeTimeInMinutes": 0,
                "linearConfiguration": {"stepPercent": 25.0, "stepBakeTimeInMinutes": 0},
            },
        ),
    ],
)
def test_a_shift_of_traffic_fails_no_request(fleet: Fleet, name: str, configuration: dict[str, Any]) -> None:
    balancer, _groups = _shifting(fleet, name, configuration)
    for run in range(RUNS):
        old, new = f"v{run}", f"v{run + 1}"
        with fleet.traffic(balancer, rate=RATE) as traffic:
            time.sleep(1)
            definition = fleet.definition(new)
            fleet.update(name, taskDefinition=definition)
            fleet.stable(name, definition=definition)
            time.sleep(1)
        _nothing_failed(traffic.report, old, new)
    fleet.remove(name)
