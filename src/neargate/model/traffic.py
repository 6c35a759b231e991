"""What Envoy and the kernel counted, as the metrics of AWS/ApplicationELB and AWS/NetworkELB. Pure.

Called by node/balancer/counters.py with two readings of the counters and the view between them. Envoy
counts an answer of its own (nobody reached, nobody there) as a cluster's too: those are taken off the 5XX of
the targets.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from neargate.model.balancer import LoadBalancer, TargetGroup
from neargate.model.balancing import View, path_of
from neargate.model.envoy_clusters import name as cluster_name
from neargate.model.metric import Point, metric, summary
from neargate.model.record import Scope

_CLASSES = ("2", "3", "4", "5")
_CLUSTER = (
    "upstream_rq_[2-5]xx|upstream_rq_completed|upstream_rq_50[34]|upstream_rq_retry|upstream_rq_pending_failure_eject|"
    "upstream_rq_rx_reset|upstream_cx_none_healthy|upstream_cx_connect_fail|upstream_cx_total|upstream_cx_active|"
    "upstream_rq_active"
)
_DOWN = (
    "downstream_rq_(total|[2-5]xx)|downstream_cx_(total|active|[rt]x_bytes_total)|"
    "rq_(redirect|direct_response)"
)
COUNTERS = rf"^(cluster\.[^.]+\.({_CLUSTER})|(http|tcp)\.(app|net|connect)/[^.]+\.({_DOWN}))$"
"""Which of its counters Envoy is asked for, as a regular expression."""
TIMES = r"upstream_rq_time$"
_BUCKET = re.compile(
    r'^envoy_cluster_upstream_rq_time_bucket\{.*envoy_cluster_name="([^"]+)".*le="([0-9.]+)"\} ([0-9]+)$'
)


def led(address: str, what: str) -> str:
    """A counter of what the kernel leads, past Envoy, from an address of a network load balancer: `flows`
    that have begun, those that are `active`, bytes `moved`."""
    return f"kernel.{address}.{what}"


def quoted(filter: str) -> str:
    """As part of a URL."""
    return quote(filter, safe="")


@dataclass(frozen=True, slots=True)
class Reading:
    counts: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    """Cluster -> upper bound in milliseconds -> how many answers took at most so long."""

    @staticmethod
    def of(counters: str, times: str = "", kernel: Mapping[str, float] | None = None) -> "Reading":
        """Of what Envoy says: `name: value`, and Prometheus's histograms; and of what the kernel has led."""
        counts = dict(kernel or {})
        for line in counters.splitlines():
            name, _, value = line.partition(": ")
            if value.isdigit():
                counts[name] = float(value)
        found: dict[str, dict[float, float]] = {}
        for line in times.splitlines():
            if seen := _BUCKET.match(line):
                found.setdefault(seen[1], {})[float(seen[2])] = float(seen[3])
        return Reading(counts, found)


@dataclass(frozen=True, slots=True)
class Between:
    """What happened from one reading to the next. Counters that went back are those of another Envoy."""

    before: Reading
    after: Reading

    def __call__(self, name: str) -> float:
        now, then = self.after.counts.get(name, 0.0), self.before.counts.get(name, 0.0)
        return now - then if now >= then else now

    def now(self, name: str) -> float:
        return self.after.counts.get(name, 0.0)

    def times(self, cluster: str) -> list[tuple[float, float]]:
        """(seconds, answers): each at the upper bound of its bucket."""
        found, below = [], 0.0
        then = self.before.times.get(cluster, {})
        for bound, total in sorted(self.after.times.get(cluster, {}).items()):
            upto = total - then.get(bound, 0.0)
            if upto > below:
                found.append((bound / 1000, upto - below))
                below = upto
        return found


def requests(between: Between, group: TargetGroup) -> float:
    return between(f"cluster.{cluster_name(group.arn)}.upstream_rq_completed")


def in_use(between: Between, group: TargetGroup) -> bool:
    """Whether anybody was answered, or still is: a WebSocket is one long request."""
    return bool(
        requests(between, group) or between.now(f"cluster.{cluster_name(group.arn)}.upstream_rq_active")
    )


def points(view: View, between: Between, at: float) -> list[Point]:
    found: list[Point] = []
    for balancer in view.balancers.values():
        groups = [g for g in view.groups.values() if balancer.arn in g.balancer_arns]
        make = _application if balancer.kind == "application" else _network
        found += make(view, balancer, groups, between, at)
    return found


class _Maker:
    """Points of one balancer."""

    def __init__(self, balancer: LoadBalancer, namespace: str, at: float) -> None:
        self._scope = Scope(balancer.account, balancer.region)
        self._namespace = namespace
        self._at = at
        self.of_balancer = {"LoadBalancer": path_of(balancer.arn)}

    def of_group(self, group: TargetGroup) -> dict[str, str]:
        return {**self.of_balancer, "TargetGroup": f"targetgroup/{path_of(group.arn)}"}

    def __call__(
        self,
        name: str,
        values: Iterable[tuple[float, float]],
        unit: str,
        *dimensions: Mapping[str, str],
    ) -> list[Point]:
        """values -- (value, how often)."""
        pairs = list(values)
        if not pairs:
            return []
        of = summary([value for value, _ in pairs], [count for _, count in pairs])
        return [
            Point(metric(self._scope, self._namespace, name, each), self._at, of, unit) for each in dimensions
        ]

    def count(
        self, name: str, value: float, *dimensions: Mapping[str, str], unit: str = "Count"
    ) -> list[Point]:
        """Nothing where nothing happened, as AWS."""
        return self(name, [(value, 1.0)] if value else [], unit, *dimensions)


