"""What a task could turn load balancing to: it may ask the door for any target at any address."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.test_balancer import Web, get, web_image
from tests.support.real import CHANCE, eventually

__all__ = ["web_image"]


@pytest.fixture(scope="module")
def web(stack: Stack, web_image: str) -> Iterator[Web]:
    yield Web(stack, web_image)


class Listening:
    """A server of this machine that notes who comes."""

    def __init__(self, address: str) -> None:
        self.server = socket.create_server((address, 0))
        self.port: int = self.server.getsockname()[1]
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, peer = self.server.accept()
                self.seen.append(peer[0])
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret")
                client.close()


@pytest.fixture
def lan_address() -> Iterator[str]:
    """One of this machine's own in a private network, as the one that a router gave it."""
    address = f"192.168.{CHANCE.randint(1, 250)}.{CHANCE.randint(1, 250)}"
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    yield address
    subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)


def test_no_target_leads_to_this_machine_itself(web: Web, lan_address: str) -> None:
    """Neither Envoy nor the health checks connect to it."""
    host = Listening(lan_address)
    balancer = web.balancer("to-host")
    group = web.group(
        "to-host", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, UnhealthyThresholdCount=2
    )
    tcp_balancer = web.balancer("to-host-tcp", Type="network")
    tcp = web.group(
        "to-host-tcp",
        "TCP",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        UnhealthyThresholdCount=2,
    )
    web.listener(balancer, group)
    web.listener(tcp_balancer, tcp, protocol="TCP")
    target = {"Id": lan_address, "Port": host.port, "AvailabilityZone": "all"}
    for each in (group, tcp):
        web.elb.register_targets(TargetGroupArn=each, Targets=[target])
        eventually(lambda each=each: web.states(each) == {(lan_address, "unhealthy")}, "it is unhealthy")
    eventually(lambda: get(f"http://{web.address(balancer)}/")[0] in (502, 503, 504), "nobody answers")
    with socket.create_connection((web.address(tcp_balancer), 80), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""
    host.server.close()
    assert host.seen == []


def test_a_task_finds_one_open_port_at_all_of_the_machines_addresses(web: Web) -> None:
    """At a balancer's, the gateway's, the resolver's and the daemon's: only what the balancer listens on."""
    daemon = web.stack.daemon
    balancer, group = web.balancer("ports"), web.group("ports")
    web.listener(balancer, group)
    address = web.address(balancer)
    eventually(lambda: get(f"http://{address}/")[0] == 503, "it listens")
    start = daemon.environment["NEARGATE_VPC_CIDR"].rpartition(".")[0]
    places = [address, *(f"{start}.{place}" for place in (1, 2, 3))]
    told = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    listening = {int(line.split()[3].rpartition(":")[2]) for line in told.splitlines()}
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        ports = sorted({80, 443, port, daemon.port, *list(listening - {53})[:40]})
        hosts, numbers = " ".join(places), " ".join(map(str, ports))
        ask = "nc -w 2 $host $port </dev/null >/dev/null 2>&1 && echo $host $port"
        script = f"for host in {hosts}; do for port in {numbers}; do ({ask}) & done; wait; done; echo end"
        task = web.stack.run(web.stack.container(script))
        web.stack.wait(task, "STOPPED", 200)
    assert web.stack.lines(task, "main") == [f"{address} 80", "end"]
