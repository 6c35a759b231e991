"""A service of a whole daemon, and Application Auto Scaling through boto3 in few words.

Used by tests/api/test_application_autoscaling*.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from neargate.model.alarm import Alarm
from neargate.model.balancer import TargetGroup
from neargate.model.record import Scope
from neargate.model.service import Service
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx
from tests.support.door import Door

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


def scope_of(door: Door) -> Scope:
    return Scope(door.settings.account_id, door.settings.region)


@contextmanager
def service_to_scale(door: Door) -> Iterator[Any]:
    """A client, and a service `api` in the cluster `web` with one task wanted."""
    scope = scope_of(door)
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
