"""Target groups and their targets by an unmodified client."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.model.balancing import View
from neargate.node.balancer.checker import AssumedHealthy
from neargate.state.catalog_balancers import TARGET
from neargate.state.store import Tx
from tests.support.balancing import Balancing, refused
from tests.support.door import Door


@pytest.fixture
def lb(door: Door) -> Balancing:
    return Balancing(door)


def test_a_target_group_from_birth_to_death(lb: Balancing) -> None:
    params = {"Name": "api", "Protocol": "HTTP", "Port": 8080, "VpcId": lb.vpc, "TargetType": "ip"}
    made = lb.client.create_target_group(**params)["TargetGroups"][0]
    arn = made.pop("TargetGroupArn")
    assert arn.startswith("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/api/")
    assert made == {
        "TargetGroupName": "api",
        "Protocol": "HTTP",
        "Port": 8080,
        "VpcId": lb.vpc,
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port",
        "HealthCheckEnabled": True,
        "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 5,
        "HealthyThresholdCount": 5,
        "UnhealthyThresholdCount": 2,
        "HealthCheckPath": "/",
        "Matcher": {"HttpCode": "200"},
        "LoadBalancerArns": [],
        "TargetType": "ip",
        "ProtocolVersion": "HTTP1",
        "IpAddressType": "ipv4",
    }
    assert lb.client.create_target_group(**params)["TargetGroups"][0]["TargetGroupArn"] == arn
    message = refused("DuplicateTargetGroupName", lb.client.create_target_group, **{**params, "Port": 81})
    assert message == "A target group with the same name 'api' exists, but with different settings"
    lb.client.register_targets(TargetGroupArn=arn, Targets=[{"Id": lb.address(0)}])
    changed = lb.client.modify_target_group(
        TargetGroupArn=arn, HealthCheckPath="/up", Matcher={"HttpCode": "200-299"}, HealthCheckPort="81"
    )["TargetGroups"][0]
    assert changed["HealthCheckPath"] == "/up" and changed["HealthCheckPort"] == "81"
    assert changed["Matcher"] == {"HttpCode": "200-299"} and changed["HealthCheckIntervalSeconds"] == 30
    lb.client.delete_target_group(TargetGroupArn=arn)
    describe = lb.client.describe_target_groups
    message = refused("TargetGroupNotFound", describe, TargetGroupArns=[arn])
    assert message == "One or more target groups not found"
    lb.client.delete_target_group(TargetGroupArn=arn)
    again = lb.client.create_target_group(**params)["TargetGroups"][0]["TargetGroupArn"]
    assert lb.health(again) == {}


BAD, WRONG = "ValidationError", "InvalidConfigurationRequest"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"Name": "x" * 33}, BAD, "Target group name"),
        ({"Name": "a--"}, BAD, "cannot begin or end with a hyphen"),
        ({"TargetType": "instance"}, WRONG, "tasks on Fargate need the target type 'ip'"),
        ({"TargetType": "lambda"}, WRONG, "target type 'lambda' are not built into neargate"),
        ({"TargetType": None}, WRONG, "target type 'instance' are not built"),
        ({"Protocol": "GENEVE"}, WRONG, "protocol 'GENEVE' are not built into neargate"),
        ({"Protocol": None}, BAD, "A protocol must be specified"),
        ({"Port": None}, BAD, "A port must be specified"),
        ({"VpcId": None}, BAD, "A VPC ID must be specified"),
        ({"VpcId": "vpc-1"}, BAD, "The VPC ID 'vpc-1' is not found"),
        ({"ProtocolVersion": "HTTP3"}, BAD, "must be one of 'GRPC, HTTP1, HTTP2'"),
        ({"Protocol": "TCP", "ProtocolVersion": "HTTP1"}, BAD, "protocol version cannot be specified"),
        ({"IpAddressType": "ipv6"}, WRONG, "IPv6 addresses are not built"),
        ({"HealthCheckEnabled": False}, BAD, "Health check enabled must be true"),
        ({"HealthCheckProtocol": "TCP"}, BAD, "must be one of 'HTTP, HTTPS'"),
        ({"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 5}, BAD, "must be smaller than"),
    ],
)
def test_what_cannot_be_created(lb: Balancing, options: dict[str, Any], code: str, message: str) -> None:
    usual = {"Name": "api", "Protocol": "HTTP", "Port": 80, "VpcId": lb.vpc, "TargetType": "ip"}
    params = {name: value for name, value in {**usual, **options}.items() if value is not None}
    assert message in refused(code, lb.client.create_target_group, **params)
    assert lb.client.describe_target_groups()["TargetGroups"] == []


def test_grpc_and_tcp_are_shown_with_what_they_have(lb: Balancing) -> None:
    lb.group("grpc", ProtocolVersion="GRPC", Matcher={"GrpcCode": "0-5"})
    lb.group("tcp", Protocol="TCP")
    grpc, tcp = lb.client.describe_target_groups(Names=["grpc", "tcp"])["TargetGroups"]
    assert grpc["Matcher"] == {"GrpcCode": "0-5"} and grpc["ProtocolVersion"] == "GRPC"
    assert "Matcher" not in tcp and "HealthCheckPath" not in tcp and "ProtocolVersion" not in tcp


def test_describing_by_page_and_by_name(lb: Balancing) -> None:
    arns = {lb.group(f"g{n}") for n in range(5)}
    describe = lb.client.describe_target_groups
    pages = list(lb.client.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["TargetGroups"]) for page in pages] == [2, 2, 1]
    assert {g["TargetGroupArn"] for page in pages for g in page["TargetGroups"]} == arns
    assert [g["TargetGroupName"] for g in describe(Names=["g3"])["TargetGroups"]] == ["g3"]
    refused("TargetGroupNotFound", describe, Names=["g3", "none"])
    refused("ValidationError", describe, Names=["g3"], TargetGroupArns=[next(iter(arns))])
    message = refused("ValidationError", describe, TargetGroupArns=["g3"])
    assert message == "'g3' is not a valid target group ARN"


def test_attributes(lb: Balancing) -> None:
    arn = lb.group()

    def attributes() -> dict[str, str]:
        answer = lb.client.describe_target_group_attributes(TargetGroupArn=arn)
        return {item["Key"]: item["Value"] for item in answer["Attributes"]}

    assert attributes()["deregistration_delay.timeout_seconds"] == "300"
    assert attributes()["neargate.scale_to_zero.enabled"] == "false"
    modify = lb.client.modify_target_group_attributes
    given = [{"Key": "neargate.scale_to_zero.enabled", "Value": "true"}]
    assert given[0] in modify(TargetGroupArn=arn, Attributes=given)["Attributes"]
    assert attributes()["neargate.scale_to_zero.enabled"] == "true"
    bad = [{"Key": "slow_start.duration_seconds", "Value": "5"}]
    refused("ValidationError", modify, TargetGroupArn=arn, Attributes=bad)


def changed(lb: Balancing, group: str, **values: Any) -> None:
    """Do to every target of the group what the data plane would."""

    def body(tx: Tx) -> None:
        for target in tx.find(TARGET, "group", group):
            tx.put(TARGET, replace(target, **values))

    lb.door.call(lb.door.daemon.house.store.write(body))


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says of targets that they are healthy, but the test itself."""

    async def take(self: AssumedHealthy, view: View) -> None:
        pass

    monkeypatch.setattr(AssumedHealthy, "take", take)


