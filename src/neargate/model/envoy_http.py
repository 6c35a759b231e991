"""What every HTTP connection of Envoy's is handled by, a load balancer's and Service Connect's alike: whom it
trusts, and what it says of itself. Called by envoy_listeners.py and envoy_connect.py.
"""

from collections.abc import Sequence
from typing import Any

from neargate.model import envoy_pages
from neargate.model.envoy_clusters import ADS, HTTP2

_EXT = "type.googleapis.com/envoy.extensions."
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": _EXT + "filters.http.router.v3.Router", "suppress_envoy_headers": True},
}
"""The last of all filters."""


def manager(
    label: str,
    routes: str,
    idle: str,
    filters: Sequence[dict[str, Any]] = (),
    connections: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """label -- of its counters. routes -- name of the route configuration. filters -- before the router.
    connections -- more of how long they last, beside `idle`."""
    typed = {
        "@type": _EXT + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": label,
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": [*filters, ROUTER],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "use_remote_address": True,
        # Nobody is trusted to steer Envoy by x-envoy-* headers.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.255.255.255", "prefix_len": 32}]},
        "generate_request_id": False,
        "server_name": envoy_pages.SERVER,
        "server_header_transformation": "PASS_THROUGH",
        "http2_protocol_options": HTTP2,
        "stream_idle_timeout": idle,
        "common_http_protocol_options": {"idle_timeout": idle, **(connections or {})},
        **more,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}
