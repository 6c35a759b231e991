"""Services behind a load balancer: registered, judged by their targets, drained before they stop."""

from collections.abc import Iterator

import pytest

from neargate.model import lifecycle
from neargate.state.catalog import TASK
from neargate.state.catalog_balancers import TARGET
from neargate.state.store import Tx
from tests.support.door import Door
from tests.support.keeper import Balanced, Checker, until


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    door = Door().start()
    yield door
    door.stop()


@pytest.fixture
def keeper(quick_door: Door) -> Iterator[Balanced]:
    yield Balanced(quick_door)
    quick_door.forget()


@pytest.fixture
def checker(quick_door: Door, keeper: Balanced) -> Iterator[Checker]:
    with Checker(quick_door) as checker:
        yield checker


def test_tasks_are_registered_and_healthy_by_their_targets(keeper: Balanced, checker: Checker) -> None:
    keeper.create(keeper.define(), 2, loadBalancers=keeper.plain())
    keeper.steady()
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
    targets = keeper.elb.describe_target_health(TargetGroupArn=keeper.blue)["TargetHealthDescriptions"]
    addresses = {
        detail["value"]
        for task in keeper.running()
        for detail in task["attachments"][0]["details"]
        if detail["name"] == "privateIPv4Address"
    }
    assert {t["Target"]["Id"] for t in targets} == addresses
    assert {t["Target"]["AvailabilityZone"] for t in targets} <= keeper.zones
    assert any(f"targets in (target-group {keeper.blue})" in m for m in keeper.messages())


def test_a_task_drains_before_it_stops(keeper: Balanced, checker: Checker) -> None:
    keeper.create(keeper.define(), 2, loadBalancers=keeper.plain())
    keeper.steady()
    checker.kept = True
    keeper.update(desiredCount=1)
    (stopping,) = until(lambda: [t for t in keeper.tasks("STOPPED") if t["lastStatus"] == "DEACTIVATING"])
    assert {c["lastStatus"] for c in stopping["containers"]} == {"RUNNING"}
    assert keeper.states(keeper.blue) == ["draining", "healthy"]
    checker.kept = False
    checker.again()
    until(lambda: keeper.tasks("STOPPED")[0]["lastStatus"] == "STOPPED")
    assert keeper.states(keeper.blue) == ["healthy"]
    (deployment,) = keeper.see()["deployments"]
    assert f"(service web, taskSet {deployment['id']}) has begun draining connections on 1 tasks." in (
        keeper.messages()
    )


def test_a_task_stopped_by_hand_drains_as_well_and_a_dead_one_does_not(
    keeper: Balanced, checker: Checker
) -> None:
    keeper.create(keeper.define(), 2, loadBalancers=keeper.plain())
    keeper.steady()
    checker.kept = True
    by_hand, dead = keeper.running()
    keeper.ecs.stop_task(task=by_hand["taskArn"])
    keeper.end(dead)
    until(lambda: len(keeper.running()) == 2)
    assert until(lambda: keeper.states(keeper.blue) == ["draining", "healthy", "healthy"])
    (stopping,) = keeper.ecs.describe_tasks(tasks=[by_hand["taskArn"]])["tasks"]
    assert (stopping["lastStatus"], stopping["desiredStatus"]) == ("DEACTIVATING", "STOPPED")
    keeper.end(stopping)  # dies while it drains: nothing is waited for any more
    until(lambda: keeper.states(keeper.blue) == ["healthy", "healthy"])


def test_an_old_task_stays_until_the_new_ones_target_is_healthy(keeper: Balanced, checker: Checker) -> None:
    keeper.create(keeper.define("one"), 3, loadBalancers=keeper.plain())
    keeper.steady()
    old = {t["taskArn"] for t in keeper.running()}
    checker.all_sick = False
    healthy: list[int] = []

    def over() -> bool:
        healthy.append(keeper.states(keeper.blue).count("healthy"))
        return bool(keeper._steady())

    keeper.update(taskDefinition=keeper.define("two"))
    until(over)
    assert min(healthy) >= 3
    assert old.isdisjoint(t["taskArn"] for t in keeper.running())


