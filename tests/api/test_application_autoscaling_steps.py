"""Application Auto Scaling through boto3: step scaling policies."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.scaling import CPU, ECS, PLACE, STEPS, refused, register, service_to_scale, stepped


@pytest.fixture
def scaling(door: Door) -> Iterator[Any]:
    with service_to_scale(door) as client:
        yield client


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
