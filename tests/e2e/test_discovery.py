"""Names for real: tasks find instances, each other and load balancers by DNS; the daemon may come and go."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually, nothing_left

HOSTS = Path("/etc/hosts")


class Space:
    """A private namespace with services of DNS records."""

    def __init__(self, daemon: RealDaemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.client = daemon.client("servicediscovery")
        vpc = daemon.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        made = self.client.create_private_dns_namespace(Name=name, Vpc=vpc)
        operation = self.client.get_operation(OperationId=made["OperationId"])["Operation"]
        self.id: str = operation["Targets"]["NAMESPACE"]

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

    def empty(self) -> None:
        filters = [{"Name": "NAMESPACE_ID", "Values": [self.id]}]
        for service in self.client.list_services(Filters=filters)["Services"]:
            for instance in self.client.list_instances(ServiceId=service["Id"])["Instances"]:
                self.client.deregister_instance(ServiceId=service["Id"], InstanceId=instance["Id"])
            self.client.delete_service(Id=service["Id"])
        self.client.delete_namespace(Id=self.id)


@pytest.fixture
def space(stack: Stack) -> Iterator[Space]:
    space = Space(stack.daemon, f"e{os.urandom(3).hex()}.test")
    yield space
    space.empty()


def resolver(daemon: RealDaemon) -> str:
    return daemon.environment["NEARGATE_VPC_CIDR"].replace(".0.0/16", ".0.2")


def lines(stack: Stack, script: str) -> str:
    task, _ = stack.finished(stack.container(script))
    return "\n".join(stack.lines(task["taskArn"]))


def test_a_task_looks_up_what_is_registered(stack: Stack, space: Space) -> None:
    web = space.service("web", "A")
    space.register(web, "one", AWS_INSTANCE_IPV4="10.9.8.7")
    space.register(web, "two", AWS_INSTANCE_IPV4="10.9.8.6", AWS_INIT_HEALTH_STATUS="UNHEALTHY")
    api = space.service("_api._tcp", "SRV")
    space.register(api, "i-1", AWS_INSTANCE_IPV4="10.9.8.5", AWS_INSTANCE_PORT="8080")
    found = lines(
        stack,
        f"cat /etc/resolv.conf; nslookup -type=a web.{space.name}; nslookup -type=a none.{space.name};"
        f" nslookup -type=srv _api._tcp.{space.name}; nslookup -type=a i-1._api._tcp.{space.name};"
        f" nslookup -type=a data-169.254.170.2",
    )
    assert f"nameserver {resolver(stack.daemon)}" in found and found.count("nameserver") == 1, found
    assert "10.9.8.7" in found and "10.9.8.6" not in found, found
    assert f"can't find none.{space.name}: NXDOMAIN" in found, found
    assert f"1 1 8080 i-1._api._tcp.{space.name}" in found and "10.9.8.5" in found, found
    assert "Address: 169.254.170.2" in found, found


def test_a_change_counts_for_a_task_that_runs(stack: Stack, space: Space) -> None:
    web = space.service("web", "A")
    script = f"while ! nslookup -type=a web.{space.name} | grep 10.9.8.7; do sleep 0.1; done; echo found"
    arn = stack.run(stack.container(f"echo asking; {script}"))
    eventually(lambda: "asking" in stack.lines(arn), "the task asks")
    space.register(web, "one", AWS_INSTANCE_IPV4="10.9.8.7")
    stack.wait(arn, "STOPPED")
    assert stack.lines(arn)[-1] == "found"


def test_tasks_of_a_service_find_each_other_by_name(stack: Stack, space: Space) -> None:
    web = space.service("web", "A")
    stack.ecs.register_task_definition(
        family="discovered",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[stack.container("echo hello > /tmp/it; exec httpd -f -p 8080 -h /tmp")],
    )
    stack.ecs.create_service(
        cluster="e2e",
        serviceName="discovered",
        taskDefinition="discovered",
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
        serviceRegistries=[{"registryArn": space.client.get_service(Id=web)["Service"]["Arn"]}],
    )
    try:
        eventually(
            lambda: len(space.client.list_instances(ServiceId=web)["Instances"]) == 2, "two are registered"
        )
        url = f"http://web.{space.name}:8080/it"
        assert lines(stack, f"until wget -q -O - {url}; do sleep 0.1; done").endswith("hello")
    finally:
        stack.ecs.update_service(cluster="e2e", service="discovered", desiredCount=0)
        stack.ecs.delete_service(cluster="e2e", service="discovered", force=True)
    eventually(lambda: not space.client.list_instances(ServiceId=web)["Instances"], "none is registered")


def test_a_client_of_this_machine_discovers_instances(stack: Stack, space: Space) -> None:
    """An unmodified one: it puts `data-` before the endpoint's host, which /etc/hosts knows."""
    web = space.service("web", "A")
    space.register(web, "one", AWS_INSTANCE_IPV4="10.9.8.7")
    eventually(lambda: "data-127.0.0.1" in HOSTS.read_text(), "the name is in /etc/hosts")
    found = space.client.discover_instances(NamespaceName=space.name, ServiceName="web")
    assert [instance["InstanceId"] for instance in found["Instances"]] == ["one"]


