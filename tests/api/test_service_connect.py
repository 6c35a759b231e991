"""Service Connect by clients: what services offer has an address, follows its tasks, and goes with them."""

from typing import Any

import pytest

from neargate.model.service_connect import ConnectEndpoint
from neargate.services.cell import connect
from neargate.state.catalog import TASK
from neargate.state.catalog_discovery import CONNECT_ENDPOINT
from tests.support.door import Door
from tests.support.real import eventually


@pytest.fixture
def ecs(door: Door) -> Any:
    client = door.client("ecs")
    door.client("servicediscovery").create_http_namespace(Name="mesh")
    client.create_cluster(clusterName="c", serviceConnectDefaults={"namespace": "mesh"})
    client.register_task_definition(
        family="web",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[
            {
                "name": "main",
                "image": "busybox",
                "portMappings": [{"containerPort": 8080, "name": "api", "appProtocol": "http"}],
            }
        ],
    )
    return client


def create(door: Door, name: str, count: int = 1, **offer: Any) -> None:
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    door.client("ecs").create_service(
        cluster="c",
        serviceName=name,
        taskDefinition="web",
        desiredCount=count,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        serviceConnectConfiguration={"enabled": True, "services": [offer] if offer else []},
    )


def endpoints(door: Door) -> dict[str, ConnectEndpoint]:
    found = door.call(door.daemon.house.store.read(lambda tx: tx.all(CONNECT_ENDPOINT)))
    return {endpoint.discovery_name: endpoint for endpoint in found}


def addresses(door: Door, name: str) -> set[str]:
    endpoint = endpoints(door).get(name)
    return {target.address for target in endpoint.targets} if endpoint else set()


def test_an_endpoint_follows_its_service(door: Door, ecs: Any) -> None:
    create(door, "shop", 2, portName="api", clientAliases=[{"port": 80, "dnsName": "shop"}])
    eventually(lambda: len(addresses(door, "api")) == 2, "two answer")
    one = endpoints(door)["api"]
    assert (one.dns_name, one.port, one.protocol) == ("shop", 80, "http")
    create(door, "other", 1, portName="api", discoveryName="other")
    eventually(lambda: addresses(door, "other"), "the other one's answers")
    assert endpoints(door)["other"].address not in ("", one.address)
    ecs.update_service(cluster="c", service="shop", desiredCount=1)
    eventually(lambda: len(addresses(door, "api")) == 1, "one answers")
    assert endpoints(door)["api"].address == one.address
    offer = {"portName": "api", "discoveryName": "renamed"}
    connected = {"enabled": True, "namespace": "mesh", "services": [offer]}
    ecs.update_service(cluster="c", service="shop", serviceConnectConfiguration=connected)
    eventually(lambda: set(endpoints(door)) == {"renamed", "other"}, "it has the new name")
    assert endpoints(door)["renamed"].dns_name == "renamed.mesh"
    ecs.delete_service(cluster="c", service="shop", force=True)
    eventually(lambda: set(endpoints(door)) == {"other"}, "it has gone")


def test_names_are_for_tasks_of_the_namespace(door: Door, ecs: Any) -> None:
    create(door, "shop", 1, portName="api")
    create(door, "client", 1)
    eventually(lambda: addresses(door, "api") and _running(ecs, "client"), "both run")
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    ecs.run_task(
        cluster="c",
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
    )

    def known(tx: Any) -> dict[str, tuple[tuple[str, str], ...]]:
        return {task.group: connect.hosts(tx, task) for task in tx.find(TASK, "open", "yes")}

    found = door.call(door.daemon.house.store.read(known))
    names = ((endpoints(door)["api"].address, "api.mesh"),)
    assert found == {"service:shop": names, "service:client": names, "family:web": ()}


def _running(ecs: Any, service: str) -> bool:
    found = ecs.describe_services(cluster="c", services=[service])["services"][0]
    return bool(found["runningCount"])


def test_a_namespace_stays_while_services_are_connected_in_it(door: Door, ecs: Any) -> None:
    create(door, "shop", 0, portName="api")
    eventually(lambda: endpoints(door), "it is offered")
    cloudmap = door.client("servicediscovery")
    (namespace,) = cloudmap.list_namespaces()["Namespaces"]
    with pytest.raises(cloudmap.exceptions.ResourceInUse):
        cloudmap.delete_namespace(Id=namespace["Id"])
    ecs.delete_service(cluster="c", service="shop")
    eventually(lambda: not endpoints(door), "it is offered no more")
    cloudmap.delete_namespace(Id=namespace["Id"])
    assert cloudmap.list_namespaces()["Namespaces"] == []
