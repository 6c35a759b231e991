"""Attributes of load balancers, listeners and target groups: names, defaults and what they may be. Pure.

services/elbv2 keeps only those that were set; who reads a record asks here for all of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancer_rules_health import APPLICATION

Check = Callable[[str], str | None]
"""What a value should be, if it is not that."""
SCALE_TO_ZERO: Final = "neargate.scale_to_zero.enabled"
"""Ours: with no target in the group, its service is woken and the request waits for it."""
IDLE_SECONDS: Final = "neargate.scale_to_zero.idle_seconds"
"""Ours: after so long without a request, such a service is scaled to zero. Traffic is seen each 10 s."""
_WEEK: Final = 604_800
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_COOKIE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,4096}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,40}")


def one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"one of '{', '.join(allowed)}'"


def number(low: int, high: int, *others: str) -> Check:
    def check(value: str) -> str | None:
        if value in others:
            return None
        if value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high:
            return None
        return "".join(f"'{other}' or " for other in others) + f"a number from {low} to {high}"

    return check


def matching(pattern: re.Pattern[str], what: str) -> Check:
    return lambda value: None if not value or pattern.fullmatch(value) else what


def _printable(value: str) -> str | None:
    return None if all(0x20 <= ord(c) < 0x7F for c in value) else "printable ASCII text"


_BOOLEAN: Final = one_of("true", "false")
_PREFIX: Final = _printable


@dataclass(frozen=True, slots=True)
class Attribute:
    default: str
    check: Check = _BOOLEAN


def _logs(kind: str) -> dict[str, Attribute]:
    return {
        f"{kind}.s3.enabled": Attribute("false"),
        f"{kind}.s3.bucket": Attribute("", matching(_BUCKET, "the name of a bucket")),
        f"{kind}.s3.prefix": Attribute("", _PREFIX),
    }


_EVERY_BALANCER: Final = {
    "deletion_protection.enabled": Attribute("false"),
    "load_balancing.cross_zone.enabled": Attribute("true", one_of("true")),
    **_logs("access_logs"),
    "ipv6.deny_all_igw_traffic": Attribute("false"),
    "zonal_shift.config.enabled": Attribute("false"),
}
_BALANCER: Final = {
    "application": _EVERY_BALANCER
    | _logs("connection_logs")
    | _logs("health_check_logs")
    | {
        "idle_timeout.timeout_seconds": Attribute("60", number(1, 4000)),
        "client_keep_alive.seconds": Attribute("3600", number(60, _WEEK)),
        "routing.http.desync_mitigation_mode": Attribute(
            "defensive", one_of("monitor", "defensive", "strictest")
        ),
        "routing.http.drop_invalid_header_fields.enabled": Attribute("false"),
        "routing.http.preserve_host_header.enabled": Attribute("false"),
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": Attribute("false"),
        "routing.http.xff_client_port.enabled": Attribute("false"),
        "routing.http.xff_header_processing.mode": Attribute(
            "append", one_of("append", "preserve", "remove")
        ),
        "routing.http2.enabled": Attribute("true"),
        "waf.fail_open.enabled": Attribute("false"),
    },
    "network": _EVERY_BALANCER
    | {
        "load_balancing.cross_zone.enabled": Attribute("false"),
        "dns_record.client_routing_policy": Attribute(
            "any_availability_zone",
            one_of(
                "availability_zone_affinity", "partial_availability_zone_affinity", "any_availability_zone"
            ),
        ),
        "secondary_ips.auto_assigned.per_subnet": Attribute("0", number(0, 7)),
    },
}

_HEADER_NAMES: Final = (
    "x_amzn_mtls_clientcert_serial_number",
    "x_amzn_mtls_clientcert_issuer",
    "x_amzn_mtls_clientcert_subject",
    "x_amzn_mtls_clientcert_validity",
    "x_amzn_mtls_clientcert_leaf",
    "x_amzn_mtls_clientcert",
    "x_amzn_tls_version",
    "x_amzn_tls_cipher_suite",
)
_HEADER_VALUES: Final = (
    "strict_transport_security",
    "access_control_allow_origin",
    "access_control_allow_methods",
    "access_control_allow_headers",
    "access_control_allow_credentials",
    "access_control_expose_headers",
    "access_control_max_age",
    "content_security_policy",
    "x_content_type_options",
    "x_frame_options",
)
_RESPONSES: Final = {"routing.http.response.server.enabled": Attribute("true")} | {
    f"routing.http.response.{name}.header_value": Attribute("", _printable) for name in _HEADER_VALUES
}
_REQUESTS: Final = {
    f"routing.http.request.{name}.header_name": Attribute("", matching(_HEADER, "the name of a header"))
    for name in _HEADER_NAMES
}
_LISTENER: Final = {
    "HTTP": _RESPONSES,
    "HTTPS": _RESPONSES | _REQUESTS,
    "TCP": {"tcp.idle_timeout.seconds": Attribute("350", number(60, 6000))},
}

_HEALTH: Final = "target_group_health"
_EVERY_GROUP: Final = {
    "deregistration_delay.timeout_seconds": Attribute("300", number(0, 3600)),
    "stickiness.enabled": Attribute("false"),
    "load_balancing.cross_zone.enabled": Attribute(
        "use_load_balancer_configuration", one_of("true", "false", "use_load_balancer_configuration")
    ),
    f"{_HEALTH}.dns_failover.minimum_healthy_targets.count": Attribute("1", number(1, 1000, "off")),
    f"{_HEALTH}.dns_failover.minimum_healthy_targets.percentage": Attribute("off", number(1, 100, "off")),
    f"{_HEALTH}.unhealthy_state_routing.minimum_healthy_targets.count": Attribute("1", number(1, 1000)),
    f"{_HEALTH}.unhealthy_state_routing.minimum_healthy_targets.percentage": Attribute(
        "off", number(1, 100, "off")
    ),
    SCALE_TO_ZERO: Attribute("false"),
    IDLE_SECONDS: Attribute("300", number(20, 86_400)),
}
_APPLICATION_GROUP: Final = _EVERY_GROUP | {
    "stickiness.type": Attribute("lb_cookie", one_of("lb_cookie", "app_cookie")),
    "stickiness.lb_cookie.duration_seconds": Attribute("86400", number(1, _WEEK)),
    "stickiness.app_cookie.cookie_name": Attribute("", matching(_COOKIE, "the name of a cookie")),
    "stickiness.app_cookie.duration_seconds": Attribute("86400", number(1, _WEEK)),
    "load_balancing.algorithm.type": Attribute(
        "round_robin", one_of("round_robin", "least_outstanding_requests", "weighted_random")
    ),
    "load_balancing.algorithm.anomaly_mitigation": Attribute("off", one_of("on", "off")),
    "slow_start.duration_seconds": Attribute("0", number(30, 900, "0")),
}
_NETWORK_GROUP: Final = _EVERY_GROUP | {
    "stickiness.type": Attribute("source_ip", one_of("source_ip")),
    "deregistration_delay.connection_termination.enabled": Attribute("false"),
    "preserve_client_ip.enabled": Attribute("false"),
    "proxy_protocol_v2.enabled": Attribute("false"),
    "target_health_state.unhealthy.connection_termination.enabled": Attribute("true"),
    "target_health_state.unhealthy.draining_interval_seconds": Attribute("0", number(0, 360_000)),
}
_DATAGRAMS: Final = {
    "deregistration_delay.connection_termination.enabled": Attribute("true"),
    "preserve_client_ip.enabled": Attribute("true", one_of("true")),
    "target_health_state.unhealthy.connection_termination.enabled": Attribute("false", one_of("false")),
}


def known(of: LoadBalancer | Listener | TargetGroup) -> Mapping[str, Attribute]:
    """Every attribute that such a thing has, by name."""
    if isinstance(of, LoadBalancer):
        table = _BALANCER[of.kind]
        internal = of.scheme == "internal"
        return table | {"ipv6.deny_all_igw_traffic": Attribute("true" if internal else "false")}
    if isinstance(of, Listener):
        return _LISTENER.get(of.protocol, {})
    if of.protocol in APPLICATION:
        return _APPLICATION_GROUP
    return _NETWORK_GROUP | (_DATAGRAMS if of.protocol in ("UDP", "TCP_UDP") else {})


def all_of(of: LoadBalancer | Listener | TargetGroup) -> dict[str, str]:
    """Every attribute with its value: the default where none was set."""
    return {name: of.attributes.get(name, attribute.default) for name, attribute in known(of).items()}


def changed(
    of: LoadBalancer | Listener | TargetGroup, what: str, given: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """The attributes to keep after a request. what -- as messages name the thing.

    Raise ValidationError, InvalidConfigurationRequest.
    """
    table = known(of)  # another one since the protocol of a listener has changed
    new = {name: value for name, value in of.attributes.items() if name in table}
    for item in given:
        name, value = item.get("Key") or "", item.get("Value") or ""
        if name not in table:
            raise _unknown(of, what, name)
        should_be = table[name].check(value)
        if should_be is not None:
            raise ApiError(
                "ValidationError", f"{what} attribute value '{value}' of '{name}' must be {should_be}"
            )
        new[name] = value
    values = {name: new.get(name, attribute.default) for name, attribute in table.items()}
    _check_logs(values)
    if isinstance(of, TargetGroup):
        _check_group(values)
    return {name: value for name, value in new.items() if value != table[name].default}


def _unknown(of: LoadBalancer | Listener | TargetGroup, what: str, name: str) -> ApiError:
    if isinstance(of, LoadBalancer) and any(name in table for table in _BALANCER.values()):
        return ApiError(
            "InvalidConfigurationRequest",
            f"{what} attribute key '{name}' is not supported on load balancers with type '{of.kind}'",
        )
    if not isinstance(of, LoadBalancer) and name in _ELSEWHERE:
        return ApiError(
            "InvalidConfigurationRequest",
            f"{what} attribute key '{name}' is not supported with the protocol '{of.protocol}'",
        )
    return ApiError("ValidationError", f"{what} attribute key '{name}' is not recognized")


_ELSEWHERE: Final = frozenset(
    name for table in (*_LISTENER.values(), _APPLICATION_GROUP, _NETWORK_GROUP) for name in table
)


def _check_logs(values: Mapping[str, str]) -> None:
    for kind in ("access_logs", "connection_logs", "health_check_logs"):
        if values.get(f"{kind}.s3.enabled") == "true" and not values[f"{kind}.s3.bucket"]:
            raise ApiError(
                "InvalidConfigurationRequest",
                f"The attribute '{kind}.s3.bucket' must be specified if '{kind}.s3.enabled' is 'true'",
            )


def _check_group(values: Mapping[str, str]) -> None:
    def refused(message: str) -> ApiError:
        return ApiError("InvalidConfigurationRequest", message)

    cookie = values.get("stickiness.app_cookie.cookie_name", "")
    if cookie.startswith("AWSALB"):
        raise refused(f"The cookie name '{cookie}' is reserved for use by the load balancer")
    sticky = values["stickiness.enabled"] == "true"
    if sticky and values["stickiness.type"] == "app_cookie" and not cookie:
        raise refused("'stickiness.app_cookie.cookie_name' must be specified for app_cookie stickiness")
    algorithm = values.get("load_balancing.algorithm.type", "round_robin")
    if algorithm != "round_robin" and values["slow_start.duration_seconds"] != "0":
        raise refused(f"Slow start cannot be enabled with the load balancing algorithm '{algorithm}'")
    if values.get("load_balancing.algorithm.anomaly_mitigation") == "on" and algorithm != "weighted_random":
        raise refused("Anomaly mitigation needs the load balancing algorithm 'weighted_random'")
    terminates = values.get("target_health_state.unhealthy.connection_termination.enabled") == "true"
    if terminates and values["target_health_state.unhealthy.draining_interval_seconds"] != "0":
        raise refused("A draining interval needs connection termination of unhealthy targets to be off")
