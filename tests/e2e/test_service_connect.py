"""Service Connect for real: a client's task calls a service by its alias, through Envoy, whoever answers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.python_image import python_image
from tests.support.real import RealDaemon, eventually, nothing_left

ROLE = "arn:aws:iam::000000000000:role/execution"
PROGRAM = Path(__file__).parents[1] / "support" / "caller_program.py"
SERVE = "hostname > /tmp/who; exec httpd -f -p 8080 -h /tmp"


class Mesh:
    """A daemon with a namespace, in which services offer and use names."""

    def __init__(self, daemon: RealDaemon, work: Path) -> None:
        image = daemon.push(busybox_image(work / "image"), "busybox")
        self.caller = daemon.push(python_image(work / "caller", PROGRAM), "caller")
        daemon.client("logs").create_log_group(logGroupName="/e2e")
        self.map = daemon.client("servicediscovery")
        self.map.create_http_namespace(Name="mesh")
        self.ecs = daemon.client("ecs")
        self.ecs.create_cluster(clusterName="e2e", serviceConnectDefaults={"namespace": "mesh"})
        self.stack = Stack(daemon, image)

    def serve(self, name: str, count: int, offer: dict[str, Any], protocol: str = "http") -> None:
        of = {"appProtocol": protocol} if protocol else {}
        mapping = {"name": "api", "containerPort": 8080, **of}
        self._create(name, self.stack.container(SERVE, portMappings=[mapping]), count, offer)

    def call(self, url: str = "") -> None:
        """A client of one task."""
        container = self.stack.container(image=self.caller, environment=[{"name": "URL", "value": url}])
        del container["entryPoint"], container["command"]
        if not url:
            container |= {"environment": [], "entryPoint": ["/bin/sh", "-c"]}
            container |= {"command": ["cat /etc/hosts; sleep 600"]}
        self._create("client", container, 1)

    def _create(self, name: str, container: dict[str, Any], count: int, *offers: dict[str, Any]) -> None:
        self.ecs.register_task_definition(
            family=name,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn=ROLE,
            containerDefinitions=[container],
        )
        self.ecs.create_service(
            cluster="e2e",
            serviceName=name,
            taskDefinition=name,
            desiredCount=count,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.stack.subnets}},
            serviceConnectConfiguration={"enabled": True, "services": list(offers)},
        )

    def tasks(self, name: str) -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(cluster="e2e", serviceName=name)["taskArns"]
        found = self.ecs.describe_tasks(cluster="e2e", tasks=arns)["tasks"] if arns else []
        return [task for task in found if task["lastStatus"] == "RUNNING"]

    def running(self, name: str, count: int) -> list[dict[str, Any]]:
        return list(
            eventually(
                lambda: found if len(found := self.tasks(name)) == count else None,
                f"{count} tasks of {name}",
            )
        )

    def counted(self, name: str, **dimensions: str) -> float:
        now = time.time()
        found = self.stack.daemon.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ECS",
            MetricName=name,
            Dimensions=[{"Name": k, "Value": v} for k, v in dimensions.items()],
            StartTime=now - 600,
            EndTime=now + 60,
            Period=60,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in found["Datapoints"]))

    def said(self, name: str) -> list[str]:
        """All lines of a service's tasks."""
        streams = self.stack.logs.describe_log_streams(logGroupName="/e2e")["logStreams"]
        ids = {task["taskArn"].rpartition("/")[2] for task in self.tasks(name)}
        arns = [s["logStreamName"] for s in streams if s["logStreamName"].rpartition("/")[2] in ids]
        return [line for arn in arns for line in self.stack.lines(arn)]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    soon = {"NEARGATE_SERVICE_HEALTHY_SECONDS": "1"}
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data", **soon) as daemon:
        yield Mesh(daemon, tmp_path)