@pytest.mark.usefixtures("unjudged")
def test_a_target_from_birth_to_death(lb: Balancing) -> None:
    group, address = lb.group(), lb.address(0)
    lb.client.register_targets(TargetGroupArn=group, Targets=[{"Id": address}, {"Id": address, "Port": 81}])
    assert lb.health(group) == {
        f"{address}:80": ("unused", "Target.NotInUse"),
        f"{address}:81": ("unused", "Target.NotInUse"),
    }
    lb.listener(lb.balancer(), group)
    (shown,) = lb.client.describe_target_health(TargetGroupArn=group, Targets=[{"Id": address, "Port": 81}])[
        "TargetHealthDescriptions"
    ]
    assert shown["Target"] == {"Id": address, "Port": 81, "AvailabilityZone": lb.zones[0]}
    assert shown["HealthCheckPort"] == "81"
    assert shown["TargetHealth"] == {
        "State": "initial",
        "Reason": "Elb.RegistrationInProgress",
        "Description": "Target registration is in progress",
    }
    codes = "Health checks failed with these codes: [500]"
    changed(lb, group, state="unhealthy", reason="Target.ResponseCodeMismatch", description=codes)
    (first, _) = lb.client.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert first["TargetHealth"] == {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": codes,
    }
    changed(lb, group, state="healthy", reason="", description="")
    lb.client.get_waiter("target_in_service").wait(TargetGroupArn=group)
    assert lb.health(group)[f"{address}:80"] == ("healthy", "")
    lb.client.register_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    assert lb.health(group)[f"{address}:80"] == ("healthy", "")
    lb.client.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}, {"Id": lb.address(1)}])
    assert lb.health(group) == {
        f"{address}:80": ("draining", "Target.DeregistrationInProgress"),
        f"{address}:81": ("healthy", ""),
    }
    lb.client.register_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    assert lb.health(group)[f"{address}:80"] == ("initial", "Elb.RegistrationInProgress")


