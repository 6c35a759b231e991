"""Deployments that fail: the circuit breaker, what stops them, and the way back."""

from collections.abc import Iterator
from typing import Any

import pytest

from neargate.state.catalog import TASK
from tests.support.door import Door
from tests.support.keeper import Keeper, until

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
NO_WAY_BACK = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
NEVER_JUDGED = {"command": ["CMD", "true"], "interval": 300, "startPeriod": 300}
"""Of tasks with which a deployment goes on for ever."""
SICK = {"command": ["CMD", "true"], "interval": 5, "retries": 1, "startPeriod": 0}


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    door = Door(service_healthy_seconds=0.2).start()
    yield door
    door.stop()


@pytest.fixture
def keeper(quick_door: Door) -> Iterator[Keeper]:
    yield Keeper(quick_door)
    quick_door.forget()


@pytest.mark.parametrize("image", ["nopull", "exit-3", "nostart"])
def test_an_image_that_does_not_run_trips_the_breaker_and_is_rolled_back(keeper: Keeper, image: str) -> None:
    good = keeper.define("good")
    keeper.create(good, 2, deploymentConfiguration=BREAKER)
    first = keeper.steady()["deployments"][0]["id"]
    before = {t["taskArn"] for t in keeper.running()}
    bad = keeper.update(taskDefinition=keeper.define(image))["deployments"][0]["id"]
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    service = keeper.steady()
    (deployment,) = service["deployments"]
    assert deployment["id"] == first
    assert service["taskDefinition"] == good
    assert {t["taskArn"] for t in keeper.running()} == before
    process = keeper.process()
    assert process["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    assert process["deploymentCircuitBreaker"]["threshold"] == 3
    assert process["deploymentCircuitBreaker"]["failureCount"] >= 3
    messages = keeper.messages()
    failed = f"(service web) (deployment {bad}) deployment failed: tasks failed to start."
    assert messages.count(failed) == 1
    assert f"(service web) rolling back to deployment {first}." in messages
    assert messages[-1] == "(service web) has reached a steady state."


def test_a_task_that_never_turns_healthy_trips_the_breaker(keeper: Keeper) -> None:
    keeper.create(keeper.define("good"), 1, deploymentConfiguration=BREAKER)
    keeper.steady()
    before = {t["taskArn"] for t in keeper.running()}
    keeper.update(taskDefinition=keeper.define("sick", healthCheck=SICK))
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert {t["taskArn"] for t in keeper.running()} == before
    assert any("failed container health checks." in m for m in keeper.messages())
    reasons = {t["stoppedReason"] for t in keeper.tasks("STOPPED")}
    assert "Task failed container health checks" in reasons


def test_without_rollback_a_failed_deployment_stays_and_the_old_tasks_are_kept(keeper: Keeper) -> None:
    keeper.create(keeper.define("good"), 2, deploymentConfiguration=NO_WAY_BACK)
    keeper.steady()
    keeper.update(taskDefinition=keeper.define("nopull"))

    def failed() -> dict[str, Any]:
        service = keeper.see()
        return service if service["deployments"][0]["rolloutState"] == "FAILED" else {}

    first, second = until(failed)["deployments"]
    assert first["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert first["failedTasks"] >= 3
    assert (second["status"], second["runningCount"]) == ("ACTIVE", 2)
    assert keeper.process()["status"] == "STOPPED"
    lost = keeper.running()[0]
    keeper.end(lost)
    until(
        lambda: len(keeper.running()) == 2 and lost["taskArn"] not in {t["taskArn"] for t in keeper.running()}
    )
    assert {t["startedBy"] for t in keeper.running()} == {second["id"]}


def test_the_first_deployment_has_nothing_to_go_back_to(keeper: Keeper) -> None:
    keeper.create(keeper.define("nopull"), 3, deploymentConfiguration=BREAKER)
    until(lambda: keeper.see()["deployments"][0]["rolloutState"] == "FAILED")
    until(lambda: not keeper.tasks())
    keeper.update(taskDefinition=keeper.define("good"))
    keeper.steady()


def test_without_a_breaker_starts_wait_and_an_update_begins_anew(keeper: Keeper) -> None:
    keeper.create(keeper.define("nopull"), 1)
    impaired = "(service web) is unable to consistently start tasks successfully."
    until(lambda: impaired in keeper.messages())
    assert keeper.see()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    keeper.update(taskDefinition=keeper.define("good"))
    keeper.steady()
    assert keeper.messages().count(impaired) == 1


def test_a_deployment_that_is_stopped_goes_back(keeper: Keeper) -> None:
    keeper.create(keeper.define("good"), 2)
    first = keeper.steady()["deployments"][0]["id"]
    keeper.update(taskDefinition=keeper.define("other", healthCheck=NEVER_JUDGED))
    process = until(lambda: keeper.process() if len(keeper.running()) == 4 else None)
    keeper.ecs.stop_service_deployment(serviceDeploymentArn=process["serviceDeploymentArn"])
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert keeper.steady()["deployments"][0]["id"] == first
    assert len(keeper.running()) == 2


def test_an_update_in_the_middle_of_another_takes_its_place(keeper: Keeper) -> None:
    keeper.create(keeper.define("one"), 3)
    keeper.steady()
    keeper.update(taskDefinition=keeper.define("two", healthCheck=NEVER_JUDGED))  # it waits for the next
    keeper.update(taskDefinition=keeper.define("nopull"))
    last = keeper.define("four")
    keeper.update(taskDefinition=last)
    keeper.steady()
    assert {t["taskDefinitionArn"] for t in keeper.running()} == {last}
    briefs = keeper.ecs.list_service_deployments(service="web")["serviceDeployments"]
    assert sorted(b["status"] for b in briefs) == ["STOPPED", "STOPPED", "SUCCESSFUL", "SUCCESSFUL"]


def all_healthy(keeper: Keeper) -> bool:
    async def look() -> bool:
        return await keeper.door.daemon.house.store.read(
            lambda tx: all(t.healthy_at is not None for t in tx.all(TASK) if t.last_status == "RUNNING")
        )

    return keeper.door.call(look())


def test_a_configuration_that_leaves_no_room_is_complained_of_once_until_it_is_changed(
    keeper: Keeper,
) -> None:
    narrow = {"minimumHealthyPercent": 50, "maximumPercent": 150}  # of one task: at least 1, at most 1
    keeper.create(keeper.define("one"), 1, deploymentConfiguration=narrow)
    keeper.steady()
    before = keeper.tasks()
    until(lambda: all_healthy(keeper))  # until then it counts for no floor, and may be stopped
    second = keeper.define("two")
    keeper.update(taskDefinition=second)
    said = (
        "(service web) was unable to stop or start tasks during a deployment because of the service"
        " deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
    )
    until(lambda: said in keeper.messages())
    assert [t["taskArn"] for t in keeper.tasks()] == [t["taskArn"] for t in before]
    assert keeper.see()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    keeper.update(deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 200})
    keeper.steady()
    assert [t["taskDefinitionArn"] for t in keeper.running()] == [second]
    assert keeper.messages().count(said) == 1
