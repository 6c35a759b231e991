"""What Envoy counted at endpoints of Service Connect, as the metrics of AWS/ECS. Pure.

Called by node/balancer/counters.py, as model/traffic.py is for balancers. AWS counts at proxies of clients
and of servers; the one Envoy here stands for both.
"""

from collections.abc import Iterable, Mapping

from neargate.model.balancing import View
from neargate.model.envoy_connect import name as cluster_name
from neargate.model.metric import Point, metric, summary
from neargate.model.record import Scope
from neargate.model.service_connect import ConnectEndpoint
from neargate.model.traffic import Between

_NAMESPACE = "AWS/ECS"
_CLASSES = ("2", "3", "4", "5")
Values = Iterable[tuple[float, float]]
"""(value, how often)."""


def points(view: View, between: Between, at: float) -> list[Point]:
    found: list[Point] = []
    for endpoint in view.connect.values():
        found += _of_connections(endpoint, between, at)
        if endpoint.protocol:
            found += _of_requests(endpoint, between, at)
    return found


def _of_connections(endpoint: ConnectEndpoint, between: Between, at: float) -> list[Point]:
    name = f"{'http' if endpoint.protocol else 'tcp'}.{cluster_name(endpoint)}.downstream_cx_"
    moved = between(f"{name}rx_bytes_total") + between(f"{name}tx_bytes_total")
    return [
        *_count(endpoint, "NewConnectionCount", between(f"{name}total"), at),
        *_count(endpoint, "ActiveConnectionCount", between.now(f"{name}active"), at),
        *_count(endpoint, "ProcessedBytes", moved, at, unit="Bytes"),
    ]


def _of_requests(endpoint: ConnectEndpoint, between: Between, at: float) -> list[Point]:
    cluster = f"cluster.{cluster_name(endpoint)}.upstream_rq_"
    asked = between(f"{cluster}completed")
    answered = [(kind, between(f"{cluster}{kind}xx")) for kind in _CLASSES]
    times = [(1000 * seconds, often) for seconds, often in between.times(cluster_name(endpoint))]
    each = asked / len(endpoint.targets) if endpoint.targets else 0.0
    name = "GrpcRequestCount" if endpoint.protocol == "grpc" else "RequestCount"
    return [
        *_count(endpoint, name, asked, at),
        *_count(endpoint, "RequestCountPerTarget", each, at, target=True),
        *(
            point
            for kind, count in answered
            for point in _count(endpoint, f"HTTPCode_Target_{kind}XX_Count", count, at, target=True)
        ),
        *_made(endpoint, "TargetResponseTime", times, at, unit="Milliseconds", target=True),
    ]


def _count(
    endpoint: ConnectEndpoint,
    name: str,
    value: float,
    at: float,
    *,
    unit: str = "Count",
    target: bool = False,
) -> list[Point]:
    """Nothing where nothing happened."""
    return _made(endpoint, name, [(value, 1.0)] if value else [], at, unit=unit, target=target)


def _made(
    endpoint: ConnectEndpoint, name: str, values: Values, at: float, *, unit: str, target: bool
) -> list[Point]:
    pairs = list(values)
    if not pairs:
        return []
    of = summary([value for value, _ in pairs], [often for _, often in pairs])
    scope = Scope(endpoint.account, endpoint.region)
    return [
        Point(metric(scope, _NAMESPACE, name, each), at, of, unit) for each in _dimensions(endpoint, target)
    ]


def _dimensions(endpoint: ConnectEndpoint, target: bool) -> tuple[Mapping[str, str], ...]:
    """target -- of a metric that is about who answers."""
    alone = {"TargetDiscoveryName" if target else "DiscoveryName": endpoint.discovery_name}
    _, cluster, service = endpoint.service_arn.rsplit("/", 2)
    return alone, {**alone, "ServiceName": service, "ClusterName": cluster}
