"""Flows of network load balancers: those that Envoy carries, and those that the kernel leads past it."""

from msgspec.structs import replace

from neargate.model import traffic
from neargate.model.balancer import BalancerZone
from neargate.model.balancing import View
from neargate.model.traffic import Between, Reading
from tests.support.envoy_rig import balancer

ENVOY = """
tcp.net/web/50dc6c495c0c9188.downstream_cx_total: 7
tcp.net/web/50dc6c495c0c9188.downstream_cx_active: 2
tcp.net/web/50dc6c495c0c9188.downstream_cx_rx_bytes_total: 100
tcp.net/web/50dc6c495c0c9188.downstream_cx_tx_bytes_total: 900
"""
ARN = balancer("10.0.0.4").arn.replace("/app/", "/net/")
SECOND = BalancerZone(zone="us-east-1b", subnet_id="subnet-2", address="10.0.0.5", interface_id="eni-2")


def kernel(**counts: float) -> dict[str, float]:
    return {traffic.led("10.0.0.4", what): count for what, count in counts.items()}


def told(before: Reading, after: Reading) -> dict[str, float]:
    made = balancer("10.0.0.4", kind="network", arn=ARN)
    view = View({ARN: replace(made, zones=(*made.zones, SECOND))}, {}, {}, {}, {}, {})
    found = traffic.points(view, Between(before, after), 60.0)
    own = (("LoadBalancer", "net/web/50dc6c495c0c9188"),)
    assert {(p.metric.namespace, tuple(p.metric.dimensions)) for p in found} <= {("AWS/NetworkELB", own)}
    return {p.metric.name: p.summary.sum for p in found}


def test_both_are_counted_together() -> None:
    before = Reading.of("", "", kernel(flows=5, moved=1000, active=3))
    after = Reading.of(
        ENVOY, "", kernel(flows=8, moved=5000, active=4) | {traffic.led("10.0.0.5", "flows"): 1}
    )
    assert told(before, after) == {"NewFlowCount": 11, "ActiveFlowCount": 6, "ProcessedBytes": 5000}


def test_a_table_that_was_taken_away_begins_at_nothing() -> None:
    before = Reading.of("", "", kernel(flows=5, moved=1000, active=3))
    assert told(before, Reading()) == {}
    assert told(before, Reading.of("", "", kernel(flows=2, moved=70))) == {
        "NewFlowCount": 2, "ProcessedBytes": 70,
    }  # fmt: skip
