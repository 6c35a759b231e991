"""Load balancers, registries and Service Connect of a service against its definition."""

from typing import Any

import pytest

from neargate.kit.errors import ApiError
from neargate.model.service_rules_tasks import load_balancers, service_connect, service_registries

INVALID = "InvalidParameterException"
DEFINITION = {
    "containerDefinitions": [
        {
            "name": "app",
            "portMappings": [
                {"containerPort": 80, "hostPort": 80, "protocol": "tcp", "name": "http"},
                {"containerPortRange": "9000-9010", "protocol": "tcp"},
            ],
        },
        {"name": "side", "portMappings": []},
    ]
}
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/g/1"
OTHER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/h/2"
BALANCER = {"targetGroupArn": GROUP, "containerName": "app", "containerPort": 80}
RULE = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener-rule/app/b/1/2/3"
ADVANCED = {"alternateTargetGroupArn": OTHER, "productionListenerRule": RULE}


def test_a_balancer_as_it_is_kept() -> None:
    assert load_balancers([BALANCER], DEFINITION, "ROLLING") == [BALANCER]
    ranged = {**BALANCER, "containerPort": 9010}
    assert load_balancers([BALANCER, ranged], DEFINITION, "ROLLING") == [BALANCER, ranged]
    advanced = {**BALANCER, "advancedConfiguration": {**ADVANCED, "testListenerRule": ""}}
    assert load_balancers([advanced], DEFINITION, "CANARY") == [
        {**BALANCER, "advancedConfiguration": ADVANCED}
    ]


