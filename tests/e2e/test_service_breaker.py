"""Deployments that cannot work: the breaker trips at the documented count, rolls back, and says so."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet_of
from tests.support.real import eventually

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
THRESHOLD = 3
"""Of a service of two tasks: half of them, but 3 at least."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("fleet"), NEARGATE_SERVICE_HEALTHY_SECONDS="5") as fleet:
        yield fleet


def _processes(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    listed = fleet.ecs.list_service_deployments(cluster="fleet", service=name)["serviceDeployments"]
    arns = [one["serviceDeploymentArn"] for one in listed]
    found = fleet.ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"]
    return sorted(found, key=lambda one: one["createdAt"])


@pytest.mark.parametrize("kind", ["image", "exits", "sick"])
def test_the_breaker_trips_and_rolls_back(fleet: Fleet, kind: str) -> None:
    group = ""
    if kind == "sick":
        group = fleet.group("sick", HealthCheckIntervalSeconds=5)
        fleet.listener(fleet.balancer("sick"), 80, group)
    good = fleet.definition("good", family=kind)
    fleet.create(kind, good, 2, group, deploymentConfiguration=BREAKER)
    fleet.stable(kind)
    before = set(fleet.tasks(kind))
    changes: dict[str, Any] = {
        "image": {"image": fleet.image.replace(":latest", ":missing")},
        "exits": {"environment": {"EXITS": "7"}},
        "sick": {"environment": {"SICK": "1"}},
    }[kind]
    bad = fleet.definition("bad", family=kind, **changes)
    fleet.update(kind, taskDefinition=bad)

    def ended() -> dict[str, Any] | None:
        newest = _processes(fleet, kind)[-1]
        return newest if newest["status"].startswith("ROLLBACK_") and "finishedAt" in newest else None

    process = eventually(ended, "the deployment has been rolled back", 240)
    assert process["status"] == "ROLLBACK_SUCCESSFUL"
    breaker = process["deploymentCircuitBreaker"]
    assert breaker["status"] == "TRIGGERED" and breaker["threshold"] == THRESHOLD
    assert breaker["failureCount"] >= THRESHOLD
    service = fleet.stable(kind, definition=good)
    assert set(fleet.tasks(kind)) == before, "the tasks that worked were not touched"
    told = [event["message"] for event in service["events"]]
    assert any("deployment failed: tasks failed to start." in message for message in told), told
    assert any(f"(service {kind}) rolling back to deployment ecs-svc/" in message for message in told), told
    fleet.remove(kind)


def test_without_rollback_it_fails_and_stays(fleet: Fleet) -> None:
    good = fleet.definition("good", family="stays")
    only = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    fleet.create("stays", good, 2, deploymentConfiguration=only)
    fleet.stable("stays")
    before = set(fleet.tasks("stays"))
    fleet.update("stays", taskDefinition=fleet.definition("bad", family="stays", environment={"EXITS": "1"}))

    def failed() -> dict[str, Any] | None:
        primary = fleet.describe("stays")["deployments"][0]
        return primary if primary["rolloutState"] == "FAILED" else None

    primary = eventually(failed, "the deployment has failed", 240)
    assert primary["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."
    eventually(lambda: set(fleet.tasks("stays")) == before, "what worked, and nothing else, runs on")
    fleet.remove("stays")
