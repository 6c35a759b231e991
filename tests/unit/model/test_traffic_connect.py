"""Envoy's counters at endpoints of Service Connect, as AWS's metrics."""

from msgspec.structs import replace

from neargate.model import traffic_connect
from neargate.model.balancing import View
from neargate.model.service_connect import ConnectEndpoint, ConnectTarget
from neargate.model.traffic import Between, Reading

ENDPOINT = ConnectEndpoint(
    account="000000000000",
    region="us-east-1",
    namespace_id="ns-1",
    discovery_name="api",
    service_arn="arn:aws:ecs:us-east-1:000000000000:service/c/shop",
    port_name="api",
    dns_name="api.mesh",
    port=80,
    protocol="http",
    address="10.0.240.1",
    targets=tuple(ConnectTarget(address=f"10.0.0.{n}", port=1, task_arn=str(n)) for n in (1, 2)),
)
COUNTERS = """
cluster.connect/ns-1/api.upstream_rq_completed: 10
cluster.connect/ns-1/api.upstream_rq_2xx: 9
cluster.connect/ns-1/api.upstream_rq_5xx: 1
http.connect/ns-1/api.downstream_cx_total: 3
http.connect/ns-1/api.downstream_cx_active: 2
http.connect/ns-1/api.downstream_cx_rx_bytes_total: 100
http.connect/ns-1/api.downstream_cx_tx_bytes_total: 900
tcp.connect/ns-1/api.downstream_cx_total: 7
"""
TIMES = 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="connect/ns-1/api",le="5"} 10\n'


def told(endpoint: ConnectEndpoint) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, str]]:
    view = View({}, {}, {}, {}, {}, {}, {"api": endpoint})
    found = traffic_connect.points(view, Between(Reading(), Reading.of(COUNTERS, TIMES)), 60.0)
    return {(p.metric.name, tuple(sorted(p.metric.dimensions))): (p.summary.sum, p.unit) for p in found}


def test_what_clients_asked_and_targets_answered() -> None:
    found = told(ENDPOINT)
    of = (("DiscoveryName", "api"),)
    target = (("TargetDiscoveryName", "api"),)
    service = (("ClusterName", "c"), ("ServiceName", "shop"))
    assert {name: value for (name, dimensions), value in found.items() if dimensions == of} == {
        "RequestCount": (10.0, "Count"),
        "NewConnectionCount": (3.0, "Count"),
        "ActiveConnectionCount": (2.0, "Count"),
        "ProcessedBytes": (1000.0, "Bytes"),
    }
    assert {name: value for (name, dimensions), value in found.items() if dimensions == target} == {
        "RequestCountPerTarget": (5.0, "Count"),
        "HTTPCode_Target_2XX_Count": (9.0, "Count"),
        "HTTPCode_Target_5XX_Count": (1.0, "Count"),
        "TargetResponseTime": (50.0, "Milliseconds"),
    }
    assert {d for _, d in found} == {of, target, tuple(sorted(of + service)), tuple(sorted(target + service))}


def test_each_protocol_has_its_own() -> None:
    names = {name for name, _ in told(replace(ENDPOINT, protocol="grpc"))}
    assert "GrpcRequestCount" in names and "RequestCount" not in names
    assert {name for name, _ in told(replace(ENDPOINT, protocol=""))} == {"NewConnectionCount"}
