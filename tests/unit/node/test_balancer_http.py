"""What an application load balancer does with requests: a real Envoy, told by the daemon's own code."""

from collections import Counter
from collections.abc import Iterator

import pytest

from neargate.node.balancer.publication import Publication
from tests.support.envoy_rig import Rig, forward, group, listener, rule, target

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


ONE, TWO = group("one"), group("two")


def test_requests_go_round_the_healthy_targets(rig: Rig) -> None:
    ports = [rig.web(f"target-{n}")[1] for n in range(3)]
    states = ("healthy", "healthy", "unhealthy")
    targets = [target(ONE, port, state) for port, state in zip(ports, states, strict=True)]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], targets))
    seen = Counter(rig.get().body for _ in range(12))
    assert seen.keys() == {"hello from target-0", "hello from target-1"}


def test_with_no_healthy_target_all_get_requests(rig: Rig) -> None:
    ports = [rig.web(f"target-{n}")[1] for n in range(2)]
    targets = [target(ONE, port, "unhealthy") for port in ports]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], targets))
    assert {rig.get().body for _ in range(12)} == {"hello from target-0", "hello from target-1"}


@pytest.mark.parametrize("state", ["initial", "draining"])
def test_new_and_draining_targets_get_none(rig: Rig, state: str) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1], state)]))
    answer = rig.get()
    assert answer.status == 503
    assert answer.headers["server"] == "awselb/2.0"
    assert answer.headers["content-type"] == "text/html"
    assert "<h1>503 Service Temporarily Unavailable</h1>" in answer.body
