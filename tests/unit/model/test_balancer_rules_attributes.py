"""Attributes: every one has a default that it may be set to; what else they may be."""

from typing import Any

import pytest
from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO, all_of, changed, known

Thing = LoadBalancer | Listener | TargetGroup
OWNER = {"account": "1", "region": "us-east-1", "arn": "a"}


def balancer(kind: str = "application", scheme: str = "internet-facing") -> LoadBalancer:
    place: Any = {"vpc_id": "v", "zones": (), "dns_name": "d"}
    return LoadBalancer(**OWNER, name="b", kind=kind, scheme=scheme, **place)


def listener(protocol: str) -> Listener:
    return Listener(**OWNER, balancer_arn="b", port=80, protocol=protocol, actions=())


def group(protocol: str = "HTTP") -> TargetGroup:
    return TargetGroup(**OWNER, name="g", protocol=protocol, port=80, vpc_id="v")


THINGS = (
    balancer(),
    balancer("network"),
    balancer(scheme="internal"),
    *(listener(protocol) for protocol in ("HTTP", "HTTPS", "TCP", "TLS", "UDP")),
    *(group(protocol) for protocol in ("HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP")),
)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_a_default_is_valid_and_not_kept(thing: Thing) -> None:
    for name, attribute in known(thing).items():
        assert attribute.check(attribute.default) is None, name
        assert changed(thing, "x", [{"Key": name, "Value": attribute.default}]) == {}
    assert set(all_of(thing)) == set(known(thing))


def test_what_was_set_is_told() -> None:
    new = changed(balancer(), "x", [{"Key": "idle_timeout.timeout_seconds", "Value": "4000"}])
    assert new == {"idle_timeout.timeout_seconds": "4000"}
    again = LoadBalancer(**OWNER, name="b", vpc_id="v", zones=(), dns_name="d", attributes=new)
    assert all_of(again)["idle_timeout.timeout_seconds"] == "4000"
    assert changed(again, "x", [{"Key": "idle_timeout.timeout_seconds", "Value": "60"}]) == {}


def test_what_was_set_of_another_protocol_is_forgotten() -> None:
    tcp = {"tcp.idle_timeout.seconds": "400"}
    now_tls = replace(listener("TCP"), attributes=tcp, protocol="TLS")
    assert all_of(now_tls) == {} and changed(now_tls, "Listener", []) == {}


@pytest.mark.parametrize(
    ("thing", "name", "value"),
    [
        (group(), "stickiness.type", "lb_cookie"),
        (group("TCP"), "stickiness.type", "source_ip"),
        (group("TCP"), "preserve_client_ip.enabled", "false"),
        (group("UDP"), "preserve_client_ip.enabled", "true"),
        (group("UDP"), "deregistration_delay.connection_termination.enabled", "true"),
        (group(), "deregistration_delay.timeout_seconds", "300"),
        (group(), SCALE_TO_ZERO, "false"),
        (balancer(), "load_balancing.cross_zone.enabled", "true"),
        (balancer("network"), "load_balancing.cross_zone.enabled", "false"),
        (balancer(scheme="internal"), "ipv6.deny_all_igw_traffic", "true"),
        (listener("TCP"), "tcp.idle_timeout.seconds", "350"),
        (listener("HTTP"), "routing.http.response.server.enabled", "true"),
    ],
)
def test_defaults(thing: Thing, name: str, value: str) -> None:
    assert all_of(thing)[name] == value


VALUE, WRONG = "ValidationError", "InvalidConfigurationRequest"


@pytest.mark.parametrize(
    ("thing", "given", "code", "message"),
    [
        (balancer(), {"nothing": "1"}, VALUE, "attribute key 'nothing' is not recognized"),
        (balancer(), {"idle_timeout.timeout_seconds": "0"}, VALUE, "a number from 1 to 4000"),
        (balancer(), {"idle_timeout.timeout_seconds": "4001"}, VALUE, "a number from 1 to 4000"),
        (balancer(), {"idle_timeout.timeout_seconds": "٣"}, VALUE, "a number from 1 to 4000"),
        (balancer(), {"routing.http2.enabled": "yes"}, VALUE, "one of 'true, false'"),
        (balancer(), {"routing.http.xff_header_processing.mode": "drop"}, VALUE, "append, preserve, remove"),
        (balancer("network"), {"idle_timeout.timeout_seconds": "5"}, WRONG, "with type 'network'"),
        (balancer(), {"dns_record.client_routing_policy": "any_availability_zone"}, WRONG, "'application'"),
        (balancer(), {"load_balancing.cross_zone.enabled": "false"}, VALUE, "one of 'true'"),
        (balancer(), {"access_logs.s3.enabled": "true"}, WRONG, "access_logs.s3.bucket"),
        (balancer(), {"access_logs.s3.bucket": "A"}, VALUE, "the name of a bucket"),
        (balancer(), {"access_logs.s3.prefix": "\udc80"}, VALUE, "printable"),
        (group(), {"slow_start.duration_seconds": "29"}, VALUE, "'0' or a number from 30 to 900"),
        (group(), {"deregistration_delay.timeout_seconds": "3601"}, VALUE, "from 0 to 3600"),
        (group(), {"proxy_protocol_v2.enabled": "true"}, WRONG, "with the protocol 'HTTP'"),
        (group("UDP"), {"preserve_client_ip.enabled": "false"}, VALUE, "one of 'true'"),
        (group(), {"stickiness.type": "source_ip"}, VALUE, "lb_cookie, app_cookie"),
        (group(), {"stickiness.app_cookie.cookie_name": "AWSALBX"}, WRONG, "is reserved"),
        (
            group(),
            {"stickiness.enabled": "true", "stickiness.type": "app_cookie"},
            WRONG,
            "must be specified",
        ),
        (
            group(),
            {
                "slow_start.duration_seconds": "30",
                "load_balancing.algorithm.type": "least_outstanding_requests",
            },
            WRONG,
            "Slow start cannot be enabled",
        ),
        (group(), {"load_balancing.algorithm.anomaly_mitigation": "on"}, WRONG, "weighted_random"),
        (
            group("TCP"),
            {"target_health_state.unhealthy.draining_interval_seconds": "5"},
            WRONG,
            "connection termination",
        ),
        (listener("HTTP"), {"tcp.idle_timeout.seconds": "350"}, WRONG, "with the protocol 'HTTP'"),
        (listener("UDP"), {"tcp.idle_timeout.seconds": "350"}, WRONG, "with the protocol 'UDP'"),
    ],
)
def test_refused(thing: Thing, given: dict[str, str], code: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        changed(thing, "Thing", [{"Key": name, "Value": value} for name, value in given.items()])
    assert caught.value.code == code and message in caught.value.message
