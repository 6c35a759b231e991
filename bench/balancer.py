"""Requests through the load balancer beside a hand-configured minimal Envoy in front of the same targets.

Both Envoys run at once, are given the same cores and are asked in turns, so that what else the machine does
falls on both; the targets are a third Envoy that answers by itself. Then: how long a new target takes to get
its first request, and a gone one to get its last. Load: wrk.
"""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import Figure, median
from neargate.node.balancer.envoy import program
from tests.support.envoy_rig import Rig, forward, group, listener, target

_ROUNDS, _SECONDS, _CONNECTIONS = 5, 2, 32
_GROUP = group("bench")


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        with (
            Rig(directory / "rig") as rig,
            _upstreams(directory) as ports,
            _minimal(directory, ports) as plain,
        ):
            rig.publish(
                rig.view([listener(forward((_GROUP, 1)))], [_GROUP], [target(_GROUP, p) for p in ports])
            )
            return [*_throughput(rig, plain), *_changes(rig, ports)]


def _throughput(rig: Rig, plain: str) -> list[Figure]:
    ours, theirs = f"http://{rig.address}/", plain
    for url in (ours, theirs):
        _wrk(url, 1)
    rates: dict[str, list[float]] = {ours: [], theirs: []}
    tails: dict[str, list[float]] = {ours: [], theirs: []}
    for at in range(_ROUNDS):
        for url in (ours, theirs) if at % 2 else (theirs, ours):
            rate, p99 = _wrk(url, _SECONDS)
            rates[url].append(rate)
            tails[url].append(p99)
    note = f"{_ROUNDS} rounds of {_SECONDS} s in turns, {_CONNECTIONS} connections"
    return [
        Figure("requests through the balancer", median(rates[ours]), "/s", note=note),
        Figure("requests through a minimal Envoy", median(rates[theirs]), "/s"),
        Figure("their ratio", median(rates[ours]) / median(rates[theirs]), "", ">= 0.95"),
        Figure("p99 through the balancer", median(tails[ours]), "ms"),
        Figure("p99 through a minimal Envoy", median(tails[theirs]), "ms"),
        Figure("their ratio", median(tails[ours]) / median(tails[theirs]), "", "<= 1.1"),
    ]


def _wrk(url: str, seconds: int) -> tuple[float, float]:
    """Requests per second and the 99th percentile in milliseconds."""
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in told, told
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    tail = re.search(r"99%\s+([0-9.]+)(us|ms|s)", told)
    assert rate and tail, told
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]]


def _changes(rig: Rig, ports: Sequence[int]) -> list[Figure]:
    """From the moment that a view has another target, until requests go there and nowhere else."""
    taken = []
    for at in range(20):
        name = f"number-{at}"
        _, port = rig.web(name)
        view = rig.view([listener(forward((_GROUP, 1)))], [_GROUP], [target(_GROUP, port)])
        began = time.perf_counter()
        rig.publish(view)
        while rig.get().headers.get("x-name") != name:
            continue
        taken.append((time.perf_counter() - began) * 1000)
    note = "until its first answer, curl's start included"
    return [
        Figure("a new target, and the end of the one before", median(taken), "ms", "<= 100", note),
        Figure("the slowest of 20", max(taken), "ms", "<= 100"),
    ]


@contextmanager
def _upstreams(directory: Path) -> Iterator[list[int]]:
    """Two targets that answer at once."""
    ports = [18_901, 18_902]
    answer = {"status": 200, "body": {"inline_string": "x" * 512}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    listeners = [_listener(port, {"virtual_hosts": [host]}) for port in ports]
    with _envoy(directory / "upstreams.json", {"listeners": listeners}):
        yield ports


@contextmanager
def _minimal(directory: Path, ports: Sequence[int]) -> Iterator[str]:
    """As the first page of Envoy's manual has it."""
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    cluster = {
        "name": "targets",
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "targets", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "targets"}}],
    }
    resources = {"listeners": [_listener(18_900, {"virtual_hosts": [host]})], "clusters": [cluster]}
    with _envoy(directory / "minimal.json", resources):
        yield "http://127.0.0.1:18900/"


def _listener(port: int, routes: dict[str, Any]) -> dict[str, Any]:
    package = "type.googleapis.com/envoy.extensions.filters"
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{package}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{package}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": routes,
        "http_filters": [router],
    }
    return {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}],
    }


@contextmanager
def _envoy(path: Path, resources: dict[str, Any]) -> Iterator[None]:
    path.write_text(json.dumps({"static_resources": resources}))
    command = [str(program()), "-c", str(path), "--concurrency", "2", "--disable-hot-restart", "-l", "error"]
    # Of its own session, as ours is: the scheduler shares processors out between sessions.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        time.sleep(1)
        assert process.poll() is None
        yield
    finally:
        process.terminate()
        process.wait(20)