@pytest.mark.usefixtures("unjudged")
def test_what_was_known_of_targets_is_worth_nothing_without_a_balancer(lb: Balancing) -> None:
    group, target = lb.group(), [{"Id": lb.address(0)}]
    listener = lb.listener(lb.balancer(), group)
    lb.client.register_targets(TargetGroupArn=group, Targets=target)
    changed(lb, group, state="healthy", reason="", description="")
    lb.client.delete_listener(ListenerArn=listener)
    assert list(lb.health(group).values()) == [("unused", "Target.NotInUse")]
    lb.listener(lb.balancer("web"), group)
    assert list(lb.health(group).values()) == [("initial", "Elb.RegistrationInProgress")]


def test_what_need_not_drain_is_gone_at_once(lb: Balancing) -> None:
    group, target = lb.group(), [{"Id": lb.address(0)}]
    lb.client.register_targets(TargetGroupArn=group, Targets=target)
    lb.client.deregister_targets(TargetGroupArn=group, Targets=target)
    assert lb.health(group) == {}
    lb.listener(lb.balancer(), group)
    delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
    lb.client.modify_target_group_attributes(TargetGroupArn=group, Attributes=delay)
    lb.client.register_targets(TargetGroupArn=group, Targets=target)
    lb.client.deregister_targets(TargetGroupArn=group, Targets=target)
    lb.client.get_waiter("target_deregistered").wait(TargetGroupArn=group, Targets=target)
    assert lb.health(group, Targets=target) == {f"{lb.address(0)}:80": ("unused", "Target.NotRegistered")}