def test_clients_call_by_alias_whoever_answers(mesh: Mesh) -> None:
    mesh.serve("shop", 2, {"portName": "api", "clientAliases": [{"port": 80, "dnsName": "shop"}]})
    mesh.serve("plain", 1, {"portName": "api", "discoveryName": "plain"})
    servers = {task["taskArn"].rpartition("/")[2]: task for task in mesh.running("shop", 2)}
    mesh.running("plain", 1)
    mesh.call("http://shop/who")
    names = {_name(task) for task in servers.values()}
    eventually(lambda: names <= set(mesh.said("client")), "both have answered", 90)
    hosts = [line.partition(" ")[2] for line in mesh.said("client")]
    assert "shop" in hosts and "plain.mesh" in hosts
    gone = next(iter(servers))
    mesh.ecs.stop_task(cluster="e2e", task=gone)
    eventually(lambda: len(mesh.tasks("shop")) == 2 and gone not in _ids(mesh.tasks("shop")), "two again", 90)
    fresh = {_name(task) for task in mesh.tasks("shop")} - names
    eventually(lambda: fresh <= set(mesh.said("client")), "the new one has answered", 90)
    assert [line for line in mesh.said("client") if line.startswith("failed")] == []


def test_a_new_deployment_fails_no_call(mesh: Mesh) -> None:
    mesh.serve("shop", 3, {"portName": "api", "clientAliases": [{"port": 80, "dnsName": "shop"}]})
    old = _ids(mesh.running("shop", 3))
    mesh.call("http://shop/who")
    eventually(lambda: mesh.said("client"), "the client calls", 90)
    for _ in range(2):
        mesh.ecs.update_service(cluster="e2e", service="shop", forceNewDeployment=True)
        mesh.ecs.get_waiter("services_stable").wait(
            cluster="e2e", services=["shop"], WaiterConfig={"Delay": 1, "MaxAttempts": 90}
        )
        assert not _ids(mesh.tasks("shop")) & old
        old = _ids(mesh.tasks("shop"))
    names = {_name(task) for task in mesh.tasks("shop")}
    eventually(lambda: names <= set(mesh.said("client")), "the last ones have answered", 90)
    assert [line for line in mesh.said("client") if line.startswith("failed")] == []
    eventually(lambda: mesh.counted("RequestCount", DiscoveryName="api"), "its requests are counted", 150)


def test_tcp_goes_through_as_it_is(mesh: Mesh) -> None:
    mesh.serve("plain", 1, {"portName": "api", "discoveryName": "plain"}, protocol="")
    (server,) = mesh.running("plain", 1)
    mesh.call("http://plain.mesh:8080/who")
    eventually(lambda: _name(server) in mesh.said("client"), "it has answered", 90)


def test_names_go_with_their_service(mesh: Mesh) -> None:
    mesh.serve("shop", 1, {"portName": "api"})
    mesh.running("shop", 1)
    mesh.call()
    eventually(lambda: any("api.mesh" in line for line in mesh.said("client")), "its name is there")
    mesh.ecs.delete_service(cluster="e2e", service="shop", force=True)
    eventually(lambda: _status(mesh, "shop") == "INACTIVE", "it and its tasks are gone")
    old = _ids(mesh.tasks("client"))
    mesh.ecs.update_service(cluster="e2e", service="client", forceNewDeployment=True)
    eventually(lambda: mesh.tasks("client") and not _ids(mesh.tasks("client")) & old, "a new client", 90)
    lines = eventually(lambda: mesh.said("client"), "it has said what it knows")
    assert not any("api.mesh" in line for line in lines)


def _status(mesh: Mesh, name: str) -> str:
    return str(mesh.ecs.describe_services(cluster="e2e", services=[name])["services"][0]["status"])


def _ids(tasks: list[dict[str, Any]]) -> set[str]:
    return {task["taskArn"].rpartition("/")[2] for task in tasks}


def _name(task: dict[str, Any]) -> str:
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    return str(details["privateDnsName"])