def _application(
    view: View, balancer: LoadBalancer, groups: list[TargetGroup], between: Between, at: float
) -> list[Point]:
    make = _Maker(balancer, "AWS/ApplicationELB", at)
    http, own = f"http.{path_of(balancer.arn)}.", make.of_balancer
    found: list[Point] = []
    answered = dict.fromkeys(_CLASSES, 0.0)
    times: list[tuple[float, float]] = []
    for group in groups:
        by_targets = _answered(between, group)
        for kind, count in by_targets.items():
            answered[kind] += count
            found += make.count(f"HTTPCode_Target_{kind}XX_Count", count, make.of_group(group))
        times += between.times(cluster_name(group.arn))
        found += _of_group(view, make, group, between)
    for kind, count in answered.items():
        found += make.count(f"HTTPCode_Target_{kind}XX_Count", count, own)
        by_itself = max(0.0, between(f"{http}downstream_rq_{kind}xx") - count)
        if kind != "2":
            found += make.count(f"HTTPCode_ELB_{kind}XX_Count", by_itself, own)
    opened = sum(between(f"cluster.{cluster_name(g.arn)}.upstream_cx_total") for g in groups)
    active = sum(between.now(f"cluster.{cluster_name(g.arn)}.upstream_cx_active") for g in groups)
    moved = between(f"{http}downstream_cx_rx_bytes_total") + between(f"{http}downstream_cx_tx_bytes_total")
    return [
        *found,
        *make("TargetResponseTime", times, "Seconds", own),
        *make.count("RequestCount", sum(requests(between, group) for group in groups), own),
        *make.count("HTTP_Redirect_Count", between(f"{http}rq_redirect"), own),
        *make.count("HTTP_Fixed_Response_Count", between(f"{http}rq_direct_response"), own),
        *make.count("NewConnectionCount", opened + between(f"{http}downstream_cx_total"), own),
        *make.count("ActiveConnectionCount", active + between.now(f"{http}downstream_cx_active"), own),
        *make.count("ProcessedBytes", moved, own, unit="Bytes"),
    ]


def _answered(between: Between, group: TargetGroup) -> dict[str, float]:
    """Answers of its targets, by the code's first digit."""
    cluster = f"cluster.{cluster_name(group.arn)}."
    found = {kind: between(f"{cluster}upstream_rq_{kind}xx") for kind in _CLASSES}
    unreached = sum(
        between(cluster + name)
        for name in ("upstream_rq_pending_failure_eject", "upstream_cx_none_healthy", "upstream_rq_rx_reset")
    )
    unreached = max(0.0, unreached - between(f"{cluster}upstream_rq_retry"))  # the others were tried again
    by_envoy = min(between(f"{cluster}upstream_rq_503"), unreached) + between(f"{cluster}upstream_rq_504")
    found["5"] = max(0.0, found["5"] - by_envoy)
    return found


def _of_group(view: View, make: _Maker, group: TargetGroup, between: Between) -> list[Point]:
    both, alone = make.of_group(group), {"TargetGroup": f"targetgroup/{path_of(group.arn)}"}
    asked, cluster = requests(between, group), cluster_name(group.arn)
    healthy = sum(target.state == "healthy" for target in view.targets_of(group.arn))
    each = make("RequestCountPerTarget", [(asked / healthy, 1.0)], "None", both, alone) if healthy else []
    return [
        *each,
        *make.count("RequestCount", asked, both),
        *make("TargetResponseTime", between.times(cluster), "Seconds", both),
        *make.count(
            "TargetConnectionErrorCount", between(f"cluster.{cluster}.upstream_cx_connect_fail"), both
        ),
        *_hosts(view, make, group),
    ]


def _hosts(view: View, make: _Maker, group: TargetGroup) -> list[Point]:
    """Of a group that has targets, also when none of them is healthy."""
    states = [target.state for target in view.targets_of(group.arn)]
    if not states:
        return []
    both = make.of_group(group)
    return [
        *make("HealthyHostCount", [(float(states.count("healthy")), 1.0)], "Count", both),
        *make("UnHealthyHostCount", [(float(states.count("unhealthy")), 1.0)], "Count", both),
    ]


def _network(
    view: View, balancer: LoadBalancer, groups: list[TargetGroup], between: Between, at: float
) -> list[Point]:
    make = _Maker(balancer, "AWS/NetworkELB", at)
    tcp, own = f"tcp.{path_of(balancer.arn)}.", make.of_balancer
    addresses = [zone.address for zone in balancer.zones]
    begun = between(f"{tcp}downstream_cx_total") + sum(between(led(a, "flows")) for a in addresses)
    active = between.now(f"{tcp}downstream_cx_active") + sum(between.now(led(a, "active")) for a in addresses)
    moved = between(f"{tcp}downstream_cx_rx_bytes_total") + between(f"{tcp}downstream_cx_tx_bytes_total")
    moved += sum(between(led(a, "moved")) for a in addresses)
    return [
        *(point for group in groups for point in _hosts(view, make, group)),
        *make.count("NewFlowCount", begun, own),
        *make.count("ActiveFlowCount", active, own),
        *make.count("ProcessedBytes", moved, own, unit="Bytes"),
    ]
