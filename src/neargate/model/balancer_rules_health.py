"""Health checks of target groups: AWS's defaults by protocol, bounds, and what may not be changed. Pure.

Called by services/elbv2 with a request's members; the result is the record that the node's checker follows.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import HealthCheck
from neargate.model.balancer_rules import codes

APPLICATION: Final = ("HTTP", "HTTPS")
"""Protocols of target groups for application load balancers."""
NETWORK: Final = ("TCP", "TLS", "UDP", "TCP_UDP")
GRPC_PATH: Final = "/AWS.ALB/healthcheck"
TRAFFIC_PORT: Final = "traffic-port"
_CHECKS: Final = ("HTTP", "HTTPS", "TCP")


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def default(protocol: str, version: str, check_protocol: str | None = None) -> HealthCheck:
    """What a target group of this protocol gets where nothing is said."""
    if protocol in APPLICATION:
        grpc = version == "GRPC"
        return HealthCheck(
            protocol=check_protocol or protocol_of(protocol),
            path=GRPC_PATH if grpc else "/",
            timeout=5,
            matcher="12" if grpc else "200",
        )
    check = check_protocol or "TCP"
    if check == "TCP":
        return HealthCheck(protocol="TCP", path="", timeout=10, matcher="")
    return HealthCheck(protocol=check, timeout=6 if check == "HTTP" else 10, matcher="200-399")


def protocol_of(protocol: str) -> str:
    """The health check protocol of a group that names none."""
    return "HTTP" if protocol in APPLICATION else "TCP"


def made(protocol: str, version: str, params: Mapping[str, Any]) -> HealthCheck:
    """The health check of a new target group. Raise ValidationError."""
    check = params.get("HealthCheckProtocol")
    _check_protocol(protocol, check or protocol_of(protocol))
    return changed(default(protocol, version, check), protocol, version, params)


def changed(old: HealthCheck, protocol: str, version: str, params: Mapping[str, Any]) -> HealthCheck:
    """`old` with what the request says otherwise. Raise ValidationError."""
    check = params.get("HealthCheckProtocol", old.protocol)
    _check_protocol(protocol, check)
    if check != old.protocol:
        # TCP knows neither paths nor codes; what comes from or goes to it begins with the defaults.
        fresh = default(protocol, version, check)
        carried = {} if "TCP" in (check, old.protocol) else {"path": old.path, "matcher": old.matcher}
        old = replace(old, protocol=check, **({"path": fresh.path, "matcher": fresh.matcher} | carried))
    if params.get("HealthCheckEnabled") is False:
        raise invalid("Health check enabled must be true for target groups with target type 'ip'")
    new = replace(
        old,
        port=_port(params.get("HealthCheckPort", old.port)),
        path=_path(params.get("HealthCheckPath", old.path), check, "HealthCheckPath" in params),
        interval=params.get("HealthCheckIntervalSeconds", old.interval),
        timeout=params.get("HealthCheckTimeoutSeconds", old.timeout),
        healthy_threshold=params.get("HealthyThresholdCount", old.healthy_threshold),
        unhealthy_threshold=params.get("UnhealthyThresholdCount", old.unhealthy_threshold),
        matcher=_matcher(params.get("Matcher"), old.matcher, check, protocol, version),
    )
    if protocol in APPLICATION and new.timeout >= new.interval:
        raise invalid(
            f"Health check timeout '{new.timeout}' must be smaller than the interval '{new.interval}'"
        )
    if new.timeout > new.interval:
        raise invalid(
            f"Health check timeout '{new.timeout}' must be smaller than or equal to the interval"
            f" '{new.interval}'"
        )
    return new


def _check_protocol(protocol: str, check: str) -> None:
    allowed = APPLICATION if protocol in APPLICATION else _CHECKS
    if check not in allowed:
        raise invalid(f"Health check protocol '{check}' must be one of '{', '.join(sorted(allowed))}'")


def _port(text: str) -> str:
    if text == TRAFFIC_PORT:
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise invalid(f"Health check port '{text}' must be '{TRAFFIC_PORT}' or a number from 1 to 65535")
    return str(int(text))


def _path(path: str, check: str, given: bool) -> str:
    if check == "TCP":
        if given:
            raise invalid("Health check path cannot be specified for health checks with protocol 'TCP'")
        return ""
    if not path.startswith("/"):
        raise invalid(f"Health check path '{path}' must begin with '/'")
    if any(not 0x20 < ord(character) < 0x7F for character in path):
        raise invalid("Health check path must consist of printable ASCII characters without spaces")
    return path


def _matcher(given: Mapping[str, str] | None, old: str, check: str, protocol: str, version: str) -> str:
    if given is None:
        return old
    if check == "TCP":
        raise invalid("Health check matcher cannot be specified for health checks with protocol 'TCP'")
    member, other = ("GrpcCode", "HttpCode") if version == "GRPC" else ("HttpCode", "GrpcCode")
    text = given.get(member)
    if text is None or given.get(other) is not None:
        version = f"with protocol version '{version}'" if version else f"with protocol '{protocol}'"
        raise invalid(f"A matcher for target groups {version} must have '{member}', and only that")
    low, high = (0, 99) if version == "GRPC" else (200, 499 if protocol in APPLICATION else 599)
    try:
        ranges = codes(text)
    except ValueError:
        raise invalid(f"Health check matcher {member} '{text}' must be a list of codes or ranges") from None
    if not all(low <= first and last <= high for first, last in ranges):
        raise invalid(f"Health check matcher {member} '{text}' must be within '{low}-{high}'")
    return text
