"""Health checks against real servers, with time that the tests drive; and targets that leave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from msgspec.structs import replace

from neargate.kit.clock import ManualClock, SystemClock
from neargate.model.balancer import HealthCheck, Target, TargetGroup
from neargate.model.balancing import EMPTY, View
from neargate.model.metric import Point
from neargate.model.target_health import SUCCESS, Outcome
from neargate.node.balancer.base import Judged
from neargate.node.balancer.checker import Checker
from neargate.node.balancer.connections import busy
from neargate.node.balancer.drain import Drain
from neargate.node.balancer.probes import probe
from tests.support.envoy_rig import Rig, group, target
from tests.support.web_target import WebTarget

CHECK = HealthCheck(interval=10, timeout=2, healthy_threshold=2, unhealthy_threshold=2)
GROUP = group("checked", health_check=CHECK)


class Told:
    """What the control plane hears."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []
        self.forgotten: list[Target] = []

    async def balancing(self, after: int) -> tuple[int, View]:
        raise AssertionError("not asked here")

    async def report_targets(self, judged: Sequence[Judged]) -> None:
        self.judged += judged

    async def forget_targets(self, drained: Sequence[Target]) -> None:
        self.forgotten += drained

    async def wake(self, group_arn: str) -> None:
        raise AssertionError("not asked here")

    async def put_access_log(
        self, balancer_arn: str, key: str, data: bytes, attributes: str = "access_logs"
    ) -> None:
        raise AssertionError("not asked here")

    async def put_traffic(self, points: Sequence[Point], asked: Sequence[str]) -> None:
        raise AssertionError("not asked here")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - real servers answer
            await asyncio.sleep(0.01)


def view(*targets: Target, of: TargetGroup = GROUP) -> View:
    found = {f"{it.address}:{it.port}": it for it in targets}
    return View({}, {}, {}, {of.arn: of}, found, {})


@asynccontextmanager
async def checking(told: Told, clock: ManualClock) -> AsyncIterator[Checker]:
    checker, ready = Checker(told, clock), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(checker.run(ready))
        await ready.wait()
        try:
            yield checker
        finally:
            running.cancel()


@asynccontextmanager
async def web(port: int = 0) -> AsyncIterator[int]:
    async with await asyncio.start_server(WebTarget("it").serve, "127.0.0.1", port) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_new_target_is_healthy_with_its_first_answer() -> None:
    told = Told()
    async with web() as port, checking(told, ManualClock()) as checker:
        checker.take(view(target(GROUP, port, "initial")))
        await until(lambda: told.judged)
    assert [judged.verdict.state for judged in told.judged] == ["healthy"]


async def test_a_target_that_listens_late_is_found_soon() -> None:
    """Long before the interval is over."""
    told, clock, port = Told(), ManualClock(), Rig.free_port()
    async with checking(told, clock) as checker:
        checker.take(view(target(GROUP, port, "initial")))
        for _ in range(3):
            await asyncio.sleep(0.05)
            clock.advance(0.2)
        assert told.judged == []
        async with web(port):
            while not told.judged:
                await asyncio.sleep(0.02)
                clock.advance(0.2)
    assert clock.now() - ManualClock().now() < CHECK.interval
    assert told.judged[0].verdict.state == "healthy"


async def test_a_target_that_never_listens_is_unhealthy_after_its_threshold() -> None:
    told, clock = Told(), ManualClock()
    began = clock.now()
    async with checking(told, clock) as checker:
        checker.take(view(target(GROUP, Rig.free_port(), "initial")))
        while not told.judged:
            await asyncio.sleep(0.005)
            clock.advance(0.5)
            assert clock.now() - began < 60
    assert told.judged[0].verdict.reason == "Target.FailedHealthChecks"
    assert clock.now() - began >= CHECK.interval * CHECK.unhealthy_threshold


async def test_known_states_are_kept_and_a_dead_target_is_noticed() -> None:
    told, clock, port = Told(), ManualClock(), Rig.free_port()
    async with checking(told, clock) as checker:
        checker.take(view(target(GROUP, port, "healthy")))
        await asyncio.sleep(0.05)
        assert told.judged == []
        while not told.judged:
            await asyncio.sleep(0.01)
            clock.advance(5)
    assert told.judged[0].verdict.state == "unhealthy"


