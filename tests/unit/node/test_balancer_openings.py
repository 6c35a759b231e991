"""A listener whose port a program of this machine has: a real Envoy that cannot open it, and then can."""

import asyncio
import queue
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from neargate.kit.clock import SystemClock
from neargate.model.balancing import View
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.openings import Openings
from tests.support.envoy_rig import BALANCER, Rig, forward, group, listener, target

pytestmark = pytest.mark.root
ONE = group("one")


class Told:
    """In place of the control plane."""

    def __init__(self) -> None:
        self.reasons: queue.Queue[Mapping[str, str]] = queue.Queue()

    async def report_balancers(self, reasons: Mapping[str, str]) -> None:
        self.reasons.put(reasons)

    def wait(self, beginning: str) -> str:
        """Until a reason begins so; nothing at all is asked for as such."""
        while True:
            reason = self.reasons.get(timeout=60)[BALANCER]
            if reason.startswith(beginning) and bool(reason) == bool(beginning):
                return reason


class Running:
    """A rig whose openings are watched."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.told = rig, Told()
        self.openings = Openings(cast("BalancerCell", self.told), rig.publication, SystemClock())

    def publish(self, view: View) -> None:
        async def tell() -> None:
            number = self.rig.publication.publish(self.rig.translator.resources(view))
            self.openings.take(view, number)
            await self.rig.publication.applied(number)

        self.rig.do(tell())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Rig(tmp_path) as rig:
        made = Running(rig)

        async def begin() -> "asyncio.Task[None]":
            return asyncio.create_task(made.openings.run())

        task = rig.do(begin())
        yield made
        rig._loop.call_soon_threadsafe(task.cancel)


def test_a_taken_port_is_told_and_heals(running: Running) -> None:
    rig = running.rig
    taken = rig.free_port()
    listeners = [listener(forward((ONE, 1))), listener(forward((ONE, 1)), port=taken)]
    view = rig.view(listeners, [ONE], [target(ONE, rig.web("it")[1])])
    with socket.create_server(("0.0.0.0", taken)):
        running.publish(view)
        reason = running.told.wait(f"Listener {taken}/HTTP: ")
        assert f"{rig.address}:{taken}" in reason
        assert "Address already in use" in reason
        assert rig.get().body == "hello from it"
        # As the control plane has it now.
        impaired = replace(view.balancers[BALANCER], state="active_impaired", state_reason=reason)
        running.publish(replace_balancer(view, impaired))
    running.told.wait("")
    soon = ("--retry", "3", "--retry-connrefused")  # Envoy's threads listen just after it says that they do
    assert rig.get("/", *soon, port=taken).body == "hello from it"


def test_what_heals_while_no_daemon_ran_is_told(running: Running) -> None:
    rig = running.rig
    view = rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1])])
    impaired = replace(view.balancers[BALANCER], state="active_impaired", state_reason="as it was")
    running.publish(replace_balancer(view, impaired))
    running.told.wait("")


def test_a_listener_that_is_deleted_is_no_longer_a_reason(running: Running) -> None:
    rig = running.rig
    taken = rig.free_port()
    with socket.create_server((rig.address, taken)):
        view = rig.view([listener(forward((ONE, 1)), port=taken)], [ONE])
        running.publish(view)
        reason = running.told.wait("Listener ")
        impaired = replace(view.balancers[BALANCER], state_reason=reason)
        running.publish(replace_balancer(rig.view([], [ONE]), impaired))
        running.told.wait("")


def replace_balancer(view: View, balancer: object) -> View:
    return View({BALANCER: balancer}, view.listeners, view.rules, view.groups, view.targets, {})  # type: ignore[dict-item]
