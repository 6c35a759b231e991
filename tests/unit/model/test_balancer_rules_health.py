"""Health checks: AWS's defaults by protocol, bounds and changes."""

from typing import Any

import pytest

from neargate.kit.errors import ApiError
from neargate.model.balancer_rules_health import changed, made


@pytest.mark.parametrize(
    ("protocol", "version", "params", "expected"),
    [
        ("HTTP", "HTTP1", {}, ("HTTP", "/", 30, 5, 5, 2, "200")),
        ("HTTPS", "HTTP2", {}, ("HTTP", "/", 30, 5, 5, 2, "200")),
        ("HTTP", "GRPC", {}, ("HTTP", "/AWS.ALB/healthcheck", 30, 5, 5, 2, "12")),
        ("TCP", "", {}, ("TCP", "", 30, 10, 5, 2, "")),
        ("UDP", "", {}, ("TCP", "", 30, 10, 5, 2, "")),
        ("TCP", "", {"HealthCheckProtocol": "HTTP"}, ("HTTP", "/", 30, 6, 5, 2, "200-399")),
        ("TLS", "", {"HealthCheckProtocol": "HTTPS"}, ("HTTPS", "/", 30, 10, 5, 2, "200-399")),
        (
            "HTTP",
            "HTTP1",
            {
                "HealthCheckPath": "/up?full",
                "HealthCheckIntervalSeconds": 5,
                "HealthCheckTimeoutSeconds": 2,
                "HealthyThresholdCount": 2,
                "UnhealthyThresholdCount": 10,
                "Matcher": {"HttpCode": "200,204-206"},
            },
            ("HTTP", "/up?full", 5, 2, 2, 10, "200,204-206"),
        ),
    ],
)
def test_defaults(protocol: str, version: str, params: dict[str, Any], expected: tuple[Any, ...]) -> None:
    check = made(protocol, version, params)
    seen = (check.protocol, check.path, check.interval, check.timeout)
    assert (*seen, check.healthy_threshold, check.unhealthy_threshold, check.matcher) == expected
    assert check.port == "traffic-port" and check.enabled


@pytest.mark.parametrize(
    ("protocol", "version", "params", "message"),
    [
        ("HTTP", "HTTP1", {"HealthCheckProtocol": "TCP"}, "must be one of 'HTTP, HTTPS'"),
        ("TCP", "", {"HealthCheckProtocol": "UDP"}, "must be one of 'HTTP, HTTPS, TCP'"),
        ("HTTP", "HTTP1", {"HealthCheckEnabled": False}, "must be true for target groups"),
        ("HTTP", "HTTP1", {"HealthCheckPath": "up"}, "must begin with '/'"),
        ("HTTP", "HTTP1", {"HealthCheckPath": "/a b"}, "printable ASCII"),
        ("HTTP", "HTTP1", {"HealthCheckPort": "0"}, "from 1 to 65535"),
        ("HTTP", "HTTP1", {"HealthCheckPort": "traffic"}, "must be 'traffic-port' or a number"),
        ("HTTP", "HTTP1", {"HealthCheckTimeoutSeconds": 30}, "'30' must be smaller than the interval '30'"),
        ("TCP", "", {"HealthCheckTimeoutSeconds": 31}, "must be smaller than or equal to the interval"),
        ("TCP", "", {"HealthCheckPath": "/"}, "path cannot be specified"),
        ("TCP", "", {"Matcher": {"HttpCode": "200"}}, "matcher cannot be specified"),
        ("HTTP", "HTTP1", {"Matcher": {"HttpCode": "500"}}, "must be within '200-499'"),
        ("HTTP", "HTTP1", {"Matcher": {"HttpCode": "ok"}}, "a list of codes or ranges"),
        ("HTTP", "HTTP1", {"Matcher": {"GrpcCode": "0"}}, "must have 'HttpCode'"),
        ("HTTP", "GRPC", {"Matcher": {"HttpCode": "200"}}, "must have 'GrpcCode'"),
        ("HTTP", "GRPC", {"Matcher": {"GrpcCode": "100"}}, "must be within '0-99'"),
        (
            "TCP",
            "",
            {"HealthCheckProtocol": "HTTP", "Matcher": {"HttpCode": "199-201"}},
            "must be within '200-599'",
        ),
    ],
)
def test_refused(protocol: str, version: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        made(protocol, version, params)
    assert caught.value.code == "ValidationError" and message in caught.value.message


def test_a_change_keeps_what_it_does_not_name() -> None:
    old = made("HTTP", "HTTP1", {"HealthCheckPath": "/up", "Matcher": {"HttpCode": "204"}})
    new = changed(old, "HTTP", "HTTP1", {"HealthCheckProtocol": "HTTPS", "HealthCheckPort": "0443"})
    assert (new.protocol, new.port, new.path, new.matcher) == ("HTTPS", "443", "/up", "204")
    assert changed(old, "HTTP", "HTTP1", {}) == old


def test_from_tcp_to_http_and_back() -> None:
    tcp = made("TCP", "", {})
    http = changed(tcp, "TCP", "", {"HealthCheckProtocol": "HTTP"})
    assert (http.path, http.matcher) == ("/", "200-399")
    assert changed(http, "TCP", "", {"HealthCheckProtocol": "TCP"}) == tcp
