"""BLUE_GREEN, LINEAR and CANARY: tasks of two revisions, and the listeners' weights between them."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.keeper import Balanced, Checker, until

BLUE_GREEN = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    door = Door(service_healthy_seconds=0.2).start()
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


def begin(keeper: Balanced, count: int = 2, **configuration: Any) -> str:
    """A service at rest; the id of its deployment."""
    keeper.create(
        keeper.define("one"),
        count,
        loadBalancers=keeper.shifting(),
        deploymentConfiguration={**BLUE_GREEN, **configuration},
    )
    return str(keeper.steady()["deployments"][0]["id"])


def pause(*stages: str, **timeout: Any) -> dict[str, Any]:
    hook: dict[str, Any] = {"targetType": "PAUSE", "lifecycleStages": list(stages)}
    return {**hook, "timeoutConfiguration": timeout} if timeout else hook


def held_at(keeper: Balanced, stage: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        process = keeper.process()
        held = process.get("lifecycleStage") == stage and process.get("lifecycleHookDetails")
        return process if held else {}

    return until(look)


def go(keeper: Balanced, process: dict[str, Any], action: str = "CONTINUE") -> None:
    keeper.ecs.continue_service_deployment(
        serviceDeploymentArn=process["serviceDeploymentArn"],
        hookId=process["lifecycleHookDetails"][0]["hookId"],
        action=action,
    )


def test_the_first_deployment_serves_from_the_first_group(keeper: Balanced, checker: Checker) -> None:
    begin(keeper)
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
    assert keeper.weights(keeper.rule) == (100, 0)


def test_blue_and_green_take_turns(keeper: Balanced, checker: Checker) -> None:
    begin(keeper)
    old = {t["taskArn"] for t in keeper.running()}
    keeper.update(taskDefinition=keeper.define("two"))
    keeper.steady()
    assert keeper.process()["status"] == "SUCCESSFUL"
    assert keeper.weights(keeper.rule) == (0, 100)
    assert keeper.weights(keeper.test_rule) == (0, 100)
    assert keeper.states(keeper.green) == ["healthy", "healthy"]
    until(lambda: not keeper.states(keeper.blue))
    assert old.isdisjoint(t["taskArn"] for t in keeper.running())
    keeper.update(taskDefinition=keeper.define("three"))
    keeper.steady()
    assert keeper.weights(keeper.rule) == (100, 0)
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]


def test_each_stage_can_be_held_and_shows_who_gets_the_traffic(keeper: Balanced, checker: Checker) -> None:
    stages = ("PRE_SCALE_UP", "POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT")
    begin(keeper)
    keeper.update(
        taskDefinition=keeper.define("two"),
        deploymentConfiguration={**BLUE_GREEN, "lifecycleHooks": [pause(*stages)]},
    )
    process = held_at(keeper, "PRE_SCALE_UP")
    assert len(keeper.tasks()) == 2
    assert process["status"] == "IN_PROGRESS"
    assert process["lifecycleHookDetails"][0]["status"] == "AWAITING_ACTION"
    go(keeper, process)
    process = held_at(keeper, "POST_SCALE_UP")
    assert keeper.states(keeper.green) == ["healthy", "healthy"]
    assert (keeper.weights(keeper.rule), keeper.weights(keeper.test_rule)) == ((100, 0), (100, 0))
    go(keeper, process)
    process = held_at(keeper, "POST_TEST_TRAFFIC_SHIFT")
    assert (keeper.weights(keeper.rule), keeper.weights(keeper.test_rule)) == ((100, 0), (0, 100))
    go(keeper, process)
    process = held_at(keeper, "POST_PRODUCTION_TRAFFIC_SHIFT")
    assert (keeper.weights(keeper.rule), keeper.weights(keeper.test_rule)) == ((0, 100), (0, 100))
    assert process["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100.0
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
    assert len(keeper.running()) == 4
    go(keeper, process)
    keeper.steady()
    assert len(keeper.running()) == 2


@pytest.mark.parametrize(
    "stage", ["POST_SCALE_UP", "POST_TEST_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"]
)
def test_rolled_back_from_a_pause(keeper: Balanced, checker: Checker, stage: str) -> None:
    first = begin(keeper)
    old = {t["taskArn"] for t in keeper.running()}
    keeper.update(
        taskDefinition=keeper.define("two"),
        deploymentConfiguration={**BLUE_GREEN, "lifecycleHooks": [pause(stage)]},
    )
    go(keeper, held_at(keeper, stage), "ROLLBACK")
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert keeper.steady()["deployments"][0]["id"] == first
    assert (keeper.weights(keeper.rule), keeper.weights(keeper.test_rule)) == ((100, 0), (100, 0))
    assert {t["taskArn"] for t in keeper.running()} == old
    until(lambda: not keeper.states(keeper.green))


def test_a_deployment_is_stopped_while_it_bakes(keeper: Balanced, checker: Checker) -> None:
    first = begin(keeper)
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60}
    keeper.update(taskDefinition=keeper.define("two"), deploymentConfiguration=configuration)
    process = until(lambda: p if (p := keeper.process()).get("lifecycleStage") == "BAKE_TIME" else {})
    assert keeper.weights(keeper.rule) == (0, 100)
    keeper.ecs.stop_service_deployment(
        serviceDeploymentArn=process["serviceDeploymentArn"], stopType="ROLLBACK"
    )
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert keeper.steady()["deployments"][0]["id"] == first
    assert keeper.weights(keeper.rule) == (100, 0)


def test_aborted_it_stays_as_it_is(keeper: Balanced, checker: Checker) -> None:
    begin(keeper)
    keeper.update(
        taskDefinition=keeper.define("two"),
        deploymentConfiguration={**BLUE_GREEN, "lifecycleHooks": [pause("POST_SCALE_UP")]},
    )
    process = held_at(keeper, "POST_SCALE_UP")
    keeper.ecs.stop_service_deployment(serviceDeploymentArn=process["serviceDeploymentArn"], stopType="ABORT")
    until(lambda: keeper.process()["status"] == "STOPPED")
    assert keeper.weights(keeper.rule) == (100, 0)
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
    keeper.update(
        taskDefinition=keeper.define("three"), deploymentConfiguration={**BLUE_GREEN, "lifecycleHooks": []}
    )
    keeper.steady()
    assert keeper.weights(keeper.rule) == (0, 100)


def test_linear_and_canary_stop_at_their_first_step(keeper: Balanced, checker: Checker) -> None:
    begin(keeper)
    linear = {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 12.5, "stepBakeTimeInMinutes": 60}}
    keeper.update(taskDefinition=keeper.define("two"), deploymentConfiguration=linear)
    until(lambda: keeper.weights(keeper.rule) == (875, 125))
    canary = {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 5, "canaryBakeTimeInMinutes": 0}}
    keeper.update(taskDefinition=keeper.define("three"), deploymentConfiguration=canary)
    keeper.steady()
    assert keeper.weights(keeper.rule) == (0, 100)


def between_two_steps(keeper: Balanced) -> tuple[str, set[str]]:
    """Of a shift that stands there for an hour. The deployment before it, and its tasks."""
    first = begin(keeper)
    old = {t["taskArn"] for t in keeper.running()}
    canary = {"canaryPercent": 5, "canaryBakeTimeInMinutes": 60}
    keeper.update(
        taskDefinition=keeper.define("two"),
        deploymentConfiguration={"strategy": "CANARY", "canaryConfiguration": canary},
    )
    until(lambda: keeper.weights(keeper.rule) == (95, 5))
    return first, old


@pytest.mark.parametrize("gone", ["rule", "listener", "balancer"])
def test_a_shift_whose_listener_is_deleted_is_rolled_back(
    keeper: Balanced, checker: Checker, gone: str
) -> None:
    """Between two steps, in which nothing else happens."""
    first, old = between_two_steps(keeper)
    if gone == "rule":
        keeper.elb.delete_rule(RuleArn=keeper.rule)
    elif gone == "listener":
        keeper.elb.delete_listener(ListenerArn=keeper.listener)
    else:
        keeper.elb.delete_load_balancer(LoadBalancerArn=keeper.balancer)
    process = until(lambda: p if (p := keeper.process())["status"] == "ROLLBACK_SUCCESSFUL" else {})
    reason = f"The productionListenerRule {keeper.rule} does not exist."
    assert process["statusReason"].endswith(reason) and process["rollback"]["reason"].endswith(reason)
    assert any("deployment failed:" in m and m.endswith(reason) for m in keeper.messages())
    assert keeper.steady()["deployments"][0]["id"] == first
    assert {t["taskArn"] for t in keeper.running()} == old


ANSWER = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}


@pytest.mark.parametrize("to", ["blue", "another", "nowhere"])
def test_a_shift_whose_rule_leads_elsewhere_is_rolled_back(
    keeper: Balanced, checker: Checker, to: str
) -> None:
    """Between two steps; weights alone, with green's group still in the rule, are the user's to set."""
    first, old = between_two_steps(keeper)
    weighed = [{"TargetGroupArn": keeper.blue, "Weight": 1}, {"TargetGroupArn": keeper.green, "Weight": 0}]
    forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": weighed}}
    keeper.elb.modify_rule(RuleArn=keeper.rule, Actions=[forward])
    time.sleep(0.3)
    assert keeper.process()["status"] == "IN_PROGRESS"
    group = {"blue": keeper.blue, "another": keeper.group("another")}.get(to)
    action = {"Type": "forward", "TargetGroupArn": group} if group else ANSWER
    keeper.elb.modify_rule(RuleArn=keeper.rule, Actions=[action])
    process = until(lambda: p if (p := keeper.process())["status"] == "ROLLBACK_SUCCESSFUL" else {})
    reason = f"Target group {keeper.green} is not associated with the productionListenerRule {keeper.rule}."
    assert process["statusReason"].endswith(reason) and process["rollback"]["reason"].endswith(reason)
    assert keeper.steady()["deployments"][0]["id"] == first
    assert {t["taskArn"] for t in keeper.running()} == old
    if group:
        assert keeper.weights(keeper.rule) == (100, 0)
    else:  # what the user has put there stays
        (rule,) = keeper.elb.describe_rules(RuleArns=[keeper.rule])["Rules"]
        assert rule["Actions"][0]["Type"] == "fixed-response"


def test_a_rule_that_forwards_nowhere_fails_the_deployment_before_it_leads_there(
    keeper: Balanced, checker: Checker
) -> None:
    keeper.elb.modify_rule(RuleArn=keeper.rule, Actions=[ANSWER])
    keeper.create(
        keeper.define("one"), 1, loadBalancers=keeper.shifting(), deploymentConfiguration=BLUE_GREEN
    )
    process = until(lambda: p if (p := keeper.process())["status"] == "ROLLBACK_FAILED" else {})
    assert f"is not associated with the productionListenerRule {keeper.rule}" in process["statusReason"]


def test_a_rule_that_leads_elsewhere_at_first_is_led_to_the_service(
    keeper: Balanced, checker: Checker
) -> None:
    another = {"Type": "forward", "TargetGroupArn": keeper.group("another")}
    keeper.elb.modify_rule(RuleArn=keeper.rule, Actions=[another])
    begin(keeper)
    assert keeper.process()["status"] == "SUCCESSFUL"
    assert keeper.weights(keeper.rule) == (100, 0)


def test_a_first_deployment_without_its_listener_fails(keeper: Balanced, checker: Checker) -> None:
    """There is nothing to go back to; and a listener's own default rule is no record of its own."""
    (rule,) = [
        r["RuleArn"]
        for r in keeper.elb.describe_rules(ListenerArn=keeper.listener)["Rules"]
        if r["IsDefault"]
    ]
    (balancer,) = keeper.shifting()
    balancer["advancedConfiguration"]["productionListenerRule"] = rule
    keeper.create(
        keeper.define("one"),
        1,
        loadBalancers=[balancer],
        deploymentConfiguration={**BLUE_GREEN, "lifecycleHooks": [pause("POST_SCALE_UP")]},
    )
    held_at(keeper, "POST_SCALE_UP")
    keeper.elb.delete_listener(ListenerArn=keeper.listener)
    process = until(lambda: p if (p := keeper.process())["status"] == "ROLLBACK_FAILED" else {})
    assert rule in process["statusReason"]
    assert keeper.see()["deployments"][0]["rolloutState"] == "FAILED"


def test_green_tasks_that_never_turn_healthy_change_nothing(keeper: Balanced, checker: Checker) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    first = begin(keeper, **breaker)
    keeper.update(taskDefinition=keeper.define("nopull"))
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert keeper.steady()["deployments"][0]["id"] == first
    assert keeper.weights(keeper.rule) == (100, 0)
    assert keeper.states(keeper.blue) == ["healthy", "healthy"]
