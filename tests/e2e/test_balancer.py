"""Load balancers for real: Envoy in front of containers, from the machine and from other tasks."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support import web_target
from tests.support.python_image import python_image
from tests.support.real import eventually

_REFUSED = 7


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


def get(url: str, *options: str) -> tuple[int, str]:
    """Status and body; status 0 where nobody listens."""
    command = ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", *options, url]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, _REFUSED), done.stderr
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
    answers = {get(f"http://{address}/") for _ in range(8)}
    assert answers == {(200, "hello from one"), (200, "hello from two")}
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
