"""Application Auto Scaling through boto3: target tracking policies with their alarms."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from neargate.model.record import Scope
from tests.support.door import Door
from tests.support.scaling import (
    CPU,
    ECS,
    LABEL,
    PLACE,
    alarms,
    change_service,
    put_group,
    refused,
    register,
    scope_of,
    service_to_scale,
    tracked,
)


@pytest.fixture
def scope(door: Door) -> Scope:
    return scope_of(door)


@pytest.fixture
def scaling(door: Door) -> Iterator[Any]:
    with service_to_scale(door) as client:
        yield client


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