@pytest.mark.usefixtures("unjudged")
def test_a_zone_that_the_balancer_is_not_in(lb: Balancing) -> None:
    group = lb.group()
    arn = lb.balancer()
    lb.client.set_subnets(LoadBalancerArn=arn, Subnets=lb.subnets[:2])
    lb.listener(arn, group)
    lb.client.register_targets(TargetGroupArn=group, Targets=[{"Id": lb.address(n)} for n in range(3)])
    states = [state for state, _ in lb.health(group).values()]
    assert sorted(states) == ["initial", "initial", "unused"]


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ({"Id": "i-0123456789abcdef0"}, "InvalidTarget", "is not a valid IPv4 address"),
        ({"Id": "8.8.8.8", "AvailabilityZone": "all"}, "InvalidTarget", "not a valid private address"),
        ({"Id": "127.0.0.1", "AvailabilityZone": "all"}, "InvalidTarget", "not a valid private address"),
        ({"Id": "0.0.0.0", "AvailabilityZone": "all"}, "InvalidTarget", "not a valid private address"),
        (
            {"Id": "169.254.169.254", "AvailabilityZone": "all"},
            "InvalidTarget",
            "not a valid private address",
        ),
        ({"Id": "169.254.170.2", "AvailabilityZone": "all"}, "InvalidTarget", "not a valid private address"),
        ({"Id": "127.1"}, "InvalidTarget", "is not a valid IPv4 address"),
        ({"Id": "0177.0.0.1"}, "InvalidTarget", "is not a valid IPv4 address"),
        ({"Id": "192.168.9.9"}, "InvalidTarget", "outside the VPC"),
        ({"Id": "192.168.9.9", "AvailabilityZone": "mars-1a"}, "ValidationError", "'mars-1a' is not one of"),
        ({"Id": "192.168.9.9", "QuicServerId": "0x1"}, "ValidationError", "QuicServerId"),
    ],
)
def test_what_cannot_be_registered(lb: Balancing, target: Mapping[str, str], code: str, message: str) -> None:
    group = lb.group()
    targets = [{"Id": lb.address(0)}, target]
    assert message in refused(code, lb.client.register_targets, TargetGroupArn=group, Targets=targets)
    assert lb.health(group) == {}


def test_a_balancers_own_address_is_no_target(lb: Balancing) -> None:
    lb.balancer()
    held = lb.interfaces("ELB *")[0]["PrivateIpAddress"]
    params = {"TargetGroupArn": lb.group(), "Targets": [{"Id": held}]}
    assert "in use by a load balancer" in refused("InvalidTarget", lb.client.register_targets, **params)


@pytest.mark.parametrize("place", [0, 1, 2, 3, -1])
def test_what_a_subnet_reserves_is_no_target(lb: Balancing, place: int) -> None:
    """The VPC's resolver and the daemon itself are among them."""
    subnet = lb.door.client("ec2").describe_subnets()["Subnets"][0]
    address = str(ipaddress.IPv4Network(subnet["CidrBlock"])[place])
    for zone in ({}, {"AvailabilityZone": "all"}):
        params = {"TargetGroupArn": lb.group(), "Targets": [{"Id": address, **zone}]}
        assert "reserves it" in refused("InvalidTarget", lb.client.register_targets, **params)


def test_outside_the_vpc(lb: Balancing) -> None:
    group = lb.group()
    targets = [{"Id": "192.168.9.9", "AvailabilityZone": "all", "Port": 9}]
    lb.client.register_targets(TargetGroupArn=group, Targets=targets)
    assert list(lb.health(group)) == ["192.168.9.9:9"]


def test_a_group_that_is_not_there(lb: Balancing) -> None:
    gone = lb.group()
    lb.client.delete_target_group(TargetGroupArn=gone)
    for operation in (lb.client.register_targets, lb.client.deregister_targets):
        message = refused("TargetGroupNotFound", operation, TargetGroupArn=gone, Targets=[{"Id": "10.0.0.5"}])
        assert message == f"Target group '{gone}' not found"
    refused("TargetGroupNotFound", lb.client.describe_target_health, TargetGroupArn=gone)
    refused("TargetGroupNotFound", lb.client.describe_target_group_attributes, TargetGroupArn=gone)


def test_a_thousand_targets_and_no_more(lb: Balancing) -> None:
    group = lb.group()
    targets = [{"Id": lb.address(0), "Port": port} for port in range(1, 1001)]
    lb.client.register_targets(TargetGroupArn=group, Targets=targets)
    lb.client.register_targets(TargetGroupArn=group, Targets=targets)
    assert len(lb.health(group)) == 1000
    more = [{"Id": lb.address(0), "Port": 1001}]
    refused("TooManyTargets", lb.client.register_targets, TargetGroupArn=group, Targets=more)
