"""What the kernel leads past Envoy, and to which targets in which parts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model.balancer import Target, TargetGroup
from neargate.model.balancing import View
from neargate.model.spread import TOTAL, Spread, spreads
from neargate.node.network.spread import rules
from tests.support.envoy_rig import Rig, forward, group, listener, target

CIDR = "10.9.0.0/16"
PRESERVED = {"preserve_client_ip.enabled": "true"}


def tcp(name: str, **more: Any) -> TargetGroup:
    return group(name, protocol_version="", **{"protocol": "TCP", "attributes": PRESERVED, **more})


ONE, TWO = tcp("one"), tcp("two")


def at(of: TargetGroup, last: int, state: str = "healthy") -> Target:
    return target(of, 80, state, f"10.9.1.{last}")


def led(*targets: Target, to: Any = None, protocol: str = "TCP", groups: Any = None) -> list[Spread]:
    groups = groups or (ONE,)
    front = listener(to or forward((groups[0], 1)), protocol=protocol)
    view = Rig(directory=None, address="10.9.0.4").view([front], groups, targets)  # type: ignore[arg-type]
    balancers = {arn: replace(balancer, kind="network") for arn, balancer in view.balancers.items()}
    return spreads(View(balancers, view.listeners, {}, view.groups, view.targets, {}), CIDR)


def places(found: list[Spread]) -> list[set[str]]:
    return [{address for _, (address, _) in spread.ends} for spread in found]


def test_healthy_targets_get_equal_parts() -> None:
    (found,) = led(
        at(ONE, 1), at(ONE, 2), at(ONE, 3, "unhealthy"), at(ONE, 4, "initial"), at(ONE, 5, "draining")
    )
    assert (found.transport, found.addresses, found.port) == ("tcp", ("10.9.0.4",), 80)
    assert found.ends == ((TOTAL // 2, ("10.9.1.1", 80)), (TOTAL, ("10.9.1.2", 80)))
    assert found.kept == {("10.9.1.1", 80), ("10.9.1.2", 80), ("10.9.1.5", 80)}


def test_with_no_healthy_target_all_get_connections() -> None:
    assert places(led(at(ONE, 1, "unhealthy"), at(ONE, 2, "unhealthy"))) == [{"10.9.1.1", "10.9.1.2"}]


@pytest.mark.parametrize("terminated", ["true", "false"])
def test_connections_to_unhealthy_targets_end_as_the_attribute_says(terminated: str) -> None:
    name = "target_health_state.unhealthy.connection_termination.enabled"
    own = tcp("own", attributes={**PRESERVED, name: terminated})
    (found,) = led(at(own, 1), at(own, 2, "unhealthy"), groups=(own,))
    assert (("10.9.1.2", 80) in found.kept) == (terminated == "false")


def test_weights_are_of_groups_whatever_their_size() -> None:
    (found,) = led(at(ONE, 1), at(TWO, 2), at(TWO, 3), to=forward((ONE, 3), (TWO, 1)), groups=(ONE, TWO))
    assert [end for end, _ in found.ends] == [TOTAL * 6 // 8, TOTAL * 7 // 8, TOTAL]


@pytest.mark.parametrize(
    ("attributes", "protocol", "last"),
    [
        ({}, "TCP", "10.9.1.1"),
        ({**PRESERVED, "proxy_protocol_v2.enabled": "true"}, "TCP", "10.9.1.1"),
        ({**PRESERVED, "neargate.scale_to_zero.enabled": "true"}, "TCP", "10.9.1.1"),
        (PRESERVED, "TLS", "10.9.1.1"),
        (PRESERVED, "TCP", "10.8.1.1"),
    ],
)
def test_envoy_carries_what_the_kernel_may_not(attributes: dict[str, str], protocol: str, last: str) -> None:
    own = tcp("own", attributes=attributes)
    assert not any(places(led(target(own, 80, "healthy", last), protocol=protocol, groups=(own,))))


def test_a_group_without_an_answer_leaves_all_to_envoy() -> None:
    assert places(led(at(ONE, 1), to=forward((ONE, 1), (TWO, 1)), groups=(ONE, TWO))) == [set()]


@pytest.mark.parametrize(("protocol", "transports"), [("UDP", ["udp"]), ("TCP_UDP", ["tcp", "udp"])])
def test_datagrams_always_keep_their_source(protocol: str, transports: list[str]) -> None:
    own = tcp("own", protocol=protocol, attributes={})
    found = led(at(own, 1), protocol=protocol, groups=(own,))
    assert [spread.transport for spread in found] == transports
    assert "udp dport 80 dnat ip to numgen random" in rules("abc", found)


def test_stickiness_is_of_the_source() -> None:
    own = tcp("own", attributes={**PRESERVED, "stickiness.enabled": "true"})
    assert "jhash ip saddr" in rules("abc", led(at(own, 1), groups=(own,)))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 999)), min_size=1, max_size=5))
def test_parts_are_whole_and_as_large_as_their_weights(sizes: list[tuple[int, int]]) -> None:
    groups = [tcp(f"g{n}") for n in range(len(sizes))]
    targets = [
        target(g, 80, "healthy", f"10.9.{n}.{k}") for n, g in enumerate(groups) for k in range(sizes[n][0])
    ]
    to = forward(*((g, weight) for g, (_, weight) in zip(groups, sizes, strict=True)))
    (found,) = led(*targets, to=to, groups=groups)
    begin, whole = 0, sum(weight for _, weight in sizes)
    for end, (address, _) in found.ends:
        size, weight = sizes[int(address.split(".")[2])]
        assert abs((end - begin) / TOTAL - weight / whole / size) < 2 / TOTAL
        begin = end
    assert begin == TOTAL
    assert len(found.ends) == len(targets)
