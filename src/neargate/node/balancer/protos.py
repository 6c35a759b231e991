"""Envoy's resources from JSON to protobuf. Called by ads.py.

The imports are what makes the types known that resources hold as `Any`.
"""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2 as udp_route_pb2
from envoy.extensions.filters.udp.udp_proxy.v3 import udp_proxy_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2, json_format

from neargate.model import envoy

INSIDE = (
    cel_pb2, cookie_pb2, ext_authz_pb2, file_pb2, header_mutation_pb2, http_connection_manager_pb2,
    http_protocol_options_pb2, lua_pb2, previous_hosts_pb2, raw_buffer_pb2, router_pb2,
    stateful_session_pb2, tcp_proxy_pb2, tls_pb2, udp_proxy_pb2, udp_route_pb2, upstream_proxy_protocol_pb2,
)  # fmt: skip
_TYPES = {
    envoy.CLUSTER: cluster_pb2.Cluster,
    envoy.ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    envoy.LISTENER: listener_pb2.Listener,
    envoy.ROUTES: route_pb2.RouteConfiguration,
    envoy.SECRET: secret_pb2.Secret,
}


def packed(kind: str, resource: dict[str, Any]) -> any_pb2.Any:
    """Raise json_format.ParseError on what is no such resource."""
    message = json_format.ParseDict(resource, _TYPES[kind]())
    return any_pb2.Any(type_url=kind, value=message.SerializeToString(deterministic=True))
