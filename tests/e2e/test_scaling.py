"""Scaling for real: a service follows a metric by ten-second alarms, and Spot tasks get their notice."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.support.fleet import Fleet
from tests.support.real import eventually

RESOURCE = "service/e2e/worker"
TARGET = {
    "ServiceNamespace": "ecs",
    "ResourceId": RESOURCE,
    "ScalableDimension": "ecs:service:DesiredCount",
}
NAMESPACE = "E2E"


class Worker:
    """A service of sleeping tasks whose load a test says by a metric: 100 is what one task can do."""

    def __init__(self, stack: Stack, script: str, **service: Any) -> None:
        self.stack = stack
        self.scaling = stack.daemon.client("application-autoscaling")
        self.watch = stack.daemon.client("cloudwatch")
        definition = stack.ecs.register_task_definition(
            family="worker",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/execution",
            containerDefinitions=[stack.container(script)],
        )["taskDefinition"]["taskDefinitionArn"]
        stack.ecs.create_service(
            cluster="e2e",
            serviceName="worker",
            taskDefinition=definition,
            desiredCount=1,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
            **service,
        )

    def described(self) -> dict[str, Any]:
        found = self.stack.ecs.describe_services(cluster="e2e", services=["worker"])["services"][0]
        return dict(found)

    def policy(
        self, name: str, comparison: str, threshold: float, step: dict[str, Any], cooldown: int
    ) -> None:
        """A step scaling policy and the alarm that triggers it, by the newest ten seconds."""
        made = self.scaling.put_scaling_policy(
            **TARGET,
            PolicyName=name,
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "Cooldown": cooldown,
                "StepAdjustments": [step],
            },
        )
        self.watch.put_metric_alarm(
            AlarmName=name,
            Namespace=NAMESPACE,
            MetricName="Load",
            Statistic="Average",
            Period=10,
            EvaluationPeriods=1,
            Threshold=threshold,
            ComparisonOperator=comparison,
            AlarmActions=[made["PolicyARN"]],
        )

    def under(self, load: float, until: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Tell what each task will have of the load, every two seconds, until the service is so."""
        told = 0.0

        def reached() -> dict[str, Any] | None:
            nonlocal told
            service = self.described()
            if time.monotonic() - told > 2:
                told = time.monotonic()
                share = 100 * load / max(1, service["desiredCount"])  # however long a task needs to start
                point = {"MetricName": "Load", "Value": share, "StorageResolution": 1}
                self.watch.put_metric_data(Namespace=NAMESPACE, MetricData=[point])
            return service if until(service) else None

        found: dict[str, Any] = eventually(reached, what, 240)
        return found

    def activities(self) -> list[dict[str, Any]]:
        found = self.scaling.describe_scaling_activities(ServiceNamespace="ecs", ResourceId=RESOURCE)
        return list(found["ScalingActivities"])


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    """Its tasks sleep."""
    with existing(stack, "trap 'exit 0' TERM; sleep 3600 & wait") as worker:
        yield worker


@contextlib.contextmanager
def existing(stack: Stack, script: str, **service: Any) -> Iterator[Worker]:
    try:
        yield Worker(stack, script, **service)
    finally:
        ended(stack)


def ended(stack: Stack) -> None:
    stack.ecs.delete_service(cluster="e2e", service="worker", force=True)
    stack.ecs.get_waiter("services_inactive").wait(
        cluster="e2e", services=["worker"], WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )


def test_a_service_follows_its_load_out_and_in(worker: Worker) -> None:
    worker.scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    up = {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
    down = {"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}
    # two periods: the alarm's newest is of what the step before has led to
    worker.policy("busy", "GreaterThanThreshold", 80, up, 20)
    worker.policy("idle", "LessThanThreshold", 30, down, 10)
    alive = {"desiredCount": 3, "runningCount": 3}
    worker.under(2.2, lambda it: {n: it[n] for n in alive} == alive, "three tasks run under the load")
    service = worker.under(0.2, lambda it: it["desiredCount"] == it["runningCount"] == 1, "one task is left")
    activities = worker.activities()
    counts = [activity["Description"] for activity in reversed(activities)]
    assert counts == [f"Setting desired count to {count}." for count in (2, 3, 2, 1)]
    assert {activity["Cause"] for activity in activities} == {
        "monitor alarm busy in state ALARM triggered policy busy",
        "monitor alarm idle in state ALARM triggered policy idle",
    }
    said = [event["message"] for event in service["events"]]
    assert any(message.startswith("Message: Successfully set desired count to 3.") for message in said)


def test_target_tracking_follows_what_tasks_really_use(stack: Stack) -> None:
    often = {"metricConfigurations": [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]}
    with existing(stack, "while :; do :; done", monitoring=often) as worker:
        worker.scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=2)
        metric = {"PredefinedMetricType": "ECSServiceAverageCPUUtilizationHighResolution"}
        made = worker.scaling.put_scaling_policy(
            **TARGET,
            PolicyName="cpu",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 50.0,
                "PredefinedMetricSpecification": metric,
            },
        )
        eventually(lambda: worker.described()["runningCount"] == 2, "the busy service has grown", 240)
        names = [alarm["AlarmName"] for alarm in made["Alarms"]]
        high, low = worker.watch.describe_alarms(AlarmNames=names)["MetricAlarms"]
        assert (high["StateValue"], low["StateValue"]) == ("ALARM", "OK")
        # those of the tests before are of the same service
        [cause] = [c for a in worker.activities() if (c := a["Cause"]).endswith("policy cpu")]
        assert cause == f"monitor alarm {names[0]} in state ALARM triggered policy cpu"
        eventually(lambda: worker.activities()[0]["StatusCode"] == "Successful", "it is fulfilled", 120)