def test_an_unhealthy_target_is_replaced_first_and_then_stopped(keeper: Balanced, checker: Checker) -> None:
    keeper.create(keeper.define(), 2, loadBalancers=keeper.plain())
    keeper.steady()
    targets = keeper.elb.describe_target_health(TargetGroupArn=keeper.blue)["TargetHealthDescriptions"]
    checker.sick.add(targets[0]["Target"]["Id"])
    checker.again()
    (stopped,) = until(lambda: keeper.tasks("STOPPED"))
    assert stopped["stopCode"] == "ServiceSchedulerInitiated"
    assert stopped["stoppedReason"] == f"Task failed ELB health checks in (target-group {keeper.blue})"
    keeper.steady()
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
    assert any("is unhealthy in (target-group" in m for m in keeper.messages())


def test_targets_that_never_turn_healthy_trip_the_breaker(keeper: Balanced, checker: Checker) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    keeper.create(keeper.define(), 2, loadBalancers=keeper.plain(), deploymentConfiguration=breaker)
    keeper.steady()
    before = {t["taskArn"] for t in keeper.running()}
    healthy = {
        t["Target"]["Id"]
        for t in keeper.elb.describe_target_health(TargetGroupArn=keeper.blue)["TargetHealthDescriptions"]
    }

    class New(set[str]):
        """Every address but those of before."""

        def __contains__(self, address: object) -> bool:
            return address not in healthy

    checker.sick = New()
    keeper.update(taskDefinition=keeper.define("other"))
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert {t["taskArn"] for t in keeper.running()} == before


def test_in_the_grace_period_an_unhealthy_target_is_let_be(keeper: Balanced, checker: Checker) -> None:
    checker.all_sick = True
    keeper.create(keeper.define(), 1, loadBalancers=keeper.plain(), healthCheckGracePeriodSeconds=3600)
    until(lambda: keeper.states(keeper.blue) == ["unhealthy"])
    (task,) = keeper.running()
    checker.all_sick = False
    checker.again()
    keeper.steady()
    assert [t["taskArn"] for t in keeper.running()] == [task["taskArn"]]


def test_a_task_that_is_interrupted_gets_no_new_requests_while_it_ends(
    keeper: Balanced, checker: Checker
) -> None:
    keeper.create(keeper.define("stubborn", stopTimeout=120), 1, loadBalancers=keeper.plain())
    keeper.steady()
    checker.kept = True
    (task,) = keeper.running()

    def interrupt(tx: Tx) -> None:
        found = tx.get(TASK, task["taskArn"])
        assert found is not None
        tx.put(TASK, lifecycle.request_stop(found, "SpotInterruption", "", found.created_at))

    keeper.door.call(keeper.door.daemon.house.store.write(interrupt))
    until(lambda: keeper.states(keeper.blue) == ["draining", "healthy"])
    (ending,) = keeper.ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"]
    assert ending["containers"][0]["lastStatus"] == "RUNNING"
    keeper.end(ending)
    until(lambda: keeper.states(keeper.blue) == ["healthy"])
    (last,) = keeper.running()
    keeper.update(desiredCount=0)
    keeper.end(last)  # it would not end by itself for two minutes


def test_nothing_is_registered_in_a_group_that_is_gone(keeper: Balanced, checker: Checker) -> None:
    keeper.create(keeper.define(), 1, loadBalancers=keeper.plain())
    keeper.steady()
    keeper.elb.delete_load_balancer(LoadBalancerArn=keeper.balancer)
    keeper.elb.delete_target_group(TargetGroupArn=keeper.blue)
    until(lambda: [m for m in keeper.messages() if "failed to register targets in (target-group" in m])
    (task,) = keeper.running()

    async def left() -> int:
        return await keeper.door.daemon.house.store.read(lambda tx: tx.count(TARGET, "task", task["taskArn"]))

    assert keeper.door.call(left()) == 0