async def test_what_nobody_uses_or_what_drains_is_not_checked() -> None:
    told, clock = Told(), ManualClock()
    async with web() as port, checking(told, clock) as checker:
        checker.take(view(target(GROUP, port, "initial"), of=replace(GROUP, balancer_arns=())))
        checker.take(view(target(GROUP, port, "draining")))
        checker.take(EMPTY)
        for _ in range(5):
            await asyncio.sleep(0.02)
            clock.advance(20)
    assert told.judged == []


PROBES = [
    ({"path": "/"}, SUCCESS),
    ({"path": "/status?204", "matcher": "200-299"}, SUCCESS),
    ({"path": "/status?404", "matcher": "200,302"}, Outcome("Target.ResponseCodeMismatch", "404")),
    ({"path": "/slow?30", "timeout": 1}, Outcome("Target.Timeout")),
    ({"protocol": "TCP"}, SUCCESS),
    ({"protocol": "HTTPS", "timeout": 1}, Outcome("Target.Timeout")),
]


@pytest.mark.parametrize(("given", "outcome"), PROBES)
async def test_probes(given: dict[str, object], outcome: Outcome) -> None:
    async with web() as port:
        checked = replace(GROUP, health_check=replace(CHECK, **given))
        assert await probe(target(checked, port), checked) == outcome


@pytest.mark.parametrize(
    ("matcher", "outcome"),
    [("12", SUCCESS), ("0-99", SUCCESS), ("0-1", Outcome("Target.ResponseCodeMismatch", "12"))],
)
async def test_probes_of_grpc(matcher: str, outcome: Outcome) -> None:
    """The server knows no such method, which is AWS's default success."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    check = replace(CHECK, path="/AWS.ALB/healthcheck", matcher=matcher)
    checked = replace(GROUP, protocol_version="GRPC", health_check=check)
    try:
        assert await probe(target(checked, port), checked) == outcome
    finally:
        await server.stop(0)


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
async def test_a_probe_of_nobody(protocol: str) -> None:
    checked = replace(GROUP, health_check=replace(CHECK, protocol=protocol))
    assert await probe(target(checked, Rig.free_port()), checked) == Outcome("Target.FailedHealthChecks")


async def test_the_delay_ends_what_still_has_connections() -> None:
    told, clock = Told(), ManualClock()
    leaving = replace(target(GROUP, 80, "draining"), draining_at=clock.now())
    drain = Drain(told, clock, lambda places: set(places))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(drain.run())
        drain.take(view(leaving))
        for _ in range(20):
            await asyncio.sleep(0.01)
            clock.advance(10)
        assert told.forgotten == []
        while not told.forgotten:
            await asyncio.sleep(0.01)
            clock.advance(10)
        running.cancel()
    assert clock.now() - (leaving.draining_at or 0) >= 300


async def test_a_target_with_nothing_left_to_answer_goes_at_once() -> None:
    told, clock = Told(), SystemClock()
    async with web() as port:
        leaving = replace(target(GROUP, port, "draining"), draining_at=clock.now())
        drain = Drain(told, clock, busy)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(drain.run())
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            drain.take(view(leaving))
            await asyncio.sleep(1.5)
            assert told.forgotten == []
            writer.close()
            await writer.wait_closed()
            await until(lambda: told.forgotten == [leaving])
            running.cancel()


def test_connections_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    line = "   {}: 0100007F:9C40 {} {} 00000000:00000000 00:00000000 00000000     0        0 1\n"
    table.write_text(
        "  sl  local_address rem_address   st\n"
        + line.format(0, "0501000A:0050", "01")
        + line.format(1, "0601000A:0050", "06")
        + line.format(2, "0501000A:0051", "02")
    )
    places = [("10.0.1.5", 80), ("10.0.1.6", 80), ("10.0.1.5", 81), ("10.0.1.9", 80)]
    assert busy(places, table) == {("10.0.1.5", 80), ("10.0.1.5", 81)}
