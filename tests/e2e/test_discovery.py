"""Names for real: tasks find instances, each other and load balancers by DNS; the daemon may come and go."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually, nothing_left

HOSTS = Path("/etc/hosts")


class Space:
    """A private namespace with a service of A records."""

    def __init__(self, daemon: RealDaemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.client = daemon.client("servicediscovery")
        vpc = daemon.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = self.client.create_private_dns_namespace(Name=name, Vpc=vpc)
        operation = self.client.get_operation(OperationId=made["OperationId"])["Operation"]
        self.id = operation["Targets"]["NAMESPACE"]

    def service(self, name: str, *kinds: str) -> str:
        records = [{"Type": kind, "TTL": 5} for kind in kinds]
        made = self.client.create_service(
            Name=name,
            NamespaceId=self.id,
            DnsConfig={"DnsRecords": records},
            HealthCheckCustomConfig={},
        )
        return str(made["Service"]["Id"])

    def register(self, service: str, id: str, **attributes: str) -> None:
        self.client.register_instance(ServiceId=service, InstanceId=id, Attributes=attributes)


@pytest.fixture
def space(stack: Stack) -> Iterator[Space]:
    space = Space(stack.daemon, f"e{os.urandom(3).hex()}.test")
    yield space
    for service in space.client.list_services()["Services"]:
        for instance in space.client.list_instances(ServiceId=service["Id"])["Instances"]:
            space.client.deregister_instance(ServiceId=service["Id"], InstanceId=instance["Id"])
        space.client.delete_service(Id=service["Id"])
    space.client.delete_namespace(Id=space.id)


def test_a_task_looks_up_what_is_registered(stack: Stack, space: Space) -> None:
    web = space.service("web", "A")
    space.register(web, "one", AWS_INSTANCE_IPV4="10.9.8.7")
    space.register(web, "two", AWS_INSTANCE_IPV4="10.9.8.6", AWS_INIT_HEALTH_STATUS="UNHEALTHY")
    name = f"web.{space.name}"
    task, containers = stack.finished(
        stack.container(f"cat /etc/resolv.conf; nslookup -type=a {name}; nslookup -type=a none.{space.name}")
    )
    lines = "\n".join(stack.lines(task["taskArn"]))
    server = stack.daemon.environment["NEARGATE_VPC_CIDR"].replace(".0.0/16", ".0.2")
    assert f"nameserver {server}" in lines and lines.count("nameserver") == 1, lines
    assert "10.9.8.7" in lines and "10.9.8.6" not in lines, lines
    assert "NXDOMAIN" in lines, lines
