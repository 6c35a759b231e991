"""Application Auto Scaling through boto3: targets, policies with alarms, schedules, activities, tags."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from neargate.model.alarm import Alarm
from neargate.model.balancer import TargetGroup
from neargate.model.record import Scope
from neargate.model.service import Service
from neargate.state.catalog import TASK
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx
from tests.support.door import Door
from tests.support.ecs import container, definition

RESOURCE = "service/web/api"
PLACE = {
    "ServiceNamespace": "ecs",
    "ResourceId": RESOURCE,
    "ScalableDimension": "ecs:service:DesiredCount",
}
ECS = {"ServiceNamespace": "ecs"}
CPU = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
}
STEPS = {
    "AdjustmentType": "ChangeInCapacity",
    "Cooldown": 10,
    "StepAdjustments": [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 20, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 20, "ScalingAdjustment": 3},
    ],
}
LABEL = "app/front/0123456789abcdef/targetgroup/blue/fedcba9876543210"


@pytest.fixture
def scope(door: Door) -> Scope:
    return Scope(door.settings.account_id, door.settings.region)


@pytest.fixture
def scaling(door: Door, scope: Scope) -> Iterator[Any]:
    """A client, and a service `api` in the cluster `web` with one task wanted."""
    service = Service(
        account=scope.account,
        region=scope.region,
        arn=scope.arn("ecs", RESOURCE),
        name="api",
        cluster_arn=scope.arn("ecs", "cluster/web"),
        desired_count=1,
        definition_arn=scope.arn("ecs", "task-definition/f:1"),
        revision_arn=scope.arn("ecs", "service-revision/web/api/1"),
        body={"loadBalancers": [{"targetGroupArn": group_arn(scope)}]},
        created_at=1.0,
    )
    door.call(door.daemon.house.store.write(lambda tx: tx.put(SERVICE, service)))
    yield door.client("application-autoscaling")
    door.call(door.daemon.house.store.write(lambda tx: tx.delete(SERVICE, service.arn)))


def group_arn(scope: Scope) -> str:
    return scope.arn("elasticloadbalancing", "targetgroup/blue/fedcba9876543210")


def register(scaling: Any, minimum: int = 1, maximum: int = 10, **more: Any) -> str:
    made = scaling.register_scalable_target(**PLACE, MinCapacity=minimum, MaxCapacity=maximum, **more)
    return str(made["ScalableTargetARN"])


def tracked(scaling: Any, name: str = "cpu", rule: dict[str, Any] = CPU) -> Any:
    return scaling.put_scaling_policy(
        **PLACE,
        PolicyName=name,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=rule,
    )


def stepped(scaling: Any, name: str = "steps", **changed: Any) -> Any:
    rule = {**STEPS, **changed}
    return scaling.put_scaling_policy(
        **PLACE, PolicyName=name, PolicyType="StepScaling", StepScalingPolicyConfiguration=rule
    )


def refused(code: str, call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def alarms(door: Door) -> dict[str, Alarm]:
    return {a.name: a for a in door.call(door.daemon.house.store.read(lambda tx: tx.all(ALARM)))}


def test_a_target_from_birth_to_death(scaling: Any) -> None:
    arn = register(scaling, 1, 4, Tags={"team": "a"})
    assert re.fullmatch(
        r"arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/[0-9a-f]+", arn
    )
    [target] = scaling.describe_scalable_targets(**ECS)["ScalableTargets"]
    assert target["CreationTime"] <= datetime.now(UTC)
    assert {name: target[name] for name in (*PLACE, "MinCapacity", "MaxCapacity")} == {
        **PLACE,
        "MinCapacity": 1,
        "MaxCapacity": 4,
    }
    assert target["RoleARN"].endswith("/AWSServiceRoleForApplicationAutoScaling_ECSService")
    assert set(target["SuspendedState"].values()) == {False}
    scaling.register_scalable_target(
        **PLACE, MaxCapacity=6, SuspendedState={"DynamicScalingInSuspended": True}
    )
    scaling.register_scalable_target(**PLACE, SuspendedState={"ScheduledScalingSuspended": True})
    [target] = scaling.describe_scalable_targets(**ECS, ResourceIds=[RESOURCE])["ScalableTargets"]
    assert (target["ScalableTargetARN"], target["MinCapacity"], target["MaxCapacity"]) == (arn, 1, 6)
    assert target["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": True,
    }
    assert scaling.describe_scalable_targets(**ECS, ResourceIds=["service/a/b"])["ScalableTargets"] == []
    assert scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"] == []
    scaling.deregister_scalable_target(**PLACE)
    assert scaling.describe_scalable_targets(**ECS)["ScalableTargets"] == []
    assert refused("ObjectNotFoundException", scaling.deregister_scalable_target, **PLACE) == (
        "No scalable target registered for service namespace: ecs, resource ID: service/web/api,"
        " scalable dimension: ecs:service:DesiredCount"
    )


def test_what_cannot_be_a_target(scaling: Any) -> None:
    both = {"MinCapacity": 1, "MaxCapacity": 2}
    register_target = scaling.register_scalable_target
    other = {**PLACE, "ResourceId": "service/web/other"}
    assert refused("ValidationException", register_target, **other, **both) == (
        "ECS service doesn't exist: service/web/other"
    )
    table = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/t",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    assert "dynamodb is not scaled here" in refused("ValidationException", register_target, **table, **both)
    wrong = {**PLACE, "ScalableDimension": "dynamodb:table:ReadCapacityUnits"}
    assert refused("ValidationException", register_target, **wrong, **both) == (
        "Unsupported service namespace, resource type or scalable dimension"
    )
    for resource in ("service/web", "service/web/api/x", "arn:aws:ecs:x", "service/web/a b"):
        refused("ValidationException", register_target, **{**PLACE, "ResourceId": resource}, **both)
    assert refused("ValidationException", register_target, **PLACE, MinCapacity=3, MaxCapacity=2) == (
        "Maximum capacity cannot be less than minimum capacity"
    )
    refused("ValidationException", register_target, **PLACE, MinCapacity=1)
    refused("ValidationException", register_target, **PLACE, MinCapacity=-1, MaxCapacity=2)
    register(scaling, 2, 4)
    refused("ValidationException", register_target, **PLACE, MaxCapacity=1)
    assert scaling.describe_scalable_targets(**ECS)["ScalableTargets"][0]["MaxCapacity"] == 4


def test_a_target_tracking_policy_has_two_alarms(scaling: Any, door: Door) -> None:
    register(scaling)
    made = tracked(scaling)
    assert re.fullmatch(
        r"arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:[0-9a-f-]{36}:resource/ecs/service/web/api"
        r":policyName/cpu",
        made["PolicyARN"],
    )
    high, low = (alarms(door)[alarm["AlarmName"]] for alarm in made["Alarms"])
    assert re.fullmatch(r"TargetTracking-service/web/api-AlarmHigh-[0-9a-f-]{36}", high.name)
    assert re.fullmatch(r"TargetTracking-service/web/api-AlarmLow-[0-9a-f-]{36}", low.name)
    assert [alarm["AlarmARN"] for alarm in made["Alarms"]] == [high.arn, low.arn]
    for alarm in (high, low):
        assert (
            alarm.description
            == f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {made['PolicyARN']}."
        )
        assert (alarm.namespace, alarm.metric_name, alarm.statistic) == (
            "AWS/ECS",
            "CPUUtilization",
            "Average",
        )
        assert dict(alarm.dimensions) == {"ClusterName": "web", "ServiceName": "api"}
        assert (alarm.unit, alarm.period, alarm.treat_missing) == ("Percent", 60, "missing")
        assert alarm.alarm_actions == (made["PolicyARN"],)
    assert (high.comparison, high.threshold, high.evaluation_periods) == ("GreaterThanThreshold", 70.0, 3)
    assert (low.comparison, low.threshold, low.evaluation_periods) == ("LessThanThreshold", 63.0, 15)
    again = tracked(scaling, rule={**CPU, "TargetValue": 80.0, "DisableScaleIn": True})
    assert again == {**made, "ResponseMetadata": again["ResponseMetadata"]}
    found = alarms(door)
    assert len(found) == 2
    assert (found[low.name].threshold, found[low.name].alarm_actions) == (72.0, ())
    [policy] = scaling.describe_scaling_policies(**ECS)["ScalingPolicies"]
    assert policy["Alarms"] == made["Alarms"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 80.0
    scaling.delete_scaling_policy(**PLACE, PolicyName="cpu")
    assert alarms(door) == {}
    assert refused(
        "ObjectNotFoundException", scaling.delete_scaling_policy, **PLACE, PolicyName="cpu"
    ).startswith("No scaling policy found for service namespace: ecs, resource ID: service/web/api")


def test_the_metrics_that_a_policy_may_track(scaling: Any, door: Door, scope: Scope) -> None:
    register(scaling)
    fast = {"PredefinedMetricType": "ECSServiceAverageMemoryUtilizationHighResolution"}
    rule = {"TargetValue": 50, "PredefinedMetricSpecification": fast}
    with pytest.raises(ClientError, match="needs high-resolution metrics"):
        tracked(scaling, rule=rule)
    often = {"metricConfigurations": [{"metricNames": ["MemoryUtilization"], "resolutionSeconds": 20}]}
    change_service(door, scope, monitoring=often)
    made = tracked(scaling, rule=rule)
    high, low = (alarms(door)[alarm["AlarmName"]] for alarm in made["Alarms"])
    assert (high.metric_name, high.period, low.evaluation_periods) == ("MemoryUtilization", 20, 45)
    custom = {
        "MetricName": "Depth",
        "Namespace": "App",
        "Statistic": "Maximum",
        "Dimensions": [{"Name": "Queue", "Value": "q"}],
    }
    made = tracked(scaling, "depth", {"TargetValue": 5, "CustomizedMetricSpecification": custom})
    high, _ = (alarms(door)[alarm["AlarmName"]] for alarm in made["Alarms"])
    assert (high.namespace, high.metric_name, high.statistic, high.unit) == ("App", "Depth", "Maximum", None)
    assert high.dimensions == (("Queue", "q"),)
    stat = {"Metric": {"Namespace": "App", "MetricName": "Depth"}, "Stat": "Sum"}
    queries = [
        {"Id": "m1", "MetricStat": stat, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 / 2", "ReturnData": True},
    ]
    spec = {"CustomizedMetricSpecification": {"Metrics": queries}}
    made = tracked(scaling, "maths", {"TargetValue": 5, **spec})
    high, _ = (alarms(door)[alarm["AlarmName"]] for alarm in made["Alarms"])
    assert [(q.id, q.expression, q.returned) for q in high.metrics] == [
        ("m1", "", False),
        ("e1", "m1 / 2", True),
    ]
    label = {
        "TargetValue": 100,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ALBRequestCountPerTarget",
            "ResourceLabel": LABEL,
        },
    }
    policy = {
        **PLACE,
        "PolicyName": "requests",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": label,
    }
    assert refused("ValidationException", scaling.put_scaling_policy, **policy).startswith(
        "The load balancer does not route traffic to the target group"
    )
    put_group(door, scope, (scope.arn("elasticloadbalancing", "loadbalancer/app/front/0123456789abcdef"),))
    made = tracked(scaling, "requests", label)
    high, _ = (alarms(door)[alarm["AlarmName"]] for alarm in made["Alarms"])
    assert (high.namespace, high.metric_name, high.statistic) == (
        "AWS/ApplicationELB",
        "RequestCountPerTarget",
        "Sum",
    )
    assert dict(high.dimensions) == {
        "LoadBalancer": "app/front/0123456789abcdef",
        "TargetGroup": "targetgroup/blue/fedcba9876543210",
    }
    scaling.deregister_scalable_target(**PLACE)
    assert alarms(door) == {}
    assert scaling.describe_scaling_policies(**ECS)["ScalingPolicies"] == []


def change_service(door: Door, scope: Scope, **members: Any) -> None:
    def body(tx: Tx) -> None:
        service = tx.get(SERVICE, scope.arn("ecs", RESOURCE))
        assert service is not None
        tx.put(SERVICE, replace(service, body={**service.body, **members}))

    door.call(door.daemon.house.store.write(body))


def put_group(door: Door, scope: Scope, balancers: tuple[str, ...]) -> None:
    group = TargetGroup(
        account=scope.account,
        region=scope.region,
        arn=group_arn(scope),
        name="blue",
        protocol="HTTP",
        port=80,
        vpc_id="vpc-1",
        balancer_arns=balancers,
    )
    door.call(door.daemon.house.store.write(lambda tx: tx.put(TARGET_GROUP, group)))


@pytest.mark.parametrize(
    "rule",
    [
        {"TargetValue": 70},
        {**CPU, "TargetValue": 0},
        {**CPU, "TargetValue": -5},
        {**CPU, "ScaleInCooldown": -1},
        {**CPU, "CustomizedMetricSpecification": {"MetricName": "m", "Namespace": "n", "Statistic": "Sum"}},
        {"TargetValue": 7, "CustomizedMetricSpecification": {"MetricName": "m"}},
        {
            "TargetValue": 7,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBReadCapacityUtilization"},
        },
        {
            "TargetValue": 7,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget"},
        },
        {
            "TargetValue": 7,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ALBRequestCountPerTarget",
                "ResourceLabel": "app/front/targetgroup/blue",
            },
        },
        {
            "TargetValue": 7,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ECSServiceAverageCPUUtilization",
                "ResourceLabel": LABEL,
            },
        },
        {
            "TargetValue": 7,
            "CustomizedMetricSpecification": {
                "Metrics": [{"Id": "e", "Expression": "1", "ReturnData": False}]
            },
        },
        {"TargetValue": 7, "CustomizedMetricSpecification": {"Metrics": [{"Id": "E", "Expression": "1"}]}},
        {"TargetValue": 7, "CustomizedMetricSpecification": {"Metrics": [{"Id": "e"}]}},
        {"TargetValue": 7, "CustomizedMetricSpecification": {"Metrics": [{"Id": "e", "Expression": "m1/"}]}},
        {"TargetValue": 7, "CustomizedMetricSpecification": {"Metrics": [{"Id": "e", "Expression": "m1"}]}},
        {
            "TargetValue": 7,
            "CustomizedMetricSpecification": {
                "Metrics": [{"Id": "m", "MetricStat": {"Metric": {"MetricName": "x"}, "Stat": "Middle"}}]
            },
        },
    ],
)
def test_target_tracking_rules_that_are_refused(scaling: Any, door: Door, rule: dict[str, Any]) -> None:
    register(scaling)
    refused(
        "ValidationException",
        scaling.put_scaling_policy,
        **PLACE,
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=rule,
    )
    assert alarms(door) == {}
    assert scaling.describe_scaling_policies(**ECS)["ScalingPolicies"] == []


def step(lower: float | None, upper: float | None, adjustment: int = 1) -> dict[str, Any]:
    bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
    return {**{n: v for n, v in bounds.items() if v is not None}, "ScalingAdjustment": adjustment}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"StepAdjustments": [step(0, 10), step(5, None)]}, "Step adjustment intervals cannot overlap"),
        (
            {"StepAdjustments": [step(0, 10), step(15, None)]},
            "Step adjustment intervals cannot have gaps between them",
        ),
        (
            {"StepAdjustments": [step(None, None)]},
            "Both lower and upper bounds of a step adjustment cannot be left unspecified",
        ),
        ({"StepAdjustments": [step(None, 0), step(None, 5)]}, "Step adjustment intervals cannot overlap"),
        ({"StepAdjustments": [step(5, 5)]}, "The upper bound of a step adjustment must be greater"),
        ({"StepAdjustments": [step(-5, None)]}, "If one step adjustment has a negative lower bound"),
        ({"StepAdjustments": [step(0, 5)]}, "If one step adjustment has a positive upper bound"),
        ({"StepAdjustments": []}, "At least one step adjustment"),
        ({"MinAdjustmentMagnitude": 2}, "MinAdjustmentMagnitude is only supported"),
        ({"Cooldown": -1}, "Cooldown must be between"),
        (
            {"AdjustmentType": "ExactCapacity", "StepAdjustments": [step(0, None, -1)]},
            "ScalingAdjustment must",
        ),
    ],
)
def test_step_scaling_rules_that_are_refused(scaling: Any, changed: dict[str, Any], message: str) -> None:
    register(scaling)
    rule = {**STEPS, **changed}
    said = refused(
        "ValidationException",
        scaling.put_scaling_policy,
        **PLACE,
        PolicyName="p",
        StepScalingPolicyConfiguration=rule,
    )
    assert said.startswith(message)


def test_a_step_scaling_policy(scaling: Any) -> None:
    refused(
        "ObjectNotFoundException",
        scaling.put_scaling_policy,
        **PLACE,
        PolicyName="p",
        StepScalingPolicyConfiguration=STEPS,
    )
    register(scaling)
    made = stepped(scaling)
    assert made["Alarms"] == []
    [policy] = scaling.describe_scaling_policies(**ECS, PolicyNames=["steps"])["ScalingPolicies"]
    assert (policy["PolicyType"], policy["PolicyARN"]) == ("StepScaling", made["PolicyARN"])
    assert policy["StepScalingPolicyConfiguration"]["StepAdjustments"] == [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 20.0, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 20.0, "ScalingAdjustment": 3},
    ]
    assert "cannot be changed" in refused(
        "ValidationException",
        scaling.put_scaling_policy,
        **PLACE,
        PolicyName="steps",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=CPU,
    )
    assert "PredictiveScaling" in refused(
        "ValidationException",
        scaling.put_scaling_policy,
        **PLACE,
        PolicyName="future",
        PolicyType="PredictiveScaling",
        PredictiveScalingPolicyConfiguration={"MetricSpecifications": [{"TargetValue": 40}]},
    )


def test_scheduled_actions(scaling: Any) -> None:
    put = scaling.put_scheduled_action
    action = {**PLACE, "ScheduledActionName": "night", "Schedule": "cron(0 22 * * ? *)"}
    to_one = {"ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 1}}
    refused("ObjectNotFoundException", put, **action, **to_one)
    register(scaling)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    put(**action, **to_one, Timezone="Europe/Berlin", StartTime=start, EndTime=start + timedelta(days=1))
    [shown] = scaling.describe_scheduled_actions(**ECS)["ScheduledActions"]
    assert (shown["Schedule"], shown["Timezone"]) == ("cron(0 22 * * ? *)", "Europe/Berlin")
    assert (shown["StartTime"], shown["EndTime"]) == (start, start + timedelta(days=1))
    assert shown["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 1}
    assert ":scheduledAction:" in shown["ScheduledActionARN"]
    put(**PLACE, ScheduledActionName="night", ScalableTargetAction={"MaxCapacity": 3})
    [again] = scaling.describe_scheduled_actions(**ECS, ScheduledActionNames=["night"])["ScheduledActions"]
    assert (again["ScheduledActionARN"], again["Schedule"]) == (
        shown["ScheduledActionARN"],
        shown["Schedule"],
    )
    assert again["ScalableTargetAction"] == {"MaxCapacity": 3} and "StartTime" not in again
    scaling.delete_scheduled_action(**PLACE, ScheduledActionName="night")
    said = refused(
        "ObjectNotFoundException", scaling.delete_scheduled_action, **PLACE, ScheduledActionName="x"
    )
    assert said.startswith("No scheduled action found for service namespace: ecs")


@pytest.mark.parametrize(
    "changed",
    [
        {"Schedule": "cron(0 22 * * * *)"},
        {"Schedule": "at(2030-01-01T00:00:00Z)"},
        {"Schedule": "rate(0 minutes)"},
        {"Schedule": "0 22 * * ? *"},
    ],
)
def test_schedules_that_are_refused(scaling: Any, changed: dict[str, Any]) -> None:
    register(scaling)
    action = {**PLACE, "ScheduledActionName": "a", "ScalableTargetAction": {"MinCapacity": 1}, **changed}
    said = refused("ValidationException", scaling.put_scheduled_action, **action)
    assert said.startswith("Invalid schedule expression")
    assert scaling.describe_scheduled_actions(**ECS)["ScheduledActions"] == []


def test_scheduled_actions_that_are_refused(scaling: Any) -> None:
    register(scaling)
    put, action = scaling.put_scheduled_action, {**PLACE, "ScheduledActionName": "a"}
    rate = {"Schedule": "rate(5 minutes)"}
    refused("ValidationException", put, **action, ScalableTargetAction={"MinCapacity": 1})
    refused("ValidationException", put, **action, **rate)
    refused("ValidationException", put, **action, **rate, ScalableTargetAction={})
    bounds = {"ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}}
    assert refused("ValidationException", put, **action, **rate, **bounds) == (
        "Maximum capacity cannot be less than minimum capacity"
    )
    one = {"ScalableTargetAction": {"MinCapacity": 1}}
    assert "Mars/Base" in refused("ValidationException", put, **action, **rate, **one, Timezone="Mars/Base")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    refused("ValidationException", put, **action, **rate, **one, StartTime=now, EndTime=now)


def test_pages_and_tokens(scaling: Any) -> None:
    register(scaling)
    for number in range(5):
        stepped(scaling, f"p{number}")
    names: list[str] = []
    params = dict(ECS, MaxResults=2)
    while True:
        answer = scaling.describe_scaling_policies(**params)
        names += [policy["PolicyName"] for policy in answer["ScalingPolicies"]]
        if "NextToken" not in answer:
            break
        params["NextToken"] = answer["NextToken"]
    assert names == [f"p{number}" for number in range(5)]
    refused("InvalidNextTokenException", scaling.describe_scaling_policies, **ECS, NextToken="no token")
    for wrong in (0, 51, -1):
        refused("ValidationException", scaling.describe_scaling_policies, **ECS, MaxResults=wrong)


def test_tags(scaling: Any) -> None:
    arn = register(scaling, Tags={"team": "a"})
    scaling.tag_resource(ResourceARN=arn, Tags={"x": "1", "y": ""})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["x", "none"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a", "y": ""}
    refused("ValidationException", scaling.tag_resource, ResourceARN=arn, Tags={"aws:x": "1"})
    many = {str(number): "" for number in range(60)}
    refused("TooManyTagsException", scaling.tag_resource, ResourceARN=arn, Tags=many)
    other = arn[:-4] + "0000"
    refused("ResourceNotFoundException", scaling.list_tags_for_resource, ResourceARN=other)
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a", "y": ""}


def test_a_request_wakes_a_service_that_sleeps(door: Door) -> None:
    """What the data plane does when a request finds no target, and what becomes of it."""
    ecs, elb, ec2 = (door.client(name) for name in ("ecs", "elbv2", "ec2"))
    network = ec2.describe_subnets()["Subnets"]
    subnets = [subnet["SubnetId"] for subnet in network]
    made = elb.create_target_group(
        Name="zero", Protocol="HTTP", Port=80, VpcId=network[0]["VpcId"], TargetType="ip"
    )
    group = made["TargetGroups"][0]["TargetGroupArn"]
    values = {"neargate.scale_to_zero.enabled": "true", "neargate.scale_to_zero.idle_seconds": "3600"}
    attributes = [{"Key": key, "Value": value} for key, value in values.items()]
    elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=attributes)
    shown = elb.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
    assert {it["Key"]: it["Value"] for it in shown}.items() >= values.items()
    balancer = elb.create_load_balancer(Name="zero", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": group}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    ecs.create_cluster(clusterName="web")
    ecs.register_task_definition(**definition(container("app", portMappings=[{"containerPort": 80}])))
    ecs.create_service(
        cluster="web",
        serviceName="api",
        taskDefinition="web",
        desiredCount=0,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 80}],
    )
    store = door.daemon.house.store

    def wake(tx: Tx) -> None:
        found = tx.get(TARGET_GROUP, group)
        assert found is not None
        tx.put(TARGET_GROUP, replace(found, woken_at=door.daemon.house.clock.now()))

    door.call(store.write(wake))

    async def a_task_runs() -> None:
        head = store.head()
        while not await store.read(lambda tx: [t for t in tx.all(TASK) if t.last_status == "RUNNING"]):
            head = await store.wait(head)

    door.call(a_task_runs())
    service = ecs.describe_services(cluster="web", services=["api"])["services"][0]
    assert service["desiredCount"] == 1
    assert any(f"a request waited at target group {group}" in it["message"] for it in service["events"])
    ecs.delete_service(cluster="web", service="api", force=True)
