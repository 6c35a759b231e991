"""Network load balancers for real: targets see their clients, by TCP and by UDP."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from neargate.node.network import conntrack
from tests.e2e.conftest import Stack
from tests.e2e.test_balancer import Web, get
from tests.support import web_target
from tests.support.python_image import PYTHON, python_image
from tests.support.real import eventually

_PRESERVED = [{"Key": "preserve_client_ip.enabled", "Value": "true"}]


@pytest.fixture(scope="module")
def web(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    layout = python_image(tmp_path_factory.mktemp("network") / "image", Path(web_target.__file__))
    yield Web(stack, stack.daemon.push(layout, "network-target"))


class Network:
    """A network load balancer of one listener and one group, with two targets."""

    def __init__(self, web: Web, name: str, protocol: str, attributes: list[dict[str, str]]) -> None:
        self.web, self.protocol = web, protocol
        check = {
            "HealthCheckProtocol": "TCP",
            "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 2,
        }
        self.group = web.group(name, protocol, **check)
        web.elb.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=attributes)
        balancer = web.balancer(name, Type="network")
        web.listener(balancer, self.group, protocol=protocol)
        self.address = web.address(balancer)
        self.tasks = {task: web.target(task) for task in ("one", "two")}
        web.register(self.group, *(ip for _, ip in self.tasks.values()))
        eventually(lambda: answered(self.address, protocol), "the balancer knows its targets, a moment later")

    def leave(self, name: str) -> None:
        target = {"Id": self.tasks[name][1], "Port": 80}
        self.web.elb.deregister_targets(TargetGroupArn=self.group, Targets=[target])

    def end(self) -> None:
        for arn, _ in self.tasks.values():
            self.web.stack.stop(arn)

    def client(self, script: str, **more: Any) -> tuple[list[str], str]:
        """What a task says, and its address."""
        arn = self.web.stack.run({**self.web.stack.container(script), **more})
        task: dict[str, Any] = self.web.stack.wait(arn, "STOPPED")
        details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
        return self.web.stack.lines(arn, "main"), details["privateIPv4Address"]


def test_targets_see_their_clients_and_drain_when_these_have_gone(web: Web) -> None:
    network = Network(web, "kept", "TCP", _PRESERVED)
    url = f"http://{network.address}/"
    said, address = network.client(f"for n in 1 2 3; do wget -q -O - {url}peer; echo; done")
    assert said == [address] * 3
    eventually(lambda: {get(url)[1] for _ in range(12)} == {"hello from one", "hello from two"}, "both")
    with connect(f"ws://{network.address}/socket", proxy=None) as websocket:
        busy = next(name for name, (_, ip) in network.tasks.items() if ip == led_to(websocket.socket))
        network.leave(busy)
        other = "two" if busy == "one" else "one"
        eventually(lambda: {get(url)[1] for _ in range(12)} == {f"hello from {other}"}, "the other answers")
        web.stack.daemon.kill()
        web.stack.daemon.up()
        websocket.send("still")
        assert websocket.recv(timeout=60) == "still"
        assert (network.tasks[busy][1], "draining") in web.states(network.group)
    gone = {(network.tasks[other][1], "healthy")}
    eventually(lambda: web.states(network.group) == gone, "it is gone with its last connection")
    network.leave(other)
    eventually(lambda: closed(network.address), "nobody answers, and Envoy says so")
    network.end()


def answered(address: str, protocol: str) -> bool:
    """Whether a request is answered, and soon."""
    if protocol == "TCP":
        return get(f"http://{address}/", also=(7, 52, 56))[0] == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((address, 80))
        try:
            client.send(b"hello")
            return bool(client.recv(100))
        except OSError:
            return False


def closed(address: str) -> bool:
    """Whether a connection is closed as soon as it is made."""
    with socket.create_connection((address, 80), timeout=20) as client:
        client.settimeout(1)
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def led_to(client: socket.socket) -> str:
    """Where the kernel leads a connection of this machine's."""
    name = client.getsockname()
    flows = [flow for flow in conntrack.led() if flow.asked == client.getpeername() and flow.open]
    port = name[1].to_bytes(2, "big")
    return next(flow.target[0] for flow in flows if port in flow.name)


def test_by_default_targets_see_the_balancer(web: Web) -> None:
    network = Network(web, "unkept", "TCP", [])
    said, address = network.client(f"wget -q -O - http://{network.address}/peer")
    assert said != [address]
    network.end()


def test_a_flow_of_datagrams_stays_until_its_target_is_gone_or_dead(web: Web) -> None:
    delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "4"}]
    network = Network(web, "flows", "UDP", delay)
    asking = (
        f"s = socket.socket(2, 2); s.settimeout(20); s.connect(('{network.address}', 80)); s.send(b'hello')"
    )
    script = f"import socket; {asking}; print(s.recv(99).decode())"
    said, address = network.client(script, image=web.image, entryPoint=[str(PYTHON), "-S", "-B", "-c"])
    assert said[0].split()[1:] == [address]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect((network.address, 80))

        def asked() -> str:
            client.send(b"hello")
            return client.recv(100).decode().split()[0]

        first = asked()
        assert {asked() for _ in range(10)} == {first}
        network.leave(first)
        other = "two" if first == "one" else "one"
        eventually(lambda: asked() == other, "it is led to the other one")
        web.register(network.group, network.tasks[first][1])
        web.stack.stop(network.tasks[other][0])
        client.settimeout(1)

        def still_answered() -> bool:
            try:
                return asked() == first
            except OSError:  # nobody is there, or says so
                return False

        eventually(still_answered, "nor does it stay with one that is dead", 120)
    network.end()


def test_datagrams_go_by_the_weights_of_groups(web: Web) -> None:
    check = {"HealthCheckProtocol": "TCP", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
    groups = [web.group(name, "UDP", **check) for name in ("light", "heavy")]
    balancer = web.balancer("weights", Type="network")
    listener = web.listener(balancer, groups[0], protocol="UDP")
    address = web.address(balancer)

    def weigh(*weights: int) -> None:
        config = [{"TargetGroupArn": g, "Weight": w} for g, w in zip(groups, weights, strict=True)]
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": config}}
        web.elb.modify_listener(ListenerArn=listener, DefaultActions=[action])

    def answering() -> set[str]:
        """Of twelve datagrams; one that is lost while the balancer is told of a change is "lost"."""
        found = set()
        for _ in range(12):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.connect((address, 80))
                try:
                    client.send(b"hello")
                    found.add(client.recv(100).decode().split()[0])
                except OSError:
                    return {"lost"}
        return found

    weigh(1, 1)
    tasks = [web.target(name) for name in ("light", "heavy")]
    for group, (_, ip) in zip(groups, tasks, strict=True):
        web.register(group, ip)
    eventually(lambda: answering() == {"light", "heavy"}, "both answer", 90)
    weigh(0, 1)
    eventually(lambda: answering() == {"heavy"}, "all goes to the second group", 90)
    for arn, _ in tasks:
        web.stack.stop(arn)
