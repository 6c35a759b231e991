"""An endpoint of Service Connect as Envoy's resources. Called by model/envoy.py.

Round robin; what fails is tried again at another target, and a target that fails often rests for a while.
"""

from collections.abc import Sequence
from typing import Any

from neargate.model import envoy_http
from neargate.model.envoy_clusters import ADS, BUFFER, HTTP2
from neargate.model.service_connect import ConnectEndpoint, ConnectTarget

_EXT = "type.googleapis.com/envoy.extensions."
_CONNECT_SECONDS = 5
_RETRIES = 2
_RETRY_ON = "connect-failure,refused-stream,reset-before-request,gateway-error"
_OUTLIER = {
    "consecutive_5xx": 5,
    "consecutive_gateway_failure": 5,
    "interval": "10s",
    "base_ejection_time": "30s",
    "max_ejection_time": "300s",
    "max_ejection_percent": 50,
}
_MANY = 1_000_000


def name(endpoint: ConnectEndpoint) -> str:
    """No target group and no listener of a balancer is called so."""
    return f"connect/{endpoint.namespace_id}/{endpoint.discovery_name}"


def test_name(endpoint: ConnectEndpoint) -> str:
    """Of the cluster for test traffic."""
    return f"{name(endpoint)}/test"


def cluster(endpoint: ConnectEndpoint, named: str) -> dict[str, Any]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    found: dict[str, Any] = {
        "name": named,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "lb_policy": "ROUND_ROBIN",
        "outlier_detection": _OUTLIER,
        "circuit_breakers": {"thresholds": [dict.fromkeys(names, _MANY)]},
    }
    if endpoint.protocol:
        http1 = endpoint.protocol == "http"
        version = {"http_protocol_options": {}} if http1 else {"http2_protocol_options": HTTP2}
        found["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _EXT + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": version,
            }
        }
    return found


def endpoints(named: str, targets: Sequence[ConnectTarget]) -> dict[str, Any]:
    known = [
        {
            "endpoint": {"address": {"socket_address": {"address": t.address, "port_value": t.port}}},
            "load_balancing_weight": t.weight,
        }
        for t in targets
    ]
    return {"cluster_name": named, "endpoints": [{"lb_endpoints": known}] if known else []}


def listener(endpoint: ConnectEndpoint) -> dict[str, Any]:
    filters = [_http(endpoint) if endpoint.protocol else _tcp(endpoint)]
    return {
        "name": name(endpoint),
        "address": {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}},
        "freebind": True,
        "per_connection_buffer_limit_bytes": BUFFER,
        "filter_chains": [{"filters": filters}],
    }


def _http(endpoint: ConnectEndpoint) -> dict[str, Any]:
    return envoy_http.manager(name(endpoint), name(endpoint), f"{endpoint.idle_seconds}s")


def _tcp(endpoint: ConnectEndpoint) -> dict[str, Any]:
    typed = {
        "@type": _EXT + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name(endpoint),
        "cluster": name(endpoint),
        "idle_timeout": f"{endpoint.idle_seconds}s",
        "max_connect_attempts": 1 + _RETRIES,
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}


def routes(endpoint: ConnectEndpoint) -> dict[str, Any]:
    elsewhere = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": _EXT + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
    }
    action = {
        "timeout": f"{endpoint.request_seconds}s",
        "retry_policy": {
            "retry_on": _RETRY_ON,
            "num_retries": _RETRIES,
            "retry_host_predicate": [elsewhere],
            "host_selection_retry_max_attempts": 5,
        },
    }
    every = {"match": {"prefix": "/"}, "route": {**action, "cluster": name(endpoint)}}
    made = [every]
    if endpoint.test_targets:
        match = {"prefix": "/", "headers": [_test_header(endpoint)]}
        made = [{"match": match, "route": {**action, "cluster": test_name(endpoint)}}, every]
    host = {"name": "all", "domains": ["*"], "routes": made}
    return {"name": name(endpoint), "virtual_hosts": [host]}


def _test_header(endpoint: ConnectEndpoint) -> dict[str, Any]:
    if endpoint.test_value is None:
        return {"name": endpoint.test_header, "present_match": True}
    return {"name": endpoint.test_header, "string_match": {"exact": endpoint.test_value}}
