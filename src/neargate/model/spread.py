"""Connections that the kernel leads to their targets, past Envoy, so that these see the client's own address:
those of groups that preserve it, at TCP and UDP listeners. A pure function of the view.

Called by node/balancer/kernel.py. Where a group leaves one out (nobody answers, a target is no task of this
machine, or more is to be done than to lead) Envoy listens at the same port, and carries it.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from neargate.model.balancer import Listener, LoadBalancer, Target, TargetGroup
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO, all_of
from neargate.model.balancing import ANSWERING, View
from neargate.model.envoy_listeners import transports
from neargate.model.envoy_routes import weights

TOTAL = 1 << 20
"""Numbers that a connection may draw."""
_PROTOCOLS = ("TCP", "UDP", "TCP_UDP")

Place = tuple[str, int]
"""Address and port."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What one listener's port is led to."""

    transport: str
    """tcp or udp."""
    addresses: tuple[str, ...]
    port: int
    ends: tuple[tuple[int, Place], ...]
    """Targets, each with the first number that is no longer its own; none: Envoy carries."""
    by_source: bool
    """A client's address draws the same number each time."""
    kept: frozenset[Place]
    """Targets whose connections go on."""


def keeps_client(group: TargetGroup) -> bool:
    """What is told by the PROXY protocol, or waits for a service to wake, goes through Envoy."""
    own = all_of(group)
    return (
        group.protocol in _PROTOCOLS
        and own["preserve_client_ip.enabled"] == "true"
        and own["proxy_protocol_v2.enabled"] != "true"
        and own[SCALE_TO_ZERO] != "true"
    )


def spreads(view: View, vpc_cidr: str) -> list[Spread]:
    network = ipaddress.IPv4Network(vpc_cidr)
    targets: dict[str, list[Target]] = {}
    for target in view.targets.values():
        targets.setdefault(target.group_arn, []).append(target)
    found = []
    for listener in view.listeners.values():
        balancer = view.balancers.get(listener.balancer_arn)
        if balancer is not None and balancer.kind == "network" and listener.protocol in _PROTOCOLS:
            groups = _groups(view, listener)
            if groups and all(keeps_client(group) for group, _ in groups):
                found += _of(balancer, listener, groups, targets, network)
    return found


def _groups(view: View, listener: Listener) -> list[tuple[TargetGroup, int]]:
    pairs = [pair for action in listener.actions for pair in weights(action)]
    return [(view.groups[arn], weight) for arn, weight in pairs if weight > 0 and arn in view.groups]


def _of(
    balancer: LoadBalancer,
    listener: Listener,
    groups: Sequence[tuple[TargetGroup, int]],
    targets: dict[str, list[Target]],
    network: ipaddress.IPv4Network,
) -> list[Spread]:
    registered = [target for group, _ in groups for target in targets.get(group.arn, ())]
    drawn: list[tuple[float, Place]] = []
    if all(ipaddress.IPv4Address(target.address) in network for target in registered):
        drawn = _shares([(_answering(targets.get(group.arn, ())), weight) for group, weight in groups])
    kept = {place for _, place in drawn} | {_place(t) for t in registered if t.state == "draining"}
    for group, _ in groups:
        ends = all_of(group)["target_health_state.unhealthy.connection_termination.enabled"] == "true"
        if group.protocol == "TCP" and not ends:
            kept |= {_place(t) for t in targets.get(group.arn, ()) if t.state == "unhealthy"}
    by_source = any(all_of(group)["stickiness.enabled"] == "true" for group, _ in groups)
    addresses = tuple(zone.address for zone in balancer.zones)
    return [
        Spread(transport.lower(), addresses, listener.port, _ends(drawn), by_source, frozenset(kept))
        for transport in transports(listener)
    ]


def _place(target: Target) -> Place:
    return (target.address, target.port)


def _answering(targets: Sequence[Target]) -> list[Place]:
    """Fail open: when no target is healthy, all of them get connections."""
    healthy = [_place(target) for target in targets if target.state == "healthy"]
    return sorted(healthy or (_place(target) for target in targets if target.state in ANSWERING))


def _shares(groups: Sequence[tuple[Sequence[Place], int]]) -> list[tuple[float, Place]]:
    """Each target's part of all connections. A group in which nobody answers keeps its part, as at Envoy, so
    that none may be led by the kernel alone."""
    if not all(places for places, _ in groups):
        return []
    whole = sum(weight for _, weight in groups)
    return [(weight / whole / len(places), place) for places, weight in groups for place in places]


def _ends(drawn: Sequence[tuple[float, Place]]) -> tuple[tuple[int, Place], ...]:
    found, reached, last = [], 0.0, 0
    for number, (share, place) in enumerate(drawn, 1):
        reached += share
        end = TOTAL if number == len(drawn) else min(TOTAL, round(reached * TOTAL))
        if end > last:
            found.append((end, place))
            last = end
    return tuple(found)
