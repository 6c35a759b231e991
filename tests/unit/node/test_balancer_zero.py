"""Requests that wait for a service which is scaled to zero, and what is counted: with a real Envoy."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from neargate.kit.clock import SystemClock
from neargate.model import traffic
from neargate.model.balancer_rules_attributes import SCALE_TO_ZERO
from neargate.model.traffic import Between, Reading
from neargate.node.balancer import envoy
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.publication import Publication
from neargate.node.balancer.waking import Waking
from tests.support.envoy_rig import Rig, forward, group, listener, target
from tests.support.real import eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


ZERO = group("zero", attributes={SCALE_TO_ZERO: "true"})
PLAIN = group("plain")


def test_a_request_waits_until_a_target_is_there(rig: Rig) -> None:
    rig.woken.clear()
    front = listener(forward((ZERO, 1)))
    _, port = rig.web("woken")
    rig.publish(rig.view([front], [ZERO], []))
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(rig.get) for _ in range(5)]
        eventually(lambda: rig.woken, "the service is asked for")
        rig.publish(rig.view([front], [ZERO], [target(ZERO, port, "initial")]))
        assert not any(answer.done() for answer in asked)
        rig.publish(rig.view([front], [ZERO], [target(ZERO, port)]))
        assert {answer.result(20).body for answer in asked} == {"hello from woken"}
    assert rig.woken == [ZERO.arn]
    assert rig.get().body == "hello from woken"


def test_whoever_asks_while_it_falls_asleep_or_wakes_is_answered_by_a_target(rig: Rig) -> None:
    front = listener(forward((ZERO, 1)))
    _, port = rig.web("woken")
    rig.publish(rig.view([front], [ZERO], [target(ZERO, port)]))
    over = threading.Event()

    def ask() -> Counter[int]:
        with httpx.Client(trust_env=False, timeout=20) as client:
            found: Counter[int] = Counter()
            while not over.is_set():
                found[client.get(f"http://{rig.address}/").status_code] += 1
        return found

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        for _ in range(20):
            for state in ("draining", "healthy"):
                rig.publish(rig.view([front], [ZERO], [target(ZERO, port, state)]))
                time.sleep(0.02)
        over.set()
        statuses = sum((answers.result(20) for answers in asking), Counter())
    assert set(statuses) == {200}, statuses


def test_it_waits_for_longer_than_the_node_is_asked_whether_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(envoy._STILL_THERE, "interval", "0.1s")
    with Rig(tmp_path / "rig") as rig, ThreadPoolExecutor() as threads:
        rig.publish(rig.view([listener(forward((ZERO, 1)))], [ZERO]))
        asked = threads.submit(rig.get)
        time.sleep(2)
        rig.publish(rig.view([listener(forward((ZERO, 1)))], [ZERO], [target(ZERO, rig.web("woken")[1])]))
        assert asked.result(20).body == "hello from woken"
        stats = rig.do(rig.envoy.ask("/stats?filter=cluster.node.upstream_cx_destroy$"))
    assert stats == b"cluster.node.upstream_cx_destroy: 0\n"


def test_it_waits_through_a_restart_of_the_daemon(tmp_path: Path) -> None:
    with Rig(tmp_path / "rig") as rig, ThreadPoolExecutor() as threads:
        view = rig.view([listener(forward((ZERO, 1)))], [ZERO])
        rig.publish(view)
        before = threads.submit(rig.get)
        eventually(lambda: rig.woken, "the service is asked for")
        with gone(rig):
            meanwhile = threads.submit(rig.get)
            time.sleep(2)
            assert not before.done()
            assert not meanwhile.done()
        rig.woken.clear()
        rig.publish(view)
        eventually(lambda: rig.woken, "the service is asked for anew")
        rig.publish(rig.view([listener(forward((ZERO, 1)))], [ZERO], [target(ZERO, rig.web("woken")[1])]))
        assert before.result(20).body == meanwhile.result(20).body == "hello from woken"


@contextmanager
def gone(rig: Rig) -> Iterator[None]:
    """As a daemon goes, whose Envoy runs on, and as another comes, who knows nothing of it."""
    rig._loop.call_soon_threadsafe(rig._running.cancel)
    wait([rig._running], 20)
    rig.do(asyncio.sleep(0.1))
    yield
    rig.publication = Publication()
    rig.waking = Waking(cast("BalancerCell", rig), rig.publication, SystemClock())
    ready: Future[None] = Future()
    rig._running = asyncio.run_coroutine_threadsafe(rig._run(ready), rig._loop)
    ready.result(20)


def test_it_waits_in_a_group_among_others_too(rig: Rig) -> None:
    rig.woken.clear()
    front = listener(forward((ZERO, 999), (PLAIN, 0)))
    rig.publish(rig.view([front], [ZERO, PLAIN], []))
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(rig.get)
        eventually(lambda: rig.woken == [ZERO.arn], "the service is asked for")
        rig.publish(rig.view([front], [ZERO, PLAIN], [target(ZERO, rig.web("woken")[1])]))
        assert asked.result(20).body == "hello from woken"


def test_other_groups_do_not_wait(rig: Rig) -> None:
    rig.woken.clear()
    rig.publish(rig.view([listener(forward((PLAIN, 1)))], [PLAIN], []))
    assert rig.get().status == 503
    assert rig.woken == []


def reading(rig: Rig) -> Reading:
    """As node/balancer/counters.py reads it."""
    counters = rig.do(rig.envoy.ask(f"/stats?usedonly&filter={traffic.quoted(traffic.COUNTERS)}"))
    times = rig.do(rig.envoy.ask(f"/stats/prometheus?usedonly&filter={traffic.quoted(traffic.TIMES)}"))
    return Reading.of(counters.decode(), times.decode())


def test_what_envoy_counts_becomes_metrics(rig: Rig) -> None:
    _, port = rig.web("it")
    view = rig.view(
        [listener(forward((PLAIN, 1)))],
        [PLAIN],
        [target(PLAIN, port), target(PLAIN, rig.free_port(), "unhealthy")],
    )
    rig.publish(view)
    before = reading(rig)
    for path, times in (("/", 5), ("/status?404", 2), ("/status?503", 1)):
        for _ in range(times):
            rig.get(path)
    rig.publish(rig.view([listener(forward((PLAIN, 1)))], [PLAIN], [target(PLAIN, rig.free_port())]))
    assert rig.get().status == 502
    found = {}

    def all_there() -> bool:
        """Histograms are merged a moment later."""
        points = traffic.points(view, Between(before, reading(rig)), 60.0)
        found.clear()
        found.update(
            {(p.metric.name, tuple(k for k, _ in p.metric.dimensions)): p.summary.sum for p in points}
        )
        return ("TargetResponseTime", ("LoadBalancer",)) in found

    eventually(all_there, "the times are there")
    own, both = ("LoadBalancer",), ("LoadBalancer", "TargetGroup")
    assert found["RequestCount", own] == found["RequestCount", both] == 9
    assert found["HTTPCode_Target_2XX_Count", own] == 5
    assert found["HTTPCode_Target_4XX_Count", both] == 2
    assert found["HTTPCode_Target_5XX_Count", both] == 1
    assert found["HTTPCode_ELB_5XX_Count", own] == 1
    assert found["HealthyHostCount", both] == found["UnHealthyHostCount", both] == 1
    assert found["RequestCountPerTarget", ("TargetGroup",)] == 9
    assert found["ProcessedBytes", own] > 1000
