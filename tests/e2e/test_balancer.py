"""Load balancers for real: Envoy in front of containers, from the machine and from other tasks."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from neargate.kit.instance import instance_of
from neargate.node.network.balancers import PROTOCOL
from tests.e2e.conftest import Stack
from tests.support import web_target
from tests.support.python_image import python_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually

_REFUSED = 7
_DYING = (_REFUSED, 52, 56)
"""Of a server that dies meanwhile: refused, no answer, reset."""


class Web:
    """A load balancer with a listener, and tasks to put behind it."""

    def __init__(self, stack: Stack, image: str) -> None:
        self.stack = stack
        self.image = image
        self.elb = stack.daemon.client("elbv2")
        self.vpc = stack.daemon.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]

    def balancer(self, name: str, **more: Any) -> dict[str, Any]:
        made = self.elb.create_load_balancer(Name=name, Subnets=self.stack.subnets[:2], **more)
        found: dict[str, Any] = made["LoadBalancers"][0]
        return found

    def address(self, balancer: dict[str, Any]) -> str:
        """Of its interface: ec2 tells which are a balancer's."""
        where = [
            {"Name": "description", "Values": [f"ELB {'/'.join(balancer['LoadBalancerArn'].split('/')[1:])}"]}
        ]
        found = self.stack.daemon.client("ec2").describe_network_interfaces(Filters=where)
        address: str = found["NetworkInterfaces"][0]["PrivateIpAddress"]
        return address

    def group(self, name: str, protocol: str = "HTTP", port: int = 80, **more: Any) -> str:
        made = self.elb.create_target_group(
            Name=name, Protocol=protocol, Port=port, VpcId=self.vpc, TargetType="ip", **more
        )
        arn: str = made["TargetGroups"][0]["TargetGroupArn"]
        return arn

    def listener(
        self, balancer: dict[str, Any], group: str, port: int = 80, protocol: str = "HTTP", **more: Any
    ) -> str:
        made = self.elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Protocol=protocol,
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
            **more,
        )
        arn: str = made["Listeners"][0]["ListenerArn"]
        return arn

    def target(self, name: str) -> tuple[str, str]:
        """A running task of the web server; its ARN and address."""
        container = {
            "name": "main",
            "image": self.image,
            "environment": [{"name": "NAME", "value": name}],
            "stopTimeout": 2,
        }
        arn = self.stack.run(container)
        task = self.stack.wait(arn, "RUNNING")
        details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
        return arn, details["privateIPv4Address"]

    def register(self, group: str, *addresses: str) -> None:
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": a, "Port": 80} for a in addresses])
        eventually(lambda: self.states(group) >= {(a, "healthy") for a in addresses}, f"{addresses} healthy")

    def states(self, group: str) -> set[tuple[str, str]]:
        told = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {(t["Target"]["Id"], t["TargetHealth"]["State"]) for t in told}


def get(url: str, *options: str, also: tuple[int, ...] = (_REFUSED,)) -> tuple[int, str]:
    """Status and body; status 0 where nobody listens, or curl ends with one of `also`."""
    command = ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", *options, url]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, *also), done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.fixture(scope="session")