def test_a_minimum_is_kept_and_a_schedule_changes_it(worker: Worker) -> None:
    worker.scaling.register_scalable_target(**TARGET, MinCapacity=2, MaxCapacity=4)
    eventually(lambda: worker.described()["runningCount"] == 2, "the minimum runs")
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3))
    worker.scaling.put_scheduled_action(
        **TARGET,
        ScheduledActionName="soon",
        Schedule=f"at({soon})",
        ScalableTargetAction={"MinCapacity": 3},
    )
    eventually(lambda: worker.described()["runningCount"] == 3, "the scheduled minimum runs")
    causes = [activity["Cause"] for activity in worker.activities()]
    assert "scheduled action name soon was triggered" in causes
    assert "minimum capacity was set to 3" in causes


def test_a_service_sleeps_while_nobody_asks_and_the_first_request_is_answered(
    stack: Stack, tmp_path: Path
) -> None:
    fleet = Fleet(stack.daemon, tmp_path)
    balancer, group = fleet.balancer("zero"), fleet.group("zero")
    fleet.listener(balancer, 80, group)
    values = {"neargate.scale_to_zero.enabled": "true", "neargate.scale_to_zero.idle_seconds": "20"}
    fleet.elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": key, "Value": value} for key, value in values.items()]
    )
    fleet.create("zero", fleet.definition("v1"), 1, group)
    url = f"http://{fleet.address(balancer)}/"

    def asleep() -> bool:
        """With no target that drains: until Envoy is told, it still answers, and nobody is woken."""
        service = fleet.describe("zero")
        there = fleet.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return bool(service["desiredCount"] == service["runningCount"] == 0 and not there)

    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(2):
            eventually(asleep, "the service sleeps", 180)
            answer = client.get(url)
            assert answer.status_code == 200, answer.text
            assert fleet.describe("zero")["desiredCount"] == 1
        fleet.stable("zero")
        # While it is asked, it is awake: for longer than it would be left alone.
        for _ in range(30):
            assert client.get(url).status_code == 200
            assert fleet.describe("zero")["desiredCount"] == 1
            time.sleep(1)
    messages = fleet.messages("zero")
    assert any(f"a request waited at target group {group}" in message for message in messages)
    assert any("had no request for 20 seconds" in message for message in messages)
    fleet.remove("zero")


def test_a_spot_task_gets_its_notice_and_ends_well(stack: Stack) -> None:
    stack.ecs.create_cluster(clusterName="spotty", capacityProviders=["FARGATE", "FARGATE_SPOT"])
    script = "trap 'echo notice; sleep 1; echo done; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    definition = stack.ecs.register_task_definition(
        family="spotty",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[stack.container(script, stopTimeout=30)],
    )["taskDefinition"]["taskDefinitionArn"]
    arns = [
        stack.ecs.run_task(
            cluster="spotty",
            taskDefinition=definition,
            capacityProviderStrategy=[{"capacityProvider": name, "weight": 1}],
            networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
        )["tasks"][0]["taskArn"]
        for name in ("FARGATE_SPOT", "FARGATE_SPOT", "FARGATE")
    ]

    def tasks() -> list[dict[str, Any]]:
        found = stack.ecs.describe_tasks(cluster="spotty", tasks=arns)["tasks"]
        return sorted(found, key=lambda task: arns.index(task["taskArn"]))

    for arn in arns:
        eventually(lambda arn=arn: stack.lines(arn) == ["up"], "the task is up")
    done = stack.daemon.cli("spot", "interrupt", "--cluster", "spotty", "--count", "1", "--json")
    assert json.loads(done.stdout) == {"interrupted": [arns[1]]}
    eventually(lambda: tasks()[1]["lastStatus"] == "STOPPED", "the interrupted task ends")
    oldest, youngest, on_demand = tasks()
    assert (youngest["stopCode"], youngest["stoppedReason"]) == (
        "SpotInterruption",
        "Your Spot Task was interrupted.",
    )
    assert youngest["containers"][0]["exitCode"] == 0
    assert stack.lines(arns[1]) == ["up", "notice", "done"]
    assert (oldest["lastStatus"], on_demand["lastStatus"]) == ("RUNNING", "RUNNING")
    assert stack.daemon.cli("spot", "interrupt", "--task", arns[2], check=False).returncode == 1
    for arn in (arns[0], arns[2]):
        stack.ecs.stop_task(cluster="spotty", task=arn)
    eventually(lambda: {task["lastStatus"] for task in tasks()} == {"STOPPED"}, "all tasks end")
