"""A target group as an Envoy cluster, its targets as endpoints. Called by model/envoy.py.

Health is our own checker's word (node/balancer/checker.py): Envoy itself checks nothing.
"""

from collections.abc import Sequence
from typing import Any

from neargate.model.balancer import Target, TargetGroup
from neargate.model.balancing import ANSWERING, enabled, number, path_of

_EXT = "type.googleapis.com/envoy.extensions."
NODE_CLUSTER = "node"
"""The node itself, in Envoy's static configuration."""
HTTP_PROTOCOLS = ("HTTP", "HTTPS")
ADS = {"ads": {}, "resource_api_version": "V3"}
_CONNECT_SECONDS = 10
"""As AWS's."""
_IDLE_SECONDS = 4
"""A connection is not used after this rest: less than what common servers wait before they close it (5 s),
so that a request is not sent into a closing connection."""
_MANY = 1_000_000
BUFFER = 32 << 10
"""Of what one side sends and the other does not take, for each connection: many that take nothing do not fill
the memory that all balancers share."""
HTTP2 = {
    "max_concurrent_streams": 128,
    "initial_stream_window_size": 64 << 10,
    "initial_connection_window_size": 1 << 20,
}
"""As many streams as AWS allows, and bounds of what lies in them."""


def name(group_arn: str) -> str:
    return path_of(group_arn)


def cluster(group: TargetGroup) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name(group.arn),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "per_connection_buffer_limit_bytes": BUFFER,
        # Fail open: when no target is healthy, all of them get requests.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "circuit_breakers": {"thresholds": [_no_limits()]},
        **_policy(group),
    }
    if group.protocol in HTTP_PROTOCOLS:
        found["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _http(group)
        }
    if socket := _transport(group):
        found["transport_socket"] = socket
    return found


def endpoints(group: TargetGroup, targets: Sequence[Target]) -> dict[str, Any]:
    """Targets that may get requests. New ones wait for their first check; draining ones get no new requests,
    and what they still answer runs on.
    """
    known = [_endpoint(target) for target in targets if target.state in ANSWERING]
    return {"cluster_name": name(group.arn), "endpoints": [{"lb_endpoints": known}] if known else []}


def _endpoint(target: Target) -> dict[str, Any]:
    address = {"socket_address": {"address": target.address, "port_value": target.port}}
    return {
        "endpoint": {"address": address},
        "health_status": "HEALTHY" if target.state == "healthy" else "UNHEALTHY",
    }


def _no_limits() -> dict[str, Any]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return dict.fromkeys(names, _MANY)


def _policy(group: TargetGroup) -> dict[str, Any]:
    fewest = group.attributes.get("load_balancing.algorithm.type") == "least_outstanding_requests"
    policy, options = (
        ("LEAST_REQUEST", "least_request_lb_config") if fewest else ("ROUND_ROBIN", "round_robin_lb_config")
    )
    seconds = number(group.attributes, "slow_start.duration_seconds", 0)
    slow = {options: {"slow_start_config": {"slow_start_window": f"{seconds:.0f}s"}}} if seconds else {}
    return {"lb_policy": policy, **slow}


def _http(group: TargetGroup) -> dict[str, Any]:
    http1 = group.protocol_version in ("", "HTTP1")
    version = {"http_protocol_options": {}} if http1 else {"http2_protocol_options": HTTP2}
    return {
        "@type": _EXT + "upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{_IDLE_SECONDS}s"},
        "explicit_http_config": version,
    }


def _transport(group: TargetGroup) -> dict[str, Any] | None:
    """TLS to the targets, whose certificates are not checked (nor are they by AWS); the PROXY protocol."""
    socket: dict[str, Any] | None = None
    if group.protocol in ("HTTPS", "TLS"):
        alpn = ["h2"] if group.protocol_version in ("HTTP2", "GRPC") else []
        context = {"common_tls_context": {"alpn_protocols": alpn}}
        typed = {"@type": _EXT + "transport_sockets.tls.v3.UpstreamTlsContext", **context}
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
    if enabled(group.attributes, "proxy_protocol_v2.enabled"):
        raw = {"@type": _EXT + "transport_sockets.raw_buffer.v3.RawBuffer"}
        inner = socket or {"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw}
        typed = {
            "@type": _EXT + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": "V2"},
            "transport_socket": inner,
        }
        socket = {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": typed}
    return socket
