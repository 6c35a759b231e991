"""Services that are kept: their tasks made, replaced, scaled, updated and stopped, as boto3 sees it."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.door import Door
from tests.support.keeper import Keeper, until


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    """A daemon whose tasks count as healthy soon after they run."""
    door = Door(service_healthy_seconds=0.2).start()
    yield door
    door.stop()


@pytest.fixture
def keeper(quick_door: Door) -> Iterator[Keeper]:
    yield Keeper(quick_door)
    quick_door.forget()


def test_a_service_gets_its_tasks_and_says_so(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 2)
    service = keeper.steady()
    keeper.ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig={"Delay": 1})
    tasks = keeper.running()
    (deployment,) = service["deployments"]
    assert len(tasks) == 2
    for task in tasks:
        assert task["group"] == "service:web"
        assert task["startedBy"] == deployment["id"]
        assert task["launchType"] == "FARGATE"
    started, completed, steady = keeper.messages()
    assert started.startswith("(service web) has started 2 tasks: (task ")
    assert completed == f"(service web) (deployment {deployment['id']}) deployment completed."
    assert steady == "(service web) has reached a steady state."
    assert deployment["rolloutStateReason"] == f"ECS deployment {deployment['id']} completed."
    assert keeper.process()["status"] == "SUCCESSFUL"


def test_a_task_that_ends_is_replaced(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 2)
    keeper.steady()
    first = keeper.running()[0]
    keeper.end(first)
    until(lambda: any(t["taskArn"] == first["taskArn"] for t in keeper.tasks("STOPPED")))
    keeper.steady()
    assert len(keeper.running()) == 2
    assert first["taskArn"] not in {t["taskArn"] for t in keeper.tasks()}


def test_a_task_that_is_stopped_by_hand_is_replaced(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 1)
    keeper.steady()
    (task,) = keeper.running()
    keeper.ecs.stop_task(task=task["taskArn"], reason="by hand")
    until(lambda: keeper.running() and keeper.running()[0]["taskArn"] != task["taskArn"])
    (stopped,) = keeper.ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"]
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "by hand")


def test_scaled_out_and_in_and_to_nothing(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 1)
    keeper.steady()
    keeper.update(desiredCount=6)
    service = until(lambda: len(keeper.running()) == 6 and keeper.steady())
    assert Counter(t["availabilityZone"] for t in keeper.running()) == dict.fromkeys(keeper.zones, 2)
    keeper.update(desiredCount=3)
    until(lambda: len(keeper.tasks()) == 3)
    assert Counter(t["availabilityZone"] for t in keeper.tasks()) == dict.fromkeys(keeper.zones, 1)
    (id,) = [d["id"] for d in service["deployments"]]
    stopped = until(lambda: keeper.tasks("STOPPED"))
    assert {t["stopCode"] for t in stopped} == {"ServiceSchedulerInitiated"}
    assert {t["stoppedReason"] for t in stopped} == {f"Scaling activity initiated by (deployment {id})"}
    keeper.update(desiredCount=0)
    until(lambda: not keeper.tasks())
    assert keeper.steady()["runningCount"] == 0


def test_deleted(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 2)
    keeper.steady()
    keeper.ecs.delete_service(service="web", force=True)
    until(lambda: keeper.see()["status"] == "INACTIVE")
    assert not keeper.tasks()
    keeper.ecs.get_waiter("services_inactive").wait(services=["web"], WaiterConfig={"Delay": 1})


def test_updated_to_another_revision_without_ever_having_too_few_or_too_many(keeper: Keeper) -> None:
    keeper.create(keeper.define("one"), 4)
    before = keeper.steady()
    second = keeper.define("two")
    keeper.update(taskDefinition=second)
    lives = []

    def over() -> bool:
        tasks = keeper.tasks()
        lives.append((len(tasks), sum(1 for t in tasks if t["lastStatus"] == "RUNNING")))
        return bool(keeper._steady())

    until(over)
    assert max(total for total, _ in lives) <= 8
    assert min(running for _, running in lives) >= 4
    assert {t["taskDefinitionArn"] for t in keeper.running()} == {second}
    (deployment,) = keeper.see()["deployments"]
    assert deployment["id"] != before["deployments"][0]["id"]
    assert keeper.process()["status"] == "SUCCESSFUL"
