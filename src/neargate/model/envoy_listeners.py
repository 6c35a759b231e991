"""A listener as Envoy's: one per port, on all of its balancer's addresses. Called by model/envoy.py.

All HTTP filters that any route may want are in the chain from the start, switched off: a change of the chain
would drain every connection.
"""

from typing import Any

from neargate.model import access_logs, connection_logs, envoy_http, envoy_pages, envoy_stickiness, envoy_tls
from neargate.model.balancer import Listener, LoadBalancer
from neargate.model.balancing import enabled, number, path_of
from neargate.model.envoy_clusters import BUFFER, HTTP_PROTOCOLS, NODE_CLUSTER, name
from neargate.model.envoy_conditions import SOURCE_HEADER
from neargate.model.envoy_redirects import LUA
from neargate.model.envoy_routes import TRACE_HEADER, WAKING, weights

_EXT = "type.googleapis.com/envoy.extensions."
_KEPT_UDP_SECONDS = 120
_KEEP_ALIVE_SECONDS = 3600
_WAKING_SECONDS = 35
"""More than the node waits (node/balancer/waking.py): its own answer is the better one."""
_ASKED_AGAIN = {
    "retry_on": "connect-failure,refused-stream,reset,cancelled,unavailable",
    "num_retries": 1000,
    "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
}
"""As long as that: who waits does so through a restart of the daemon, which Envoy outlives."""


def is_http(listener: Listener) -> bool:
    return listener.protocol in HTTP_PROTOCOLS


def transports(listener: Listener) -> tuple[str, ...]:
    """TCP_UDP is two to Envoy."""
    return {"UDP": ("UDP",), "TCP_UDP": ("TCP", "UDP")}.get(listener.protocol, ("TCP",))


def listener_name(listener: Listener, transport: str) -> str:
    return path_of(listener.arn) + ("/udp" if transport == "UDP" else "")


def listener(balancer: LoadBalancer, wanted: Listener, transport: str, logs: str) -> dict[str, Any]:
    addresses = [_address(zone.address, wanted.port, transport) for zone in balancer.zones]
    found: dict[str, Any] = {
        "name": listener_name(wanted, transport),
        "address": addresses[0],
        "additional_addresses": [{"address": address} for address in addresses[1:]],
        "freebind": True,
        "per_connection_buffer_limit_bytes": BUFFER,
        **(_udp(balancer, wanted) if transport == "UDP" else _tcp(balancer, wanted, logs)),
    }
    return found


def _address(address: str, port: int, transport: str) -> dict[str, Any]:
    return {"socket_address": {"protocol": transport, "address": address, "port_value": port}}


def _tcp(balancer: LoadBalancer, wanted: Listener, logs: str) -> dict[str, Any]:
    http = is_http(wanted)
    filters = [_http_manager(balancer, wanted, logs) if http else _tcp_proxy(balancer, wanted)]
    chain: dict[str, Any] = {"filters": filters}
    if wanted.protocol in ("HTTPS", "TLS"):
        http2 = enabled(balancer.attributes, "routing.http2.enabled", True)
        chain["transport_socket"] = envoy_tls.transport(wanted, http=http, http2=http2)
    noted = [connection_logs.envoy(balancer, wanted, logs)] if connection_logs.wanted(balancer) else []
    return {"filter_chains": [chain], "access_log": noted}


def _http_manager(balancer: LoadBalancer, wanted: Listener, logs: str) -> dict[str, Any]:
    idle = f"{number(balancer.attributes, 'idle_timeout.timeout_seconds', 60):.0f}s"
    longest = number(balancer.attributes, "client_keep_alive.seconds", _KEEP_ALIVE_SECONDS)
    mode = balancer.attributes.get("routing.http.xff_header_processing.mode", "append")
    with_port = enabled(balancer.attributes, "routing.http.xff_client_port.enabled")
    noted = [access_logs.envoy(balancer, wanted, logs)] if access_logs.wanted(balancer) else []
    return envoy_http.manager(
        path_of(balancer.arn),
        path_of(wanted.arn),
        idle,
        _http_filters(),
        {"max_connection_duration": f"{longest:.0f}s"},
        skip_xff_append=mode != "append" or with_port,
        local_reply_config=envoy_pages.local_replies(),
        early_header_mutation_extensions=[_noted()],
        **({"access_log": noted} if noted else {}),
    )


def _http_filters() -> list[dict[str, Any]]:
    lua = {"@type": _EXT + "filters.http.lua.v3.Lua"}
    stateful = {"@type": _EXT + "filters.http.stateful_session.v3.StatefulSession"}
    node = {
        "envoy_grpc": {"cluster_name": NODE_CLUSTER},
        "timeout": f"{_WAKING_SECONDS}s",
        "retry_policy": _ASKED_AGAIN,
    }
    waking = {
        "@type": _EXT + "filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": node,
        "status_on_error": {"code": "ServiceUnavailable"},
        "allowed_headers": {"patterns": [{"exact": "host"}]},
    }
    return [
        {"name": WAKING, "typed_config": waking, "disabled": True},
        {"name": LUA, "typed_config": lua, "disabled": True},
        *({"name": name, "typed_config": stateful, "disabled": True} for name in envoy_stickiness.FILTERS),
    ]


def _noted() -> dict[str, Any]:
    """What rules ask for, and the random part of a trace's id, as headers that no target gets to see."""
    values = {
        SOURCE_HEADER: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        TRACE_HEADER: "%UNIQUE_ID%",
    }
    how = "OVERWRITE_IF_EXISTS_OR_ADD"
    mutations = [
        {"append": {"header": {"key": key, "value": value}, "append_action": how}}
        for key, value in values.items()
    ]
    typed = {
        "@type": _EXT + "http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": mutations,
    }
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": typed}


def _tcp_proxy(balancer: LoadBalancer, wanted: Listener) -> dict[str, Any]:
    idle = number(wanted.attributes, "tcp.idle_timeout.seconds", 350)
    typed = {
        "@type": _EXT + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": path_of(balancer.arn),
        "idle_timeout": f"{idle:.0f}s",
        "max_connect_attempts": 4,
        **_led_to(wanted),
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}


def _led_to(wanted: Listener) -> dict[str, Any]:
    """An empty forward leads to a cluster that is not there: connections are closed."""
    used = [(name(arn), weight) for action in wanted.actions for arn, weight in weights(action) if weight > 0]
    if len(used) == 1:
        return {"cluster": used[0][0]}
    if not used:
        return {"cluster": "none"}
    return {"weighted_clusters": {"clusters": [{"name": to, "weight": weight} for to, weight in used]}}


def _udp(balancer: LoadBalancer, wanted: Listener) -> dict[str, Any]:
    """A client's address and port are one flow, which stays with its target."""
    route = {"@type": _EXT + "filters.udp.udp_proxy.v3.Route", "cluster": _first(wanted)}
    typed = {
        "@type": _EXT + "filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": path_of(balancer.arn),
        "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
        "idle_timeout": f"{_KEPT_UDP_SECONDS}s",
    }
    return {"listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": typed}]}


def _first(wanted: Listener) -> str:
    return str(_led_to(wanted).get("cluster") or _led_to(wanted)["weighted_clusters"]["clusters"][0]["name"])
