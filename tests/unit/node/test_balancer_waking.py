"""Who waits for a sleeping service, as its state turns: the node's own part, without Envoy."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from envoy.service.auth.v3 import external_auth_pb2

from neargate.kit.clock import SystemClock
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.envoy import Translator
from neargate.model.envoy_routes import WOKEN
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.publication import Publication
from neargate.node.balancer.waking import Waking
from tests.support.envoy_rig import Rig, forward, group, listener, target

ZERO = group("zero", attributes={SCALE_TO_ZERO: "true"})


class Node:
    """What plane.py has, but that nothing is carried out; `woken` is done when a service is asked for."""

    def __init__(self, woken: Callable[[], object] = lambda: None) -> None:
        self.publication = Publication()
        self.waking = Waking(cast("BalancerCell", self), self.publication, SystemClock())
        self._translator = Translator()
        self._woken = woken

    async def wake(self, group_arn: str) -> None:
        assert group_arn == ZERO.arn
        self._woken()

    def take(self, state: str) -> int:
        rig = Rig(directory=None)  # type: ignore[arg-type]
        view = rig.view([listener(forward((ZERO, 1)))], [ZERO], [target(ZERO, 80, state)])
        number = self.publication.publish(self._translator.resources(view))
        self.waking.take(view, number)
        return number

    def asked(self) -> asyncio.Task[Any]:
        request = external_auth_pb2.CheckRequest()
        request.attributes.context_extensions[WOKEN] = ZERO.arn
        return asyncio.create_task(self.waking._check(request, None))


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_fell_asleep_again_before_envoy_was_told_lets_nobody_on() -> None:
    node = Node()
    node.publication.taken(node.take("draining"))
    request = node.asked()
    await _turn()
    node.take("healthy")
    await _turn()
    node.publication.taken(node.take("draining"))
    await _turn()
    assert not request.done()
    awake = node.take("healthy")
    await _turn()
    assert not request.done()
    node.publication.taken(awake)
    assert not (await asyncio.wait_for(request, 1)).HasField("denied_response")


async def test_a_target_that_comes_while_the_service_is_asked_for_is_seen_at_once() -> None:
    node = Node(lambda: node.publication.taken(node.take("healthy")))
    node.take("draining")
    assert not (await asyncio.wait_for(node.asked(), 1)).HasField("denied_response")
