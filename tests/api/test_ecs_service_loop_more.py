"""What else happens to services: task sets, alarms, protection, capacity providers, tags, zones."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.state.catalog import TASK
from neargate.state.store import Tx
from tests.support.door import Door
from tests.support.keeper import Keeper, until


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    door = Door(service_healthy_seconds=0.2).start()
    yield door
    door.stop()


@pytest.fixture
def keeper(quick_door: Door) -> Iterator[Keeper]:
    yield Keeper(quick_door)
    quick_door.forget()


# -- task sets ---------------------------------------------------------------------------------------------


def external(keeper: Keeper, count: int) -> None:
    keeper.ecs.create_service(
        serviceName="web", desiredCount=count, deploymentController={"type": "EXTERNAL"}
    )


def task_set(keeper: Keeper, definition: str, scale: float) -> str:
    made = keeper.ecs.create_task_set(
        cluster="default",
        service="web",
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration=keeper.network,
        scale={"unit": "PERCENT", "value": scale},
    )
    return str(made["taskSet"]["id"])


def sets(keeper: Keeper) -> dict[str, dict[str, Any]]:
    found = keeper.ecs.describe_task_sets(cluster="default", service="web")["taskSets"]
    return {s["id"]: s for s in found}


def test_task_sets_keep_their_shares(keeper: Keeper) -> None:
    external(keeper, 4)
    first = task_set(keeper, keeper.define("one"), 100)
    second = task_set(keeper, keeper.define("two"), 30)

    def steady(**wanted: int) -> bool:
        found = sets(keeper)
        return all(
            found[id]["stabilityStatus"] == "STEADY_STATE" and found[id]["runningCount"] == count
            for id, count in wanted.items()
        )

    until(lambda: steady(**{first: 4, second: 2}))
    assert Counter(t["startedBy"] for t in keeper.running()) == {first: 4, second: 2}
    assert f"(service web, taskSet {second}) has reached a steady state." in keeper.messages()
    keeper.end(next(t for t in keeper.running() if t["startedBy"] == second))
    until(lambda: steady(**{first: 4, second: 2}) and len(keeper.running()) == 6)
    keeper.ecs.update_task_set(
        cluster="default", service="web", taskSet=second, scale={"unit": "PERCENT", "value": 100}
    )
    until(lambda: steady(**{first: 4, second: 4}))
    keeper.update(desiredCount=2)
    until(lambda: steady(**{first: 2, second: 2}) and len(keeper.tasks()) == 4)
    keeper.ecs.delete_task_set(cluster="default", service="web", taskSet=first, force=True)
    until(lambda: first not in sets(keeper))
    assert {t["startedBy"] for t in keeper.tasks()} == {second}
    keeper.ecs.delete_service(service="web", force=True)
    until(lambda: keeper.see()["status"] == "INACTIVE")
    assert not keeper.tasks()


# -- deployment alarms -------------------------------------------------------------------------------------

ALARMS = {"alarms": {"alarmNames": ["bad"], "enable": True, "rollback": True}}


def alarm(keeper: Keeper, state: str) -> None:
    cloudwatch = keeper.door.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="bad",
        MetricName="m",
        Namespace="n",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName="bad", StateValue=state, StateReason="told so")


def test_an_alarm_that_rings_while_it_bakes_leads_back(keeper: Keeper) -> None:
    alarm(keeper, "OK")
    keeper.create(keeper.define("one"), 1, deploymentConfiguration={**ALARMS, "bakeTimeInMinutes": 0})
    first = keeper.steady()["deployments"][0]["id"]
    keeper.update(
        taskDefinition=keeper.define("two"), deploymentConfiguration={**ALARMS, "bakeTimeInMinutes": 60}
    )
    until(lambda: len(keeper.tasks()) == 1 and keeper.tasks()[0]["startedBy"] != first)
    assert keeper.see()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    assert keeper.process()["alarms"]["status"] == "MONITORING"
    alarm(keeper, "ALARM")
    until(lambda: keeper.process()["status"] == "ROLLBACK_SUCCESSFUL")
    assert keeper.process()["alarms"]["triggeredAlarmNames"] == ["bad"]
    assert keeper.steady()["deployments"][0]["id"] == first


def test_an_alarm_that_rang_before_is_not_listened_to(keeper: Keeper) -> None:
    alarm(keeper, "ALARM")
    keeper.create(keeper.define("one"), 1, deploymentConfiguration=ALARMS)
    keeper.steady()
    assert keeper.process()["status"] == "SUCCESSFUL"
    assert keeper.process()["alarms"]["status"] == "DISABLED"


# -- which tasks, and where --------------------------------------------------------------------------------


def test_a_protected_task_is_not_scaled_in(keeper: Keeper) -> None:
    keeper.create(keeper.define(), 3)
    keeper.steady()
    kept = max(keeper.running(), key=lambda t: t["createdAt"])["taskArn"]
    keeper.ecs.update_task_protection(cluster="default", tasks=[kept], protectionEnabled=True)
    keeper.update(desiredCount=1)
    until(lambda: [t["taskArn"] for t in keeper.tasks()] == [kept])
    keeper.update(desiredCount=0)
    keeper.ecs.update_task_protection(cluster="default", tasks=[kept], protectionEnabled=False)
    until(lambda: not keeper.tasks())


def test_tasks_go_to_providers_by_the_strategy_also_when_they_are_replaced(keeper: Keeper) -> None:
    strategy = [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]
    keeper.create(keeper.define(), 5, launchType=None, capacityProviderStrategy=strategy)
    keeper.steady()

    def held() -> Counter[str]:
        return Counter(t["capacityProviderName"] for t in keeper.running())

    assert held() == {"FARGATE": 2, "FARGATE_SPOT": 3}
    keeper.end(next(t for t in keeper.running() if t["capacityProviderName"] == "FARGATE"))
    until(lambda: held() == {"FARGATE": 2, "FARGATE_SPOT": 3})
    keeper.update(desiredCount=9)
    until(lambda: held() == {"FARGATE": 3, "FARGATE_SPOT": 6})


@pytest.mark.parametrize("propagate", ["SERVICE", "TASK_DEFINITION", None])
def test_tags_of_tasks(keeper: Keeper, propagate: str | None) -> None:
    arn = keeper.define()
    keeper.ecs.tag_resource(resourceArn=arn, tags=[{"key": "of", "value": "definition"}])
    keeper.create(
        arn,
        1,
        tags=[{"key": "of", "value": "service"}],
        propagateTags=propagate,
        enableECSManagedTags=True,
    )
    keeper.steady()
    (task,) = keeper.running()
    (shown,) = keeper.ecs.describe_tasks(tasks=[task["taskArn"]], include=["TAGS"])["tasks"]
    tags = {t["key"]: t["value"] for t in shown["tags"]}
    assert tags.pop("aws:ecs:clusterName") == "default"
    assert tags.pop("aws:ecs:serviceName") == "web"
    expected = {"SERVICE": {"of": "service"}, "TASK_DEFINITION": {"of": "definition"}, None: {}}
    assert tags == expected[propagate]


def test_an_uneven_service_is_rebalanced(keeper: Keeper) -> None:
    service = keeper.create(keeper.define(), 3, availabilityZoneRebalancing="ENABLED")
    keeper.steady()
    zone = keeper.running()[0]["availabilityZone"]

    def crowd(tx: Tx) -> None:
        """As if placement had found room in one zone only."""
        for task in tx.find(TASK, "service", service["serviceArn"]):
            tx.put(TASK, replace(task, availability_zone=zone))

    keeper.door.call(keeper.door.daemon.house.store.write(crowd))
    until(lambda: {t["availabilityZone"] for t in keeper.running()} == keeper.zones)
    until(lambda: len(keeper.tasks()) == 3)


def test_events_of_a_service_reach_rules(keeper: Keeper) -> None:
    events, logs = keeper.door.client("events"), keeper.door.client("logs")
    logs.create_log_group(logGroupName="/aws/events/web")
    events.put_rule(Name="ecs", EventPattern='{"source": ["aws.ecs"]}')
    arn = logs.describe_log_groups(logGroupNamePrefix="/aws/events/web")["logGroups"][0]["arn"]
    events.put_targets(Rule="ecs", Targets=[{"Id": "1", "Arn": arn.removesuffix(":*")}])
    keeper.create(keeper.define(), 1)
    keeper.steady()

    def names() -> set[str]:
        found = logs.filter_log_events(logGroupName="/aws/events/web")["events"]
        return {json.loads(e["message"])["detail"].get("eventName", "") for e in found}

    wanted = {"SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_STEADY_STATE"}
    until(lambda: wanted <= names())


def test_a_definition_goes_with_the_last_task_set_that_has_it(keeper: Keeper) -> None:
    keeper.ecs.create_service(serviceName="web", desiredCount=1, deploymentController={"type": "EXTERNAL"})
    definition = keeper.define()
    made = task_set(keeper, definition, 0)
    keeper.ecs.deregister_task_definition(taskDefinition=definition)
    keeper.ecs.delete_task_definitions(taskDefinitions=[definition])
    keeper.ecs.delete_task_set(cluster="default", service="web", taskSet=made)

    def gone() -> bool:
        try:
            keeper.ecs.describe_task_definition(taskDefinition=definition)
        except keeper.ecs.exceptions.ClientException:
            return True
        return False

    until(gone)