def test_the_resolver_of_tasks_is_nobody_s_host(stack: Stack) -> None:
    """Of its address a task reaches port 53 and nothing else; the process has no rights."""
    own = resolver(stack.daemon)
    pid, port = (stack.daemon.data_dir / "resolver" / "port").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status and "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    with socket.create_server((own, 0)) as other:
        beside = other.getsockname()[1]
        found = lines(
            stack,
            f"nc -w 2 {own} 53 </dev/null && echo open; "
            f"for port in {port} {beside} 22; do nc -w 2 {own} $port </dev/null && echo beside; done"
            " 2>/dev/null; true",
        )
    assert found == "open"


def test_names_are_answered_while_no_daemon_runs(tmp_path: Path) -> None:
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data") as daemon:
        stack = _stack(daemon, tmp_path)
        space = Space(daemon, "down.test")
        web = space.service("web", "A")
        space.register(web, "one", AWS_INSTANCE_IPV4="10.9.8.7")
        arn = stack.run(stack.container(f"while true; do nslookup -type=a web.{space.name}; sleep 0.2; done"))
        eventually(lambda: any("10.9.8.7" in line for line in stack.lines(arn)), "the task finds it")
        pid = (daemon.data_dir / "resolver" / "port").read_text()
        daemon.kill()
        asked = subprocess.run(
            ["busybox", "nslookup", "-type=a", "web.down.test", f"{resolver(daemon)}:{pid.split()[1]}"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert "10.9.8.7" in asked.stdout, asked
        daemon.up()
        assert (daemon.data_dir / "resolver" / "port").read_text() == pid
        space = Space(daemon, "again.test")
        space.register(space.service("web", "A"), "one", AWS_INSTANCE_IPV4="10.9.8.5")
        daemon.client("servicediscovery").deregister_instance(ServiceId=web, InstanceId="one")
        eventually(lambda: "NXDOMAIN" in stack.lines(arn)[-1], "the task finds it no more")
        assert not any("SERVFAIL" in line or "timed out" in line for line in stack.lines(arn))


def test_balancers_names_lead_to_their_addresses(tmp_path: Path) -> None:
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data") as daemon:
        stack = _stack(daemon, tmp_path)
        elb = daemon.client("elbv2")
        made = elb.create_load_balancer(Name="named", Subnets=stack.subnets)["LoadBalancers"][0]
        name = made["DNSName"]
        eventually(lambda: name.lower() in HOSTS.read_text(), "the name is in /etc/hosts")
        here = {info[4][0] for info in socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)}
        found = lines(stack, f"nslookup -type=a {name}")
        assert here and all(str(address) in found for address in here), (here, found)
        elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
        eventually(lambda: name.lower() not in HOSTS.read_text(), "the name is gone")
        again = elb.create_load_balancer(Name="again", Subnets=stack.subnets)["LoadBalancers"][0]["DNSName"]
        eventually(lambda: again.lower() in HOSTS.read_text(), "the name is in /etc/hosts")
    assert again.lower() not in HOSTS.read_text()


def _stack(daemon: RealDaemon, work: Path) -> Stack:
    image = daemon.push(busybox_image(work / "image"), "busybox")
    daemon.client("logs").create_log_group(logGroupName="/e2e")
    daemon.client("ecs").create_cluster(clusterName="e2e")
    return Stack(daemon, image)


def test_a_resolver_that_dies_is_begun_anew(tmp_path: Path) -> None:
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data") as daemon:
        stack = _stack(daemon, tmp_path)
        space = Space(daemon, "dead.test")
        space.register(space.service("web", "A"), "one", AWS_INSTANCE_IPV4="10.9.8.7")
        told = daemon.data_dir / "resolver" / "port"
        before = told.read_text()
        os.kill(int(before.split()[0]), signal.SIGKILL)
        eventually(lambda: told.read_text() != before, "another one runs")
        script = "until nslookup -type=a web.dead.test | grep 10.9.8.7; do sleep 0.2; done; echo found"
        assert lines(stack, script).endswith("found")


@pytest.mark.parametrize("tier", ["gvisor"])
def test_names_on_other_tiers(tmp_path: Path, tier: str) -> None:
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data", NEARGATE_ISOLATION=tier) as daemon:
        stack = _stack(daemon, tmp_path)
        space = Space(daemon, "tier.test")
        space.register(space.service("web", "A"), "one", AWS_INSTANCE_IPV4="10.9.8.7")
        assert "10.9.8.7" in lines(stack, "nslookup -type=a web.tier.test")