def web_image(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = python_image(tmp_path_factory.mktemp("web") / "image", Path(web_target.__file__))
    return stack.daemon.push(layout, "web-target")


@pytest.fixture(scope="module")
def web(stack: Stack, web_image: str) -> Iterator[Web]:
    yield Web(stack, web_image)


def test_requests_reach_the_targets_from_the_machine_and_from_tasks(web: Web) -> None:
    balancer, group = web.balancer("first"), web.group("first")
    web.listener(balancer, group)
    address = web.address(balancer)
    eventually(lambda: get(f"http://{address}/")[0] == 503, "no target: 503")
    one, ip_one = web.target("one")
    two, ip_two = web.target("two")
    web.register(group, ip_one, ip_two)
    both = {(200, "hello from one"), (200, "hello from two")}  # Envoy is told a moment after their state
    eventually(lambda: {get(f"http://{address}/") for _ in range(8)} == both, "both answer")
    status, seen = get(f"http://{address}/echo")
    assert status == 200
    assert "x-forwarded-port: 80" in seen.lower()
    task = web.stack.run(web.stack.container(f"wget -q -O - http://{address}/"))
    web.stack.wait(task, "STOPPED")
    assert web.stack.lines(task, "main")[0] in ("hello from one", "hello from two")
    for arn in (one, two):
        web.stack.stop(arn)


def test_tasks_reach_listeners_and_nothing_else_at_a_balancers_address(web: Web) -> None:
    """A server of the machine on all addresses is at the balancer's too, but not for tasks."""
    balancer, group = web.balancer("shut"), web.group("shut")
    web.listener(balancer, group)
    address = web.address(balancer)
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        eventually(lambda: get(f"http://{address}/")[0] == 503, "it listens")
        ask = "nc -w 3 {} {} </dev/null >/dev/null 2>&1 && echo open || echo shut"
        script = f"{ask.format(address, 80)}; {ask.format(address, port)}"
        task = web.stack.run(web.stack.container(script))
        web.stack.wait(task, "STOPPED")
    assert web.stack.lines(task, "main") == ["open", "shut"]


def test_a_port_that_a_program_has_is_told_and_opened_when_it_is_free(web: Web) -> None:
    balancer, group = web.balancer("taken"), web.group("taken")
    address = web.address(balancer)

    def state() -> dict[str, str]:
        told = web.elb.describe_load_balancers(LoadBalancerArns=[balancer["LoadBalancerArn"]])
        found: dict[str, str] = told["LoadBalancers"][0]["State"]
        return found

    with socket.create_server(("0.0.0.0", 0)) as program:
        port = program.getsockname()[1]
        web.listener(balancer, group, port)
        web.listener(balancer, group)
        eventually(lambda: state()["Code"] == "active_impaired", "it cannot listen")
        assert re.search(rf"cannot bind '[0-9.]+:{port}': Address already in use", state()["Reason"])
        eventually(lambda: get(f"http://{address}/")[0] == 503, "its other listener is open")
    eventually(lambda: state() == {"Code": "active"}, "it listens", 120)
    assert get(f"http://{address}:{port}/")[0] == 503


def test_a_killed_daemon_costs_no_connection(web: Web) -> None:
    """The next one finds Envoy, its targets and their states again; what changed meanwhile is taken up."""
    daemon = web.stack.daemon
    balancer, group = web.balancer("outlives"), web.group("outlives")
    web.listener(balancer, group)
    address = web.address(balancer)
    tasks = [web.target(name) for name in ("one", "two")]
    web.register(group, *(ip for _, ip in tasks))
    envoy = envoy_pid(daemon)
    with connect(f"ws://{address}/socket", proxy=None) as socket, Asking(address) as asking:
        socket.send("before")
        assert socket.recv(timeout=60) == "before"
        daemon.kill()
        socket.send("without")
        assert socket.recv(timeout=60) == "without"
        seen = asking.answered
        eventually(lambda: asking.answered > seen + 20, "requests are answered without a daemon")
        daemon.up()
        assert web.states(group) == {(ip, "healthy") for _, ip in tasks}
        web.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": tasks[0][1], "Port": 80}])
        eventually(lambda: get(f"http://{address}/")[1] == "hello from two", "the change is taken up")
        socket.send("after")
        assert socket.recv(timeout=60) == "after"
    assert asking.failed == []
    assert envoy_pid(daemon) == envoy
    for arn, _ in tasks:
        web.stack.stop(arn)


def test_a_killed_envoy_is_started_again(web: Web) -> None:
    balancer, group = web.balancer("again"), web.group("again")
    web.listener(balancer, group)
    address = web.address(balancer)
    arn, ip = web.target("one")
    web.register(group, ip)
    os.kill(envoy_pid(web.stack.daemon), signal.SIGKILL)
    hello = (200, "hello from one")
    eventually(lambda: get(f"http://{address}/", also=_DYING) == hello, "requests are answered again")
    web.stack.stop(arn)


def test_targets_turn_unhealthy_and_drain(web: Web) -> None:
    balancer = web.balancer("health")
    group = web.group(
        "health",
        HealthCheckPath="/status?404",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        UnhealthyThresholdCount=2,
    )
    web.listener(balancer, group)
    arn, ip = web.target("one")
    web.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": ip, "Port": 80}])

    def health() -> dict[str, str]:
        told = web.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        found: dict[str, str] = told[0]["TargetHealth"] if told else {}
        return found

    eventually(lambda: health().get("State") == "unhealthy", "it is unhealthy")
    assert health()["Reason"] == "Target.ResponseCodeMismatch"
    assert health()["Description"] == "Health checks failed with these codes: [404]"
    address = web.address(balancer)
    with connect(f"ws://{address}/socket", proxy=None) as socket:
        web.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": ip, "Port": 80}])
        eventually(lambda: get(f"http://{address}/")[0] == 503, "no new requests")
        time.sleep(2)  # longer than one with nothing to do would be kept
        assert health()["State"] == "draining"
        socket.send("still")
        assert socket.recv(timeout=60) == "still"
    eventually(lambda: not health(), "it is gone with its last connection")
    web.stack.stop(arn)


def test_nothing_is_left_when_the_last_balancer_goes(tmp_path: Path) -> None:
    with RealDaemon(tmp_path / "data") as daemon:
        elb, ec2 = daemon.client("elbv2"), daemon.client("ec2")
        subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]]
        arn = elb.create_load_balancer(Name="short", Subnets=subnets[:2])["LoadBalancers"][0][
            "LoadBalancerArn"
        ]
        eventually(lambda: envoy_pid(daemon), "Envoy runs")
        eventually(lambda: len(own_routes(daemon)) == 2, "it has its addresses")
        elb.delete_load_balancer(LoadBalancerArn=arn)
        eventually(
            lambda: not envoy_pid(daemon) and not own_routes(daemon), "Envoy and its addresses are gone"
        )
        elb.create_load_balancer(Name="again", Subnets=subnets[:2])
        eventually(lambda: envoy_pid(daemon), "Envoy runs")
    assert envoy_pid(daemon) == 0
    assert own_routes(daemon) == []
    assert_nothing_left(tmp_path / "data")


def envoy_pid(daemon: RealDaemon) -> int:
    """0: none runs."""
    file = Path("/run/neargate") / instance_of(daemon.data_dir) / "envoy/envoy.pid"
    pid = int(json.loads(file.read_text())["pid"]) if file.exists() else 0
    return pid if pid and Path(f"/proc/{pid}").exists() else 0


def own_routes(daemon: RealDaemon) -> list[str]:
    """Balancers' addresses on this machine, within the daemon's range."""
    command = ["ip", "-4", "route", "show", "table", "local", "proto", str(PROTOCOL)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    start = ".".join(daemon.environment["NEARGATE_VPC_CIDR"].split(".")[:2]) + "."
    return [line for line in told.splitlines() if f"local {start}" in line]


class Asking:
    """Requests one after another on a thread, while the block runs."""

    def __init__(self, address: str) -> None:
        self.answered, self.failed = 0, list[str]()
        self._url = f"http://{address}/"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._over.is_set():
                try:
                    client.get(self._url).raise_for_status()
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
