"""The firewall's part in load balancing, with a real kernel: what Envoy's user and a task may reach."""

import asyncio
import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from neargate.node.network import firewall
from neargate.node.network.interface import prefix
from neargate.node.network.reach import may_be_checked
from neargate.node.shares.tree import become
from tests.support.real import CHANCE

pytestmark = pytest.mark.root
_START = f"198.{CHANCE.randint(18, 19)}.{CHANCE.randint(0, 250)}"
_ACCEPT = """
import socket, sys
server = socket.create_server((sys.argv[1], 80))
print("listens", flush=True)
while True: server.accept()[0].close()
"""
_HOLD = """
import socket, sys
held, refused = [], 0
for turn in range(9):
    try: held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5))
    except ConnectionRefusedError: refused += 1
print(len(held), refused, flush=True)
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Task:
    """A network namespace behind an interface, as a task's is, with a server at port 80."""

    def __init__(self, instance: str, number: int) -> None:
        self.space = f"r{instance}{number}"
        self.link = f"{prefix(instance)}t{number}"
        self.address, self.gateway = f"{_START}.{number}", f"{_START}.1"
        ip("netns", "add", self.space)
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("address", "add", f"{self.gateway}/32", "dev", self.link)
        ip("link", "set", self.link, "up")
        ip("route", "add", f"{self.address}/32", "dev", self.link, "src", self.gateway)
        for inside in (
            ("address", "add", f"{self.address}/32", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", f"{self.gateway}/32", "dev", "eth0"),
            ("route", "add", "default", "via", self.gateway),
        ):
            ip("-n", self.space, *inside)
        self.server = self.python(_ACCEPT, self.address)
        assert self.server.stdout
        assert self.server.stdout.readline() == b"listens\n"

    def python(self, code: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = ["ip", "netns", "exec", self.space, sys.executable, "-I", "-S", "-c", code, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def close(self) -> None:
        self.server.kill()
        self.server.communicate()
        ip("netns", "delete", self.space)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "delete", self.link)


@pytest.fixture
async def instance() -> AsyncIterator[str]:
    instance = secrets.token_hex(3)
    await firewall.install(instance, f"{_START}.0/24")
    yield instance
    await firewall.remove(instance)


@pytest.fixture
def task(instance: str) -> Iterator[Task]:
    task = Task(instance, 7)
    yield task
    task.close()


@pytest.fixture
def stranger() -> Iterator[Task]:
    """Another daemon's."""
    task = Task(secrets.token_hex(3), 8)
    yield task
    task.close()


def reaches(user: int, address: str, port: int) -> bool:
    become(user, user)
    try:
        client = socket.socket()
    finally:
        become(0, 0)
    with client:
        client.settimeout(10)
        return client.connect_ex((address, port)) == 0


def test_requests_are_carried_to_tasks_alone(instance: str, task: Task, stranger: Task) -> None:
    carrier = firewall.carrier(instance)
    with socket.create_server(("0.0.0.0", 0)) as host:
        port = host.getsockname()[1]
        for address in ("127.0.0.1", "127.8.8.8", task.gateway):
            assert reaches(0, address, port)
            assert not reaches(carrier, address, port)
            assert not may_be_checked(instance, address)
    assert reaches(carrier, task.address, 80)
    assert may_be_checked(instance, task.address)
    assert reaches(0, stranger.address, 80)
    assert not reaches(carrier, stranger.address, 80)
    assert not may_be_checked(instance, stranger.address)
    for address in ("169.254.169.254", "169.254.170.2", "0.0.0.0"):
        assert not reaches(carrier, address, 80)
        assert not may_be_checked(instance, address)


async def test_a_task_has_so_many_connections_and_no_more(
    instance: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall, "_CONNECTIONS", 4)
    with socket.create_server((task.gateway, 0)) as host:
        port = host.getsockname()[1]
        await firewall.open_balancers(instance, [(task.gateway, "tcp", port)])
        holding = task.python(_HOLD, task.gateway, str(port))
        output, _ = await asyncio.to_thread(holding.communicate)
        assert output == b"4 5\n"
        for _ in range(4):
            host.accept()[0].close()  # both sides have ended it
        again = task.python(_HOLD, task.gateway, str(port))
        output, _ = await asyncio.to_thread(again.communicate)
    assert output == b"4 5\n"
