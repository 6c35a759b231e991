"""Load balancing as Envoy's resources (xDS v3, in protobuf's JSON form): a pure function of the view.

Called by node/balancer/plane.py with each new view; node/balancer/ads.py hands the resources to Envoy.
Clusters are target groups, routes are rules; a listener itself hardly ever changes, as a change drains its
connections.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from neargate.model import envoy_clusters, envoy_connect, envoy_listeners, envoy_routes, envoy_tls
from neargate.model.balancer import Listener, ListenerRule, Target, TargetGroup
from neargate.model.balancing import View, asleep, path_of
from neargate.model.service_connect import ConnectEndpoint

_TYPE = "type.googleapis.com/envoy."
CLUSTER = _TYPE + "config.cluster.v3.Cluster"
ENDPOINTS = _TYPE + "config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _TYPE + "config.listener.v3.Listener"
ROUTES = _TYPE + "config.route.v3.RouteConfiguration"
SECRET = _TYPE + "extensions.transport_sockets.tls.v3.Secret"

Resource = dict[str, Any]
Resources = dict[str, dict[str, Resource]]
"""Type -> name -> resource."""


class Translator:
    """Keeps what it made, and makes anew only what came of other records than before: in a view of 500
    services of which one target changed, one group's endpoints.
    """

    def __init__(self, logs: str = "") -> None:
        """logs -- directory of what Envoy notes of requests."""
        self._logs = logs
        self._kept: dict[tuple[str, str], tuple[tuple[object, ...], Resource]] = {}
        self._made: dict[tuple[str, str], tuple[tuple[object, ...], Resource]] = {}

    def resources(self, view: View, now: float = 0.0) -> Resources:
        hour = int(now) // 3600 * 3600
        self._kept, self._made = self._made, {}
        sleeping = set()
        for group, targets in _groups(view):
            if asleep(group, targets):
                sleeping.add(group.arn)
            name = envoy_clusters.name(group.arn)
            self._add(CLUSTER, name, partial(envoy_clusters.cluster, group), group)
            self._add(ENDPOINTS, name, partial(envoy_clusters.endpoints, group, targets), group, *targets)
        rules = _rules(view)
        for listener in view.listeners.values():
            balancer = view.balancers.get(listener.balancer_arn)
            if balancer is None or not balancer.zones:
                continue
            own = rules[listener.arn]
            for transport in envoy_listeners.transports(listener):
                made = partial(envoy_listeners.listener, balancer, listener, transport, self._logs)
                name = envoy_listeners.listener_name(listener, transport)
                self._add(LISTENER, name, made, balancer, listener)
            if envoy_listeners.is_http(listener):
                groups = _led_to(view, [listener, *own])
                routed = partial(envoy_routes.routes, balancer, listener, own, groups, sleeping, hour)
                waiting = [arn in sleeping for arn in groups]
                records = (balancer, listener, *own, *groups.values(), *waiting, hour)
                self._add(ROUTES, path_of(listener.arn), routed, *records)
            for arn in listener.certificates:
                if pair := view.certificates.get(arn):
                    self._add(SECRET, arn, partial(envoy_tls.secret, arn, pair), pair)
        for endpoint in view.connect.values():
            self._connect(endpoint)
        found: Resources = {kind: {} for kind in (CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET)}
        for (kind, name), (_, resource) in self._made.items():
            found[kind][name] = resource
        return found

    def _connect(self, endpoint: ConnectEndpoint) -> None:
        name = envoy_connect.name(endpoint)
        clusters = {name: endpoint.targets}
        if endpoint.protocol and endpoint.test_targets:
            clusters[envoy_connect.test_name(endpoint)] = endpoint.test_targets
        for of, targets in clusters.items():
            self._add(CLUSTER, of, partial(envoy_connect.cluster, endpoint, of), endpoint)
            self._add(ENDPOINTS, of, partial(envoy_connect.endpoints, of, targets), endpoint)
        self._add(LISTENER, name, partial(envoy_connect.listener, endpoint), endpoint)
        if endpoint.protocol:
            self._add(ROUTES, name, partial(envoy_connect.routes, endpoint), endpoint)

    def _add(self, kind: str, name: str, build: Callable[[], Resource], *records: object) -> None:
        kept = self._kept.get((kind, name))
        if kept is None or not _same(kept[0], records):
            kept = (records, build())
        self._made[kind, name] = kept


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Records by their identity: to compare them would cost what is saved."""
    return len(some) == len(others) and all(
        a is b or (isinstance(a, int) and a == b) for a, b in zip(some, others, strict=True)
    )


def _groups(view: View) -> list[tuple[TargetGroup, list[Target]]]:
    """Those that a balancer uses, with their targets."""
    targets: dict[str, list[Target]] = {arn: [] for arn, group in view.groups.items() if group.balancer_arns}
    for target in view.targets.values():
        if target.group_arn in targets:
            targets[target.group_arn].append(target)
    return [(view.groups[arn], found) for arn, found in targets.items()]


def _rules(view: View) -> dict[str, list[ListenerRule]]:
    """Each listener's, in the order in which they are tried."""
    found: dict[str, list[ListenerRule]] = {arn: [] for arn in view.listeners}
    for rule in sorted(view.rules.values(), key=lambda rule: rule.priority):
        if rule.listener_arn in found:
            found[rule.listener_arn].append(rule)
    return found


def _led_to(view: View, owners: Sequence[Listener | ListenerRule]) -> dict[str, TargetGroup]:
    """The target groups that their actions name."""
    arns = [arn for owner in owners for action in owner.actions for arn, _ in envoy_routes.weights(action)]
    return {arn: view.groups[arn] for arn in arns if arn in view.groups}