@pytest.mark.parametrize(
    ("given", "strategy", "message"),
    [
        ([BALANCER] * 6, "ROLLING", "load balancers can have at most 5 items."),
        ([BALANCER] * 2, "ROLLING",
         "Each load balancer must name another target group or another container port."),
        ([{**BALANCER, "loadBalancerName": "old"}], "ROLLING",
         "loadBalancerName and targetGroupArn cannot both be specified."),
        ([{"loadBalancerName": "old"}], "ROLLING", "Classic Load Balancers are not supported with Fargate."),
        ([{"containerName": "app", "containerPort": 80}], "ROLLING",
         "targetGroupArn must be specified for a load balancer."),
        ([{"targetGroupArn": GROUP, "containerName": "app"}], "ROLLING",
         "containerName and containerPort must be specified for a load balancer."),
        ([{**BALANCER, "containerName": "none"}], "ROLLING",
         "The container none does not exist in the task definition."),
        ([{**BALANCER, "containerPort": 81}], "ROLLING",
         "The container app did not have a container port 81 defined."),
        ([{**BALANCER, "containerPort": 9011}], "ROLLING",
         "The container app did not have a container port 9011 defined."),
        ([BALANCER], "BLUE_GREEN",
         "advancedConfiguration.alternateTargetGroupArn must be specified for a load balancer when the"
         " deployment strategy is BLUE_GREEN."),
        ([{**BALANCER, "advancedConfiguration": {"alternateTargetGroupArn": OTHER}}], "LINEAR",
         "advancedConfiguration.productionListenerRule must be specified for a load balancer when the"
         " deployment strategy is LINEAR."),
        ([{**BALANCER, "advancedConfiguration": {**ADVANCED, "alternateTargetGroupArn": GROUP}}], "CANARY",
         "alternateTargetGroupArn must be another target group than targetGroupArn."),
    ],
)  # fmt: skip
def test_balancers_that_are_refused(given: list[dict[str, Any]], strategy: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        load_balancers(given, DEFINITION, strategy)
    assert (caught.value.code, caught.value.message) == (INVALID, message)


REGISTRY = {"registryArn": "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"}


def test_a_registry_as_it_is_kept() -> None:
    assert service_registries([{**REGISTRY, "port": 80}], DEFINITION) == [{**REGISTRY, "port": 80}]
    named = {**REGISTRY, "containerName": "app", "containerPort": 80}
    assert service_registries([named], DEFINITION) == [named]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([REGISTRY, REGISTRY], "service registries can have at most 1 items."),
        ([{}], "registryArn must be specified for a service registry."),
        ([{**REGISTRY, "containerName": "app"}],
         "containerName and containerPort of a service registry must be specified together."),
        ([{**REGISTRY, "containerName": "app", "containerPort": 80, "port": 80}],
         "Specify either containerName and containerPort, or port, for a service registry."),
        ([{**REGISTRY, "containerName": "side", "containerPort": 80}],
         "The container side did not have a container port 80 defined."),
        ([{**REGISTRY, "port": 0}], "The port of a service registry must be between 1 and 65535."),
    ],
)  # fmt: skip
def test_registries_that_are_refused(given: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        service_registries(given, DEFINITION)
    assert (caught.value.code, caught.value.message) == (INVALID, message)


def connect(*services: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"enabled": True, "services": list(services), **members}


def test_service_connect_as_it_is_kept() -> None:
    assert service_connect({"enabled": False, "namespace": "n"}, DEFINITION, "") == {"enabled": False}
    assert service_connect({"enabled": True}, DEFINITION, "n") == {
        "enabled": True,
        "namespace": "n",
        "services": [],
    }
    made = service_connect(
        connect({"portName": "http", "clientAliases": [{"port": 80, "dnsName": "db"}]}, namespace="m"),
        DEFINITION,
        "n",
    )
    assert made["namespace"] == "m"
    assert made["services"] == [
        {"portName": "http", "discoveryName": "http", "clientAliases": [{"port": 80, "dnsName": "db"}]}
    ]


HTTP = {"portName": "http"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"enabled": True},
         "Namespace is missing. Specify one in serviceConnectConfiguration or as the cluster's default."),
        (connect({"portName": "none"}, namespace="n"),
         "portName(none) does not refer to any named PortMapping in the container definitions."),
        (connect({**HTTP, "clientAliases": [{"port": 1}, {"port": 2}]}, namespace="n"),
         "2 clientAliases exceeds the max limit of 1."),
        (connect({**HTTP, "clientAliases": [{"port": 0}]}, namespace="n"),
         "The port of a client alias must be between 1 and 65535."),
        (connect({**HTTP, "clientAliases": [{"port": 1, "dnsName": "-a"}]}, namespace="n"),
         "The DNS name that you provided is invalid: -a"),
        (connect({**HTTP, "ingressPortOverride": 0}, namespace="n"),
         "ingressPortOverride must be between 1 and 65535."),
        (connect(HTTP, {**HTTP, "discoveryName": "b"}, namespace="n"),
         "Each service of serviceConnectConfiguration must have another portName."),
        (connect(HTTP, namespace="n", logConfiguration={"logDriver": "syslog"}),
         "Invalid logDriver syslog: Service Connect takes awslogs, splunk, awsfirelens."),
        (connect(HTTP, namespace="n", accessLogConfiguration={"format": "TEXT"}),
         "accessLogConfiguration requires a logConfiguration in serviceConnectConfiguration."),
        (connect({**HTTP, "discoveryName": "A"}, namespace="n"),
         "Invalid discoveryName 'A': up to 64 lower-case letters, numbers, underscores and hyphens are"
         " allowed, not starting with a hyphen."),
    ],
)  # fmt: skip
def test_service_connect_that_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        service_connect(given, DEFINITION, "")
    assert (caught.value.code, caught.value.message) == (INVALID, message)


@pytest.mark.parametrize(
    "more",
    [
        {"tls": {"issuerCertificateAuthority": {}}},
        {"clientAliases": [{"port": 80, "testTrafficRules": {"header": {"name": "x"}}}]},
    ],
)
def test_what_service_connect_does_not_do_here(more: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        service_connect(connect({**HTTP, **more}, namespace="n"), DEFINITION, "")
    assert caught.value.code == "UnsupportedFeatureException"
