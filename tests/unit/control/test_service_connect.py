"""The loop of Service Connect on a store of its own: what it plans for services, tasks and deployments."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.control.service_connect import plan
from neargate.model.discovery import Namespace
from neargate.model.service import Service, ServiceDeployment
from neargate.model.service_connect import ConnectEndpoint
from neargate.model.task import Task, TaskDefinition
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.catalog_discovery import CONNECT_ENDPOINT, NAMESPACE
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx
from tests.support.tasks import running_task

SCOPE = {"account": "000000000000", "region": "us-east-1"}
SPACE = Namespace(**SCOPE, id="ns-1", arn="arn:n/ns-1", name="mesh", type="HTTP", http_name="mesh")
BODY = {"containerDefinitions": [{"name": "web", "portMappings": [{"name": "api", "containerPort": 80}]}]}
DEFINITION = TaskDefinition(**SCOPE, arn="d", family="web", revision=1, body=BODY)
RANGE = "10.0.0.0/16"


def service(arn: str = "service/c/shop", **change: Any) -> Service:
    offers = [{"portName": "api", "discoveryName": "api"}]
    connect = {"enabled": True, "namespace": SPACE.arn, "services": offers}
    made = Service(
        **SCOPE,
        arn=arn,
        name="shop",
        cluster_arn="c",
        definition_arn="d",
        revision_arn="blue",
        body={"serviceConnectConfiguration": connect},
    )
    return replace(made, **change)


def task(number: int, revision: str = "blue", **change: Any) -> Task:
    return running_task(number, **{"service_arn": "service/c/shop", "revision_arn": revision, **change})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "truth.db") as store:

        def body(tx: Tx) -> None:
            tx.put(NAMESPACE, SPACE)
            tx.put(TASK_DEFINITION, DEFINITION)
            tx.put(SERVICE, service())
            for number in (1, 2):
                tx.put(TASK, task(number))

        await store.write(body)
        yield store


async def carried_out(store: SqliteStore, arn: str = "service/c/shop") -> list[ConnectEndpoint]:
    """What there is after the loop has looked; a second look finds nothing to do."""

    def body(tx: Tx) -> list[ConnectEndpoint]:
        made = plan(tx, arn, RANGE)
        for endpoint in made.remove:
            tx.delete(CONNECT_ENDPOINT, CONNECT_ENDPOINT.id(endpoint))
        for endpoint in made.write:
            tx.put(CONNECT_ENDPOINT, endpoint)
        assert not plan(tx, arn, RANGE)
        return tx.all(CONNECT_ENDPOINT)

    return await store.write(body)


def weights(endpoints: list[ConnectEndpoint]) -> dict[str, int]:
    (endpoint,) = endpoints
    return {target.address: target.weight for target in endpoint.targets}


async def test_an_endpoint_keeps_its_address_and_follows_its_tasks(store: SqliteStore) -> None:
    (first,) = await carried_out(store)
    assert first.address.startswith("10.0.240.") and weights([first]) == {"10.0.0.1": 1, "10.0.0.2": 1}
    await store.write(lambda tx: tx.put(TASK, task(1, desired_status="STOPPED")))
    (second,) = await carried_out(store)
    assert second.address == first.address and weights([second]) == {"10.0.0.2": 1}


@pytest.mark.parametrize("change", [{"status": "INACTIVE"}, {"status": "DRAINING"}, {"body": {}}])
async def test_it_goes_with_its_service(store: SqliteStore, change: dict[str, Any]) -> None:
    assert await carried_out(store)
    await store.write(lambda tx: tx.put(SERVICE, service(**change)))
    assert await carried_out(store) == []


async def test_a_name_that_is_taken_stays_with_the_first(store: SqliteStore) -> None:
    (first,) = await carried_out(store)
    await store.write(lambda tx: tx.put(SERVICE, service("service/c/other")))
    assert await carried_out(store, "service/c/other") == [first]


@pytest.mark.parametrize(
    ("strategy", "traffic", "expected"),
    [
        ("CANARY", 10.0, {"10.0.0.1": 4500, "10.0.0.2": 4500, "10.0.0.3": 1000}),
        ("BLUE_GREEN", 0.0, {"10.0.0.1": 1, "10.0.0.2": 1}),
        ("BLUE_GREEN", 100.0, {"10.0.0.3": 1}),
        ("ROLLING", 0.0, {"10.0.0.1": 1, "10.0.0.2": 1, "10.0.0.3": 1}),
    ],
)
async def test_a_deployment_gets_its_share(
    store: SqliteStore, strategy: str, traffic: float, expected: dict[str, int]
) -> None:
    def body(tx: Tx) -> None:
        process = ServiceDeployment(
            **SCOPE,
            arn="process",
            service_arn="service/c/shop",
            cluster_arn="c",
            status="IN_PROGRESS",
            strategy=strategy,
            target_revision="green",
            traffic=traffic,
        )
        tx.put(SERVICE_DEPLOYMENT, process)
        tx.put(TASK, task(3, "green"))

    await store.write(body)
    assert weights(await carried_out(store)) == expected
    await store.write(lambda tx: tx.delete(SERVICE_DEPLOYMENT, "process"))
    assert set(weights(await carried_out(store)).values()) == {1}


@pytest.mark.parametrize(
    ("stage", "tested"),
    [("SCALE_UP", False), ("TEST_TRAFFIC_SHIFT", True), ("BAKE_TIME", True), ("CLEAN_UP", False)],
)
async def test_test_traffic_is_of_some_stages(store: SqliteStore, stage: str, tested: bool) -> None:
    def body(tx: Tx) -> None:
        process = ServiceDeployment(
            **SCOPE,
            arn="process",
            service_arn="service/c/shop",
            cluster_arn="c",
            status="IN_PROGRESS",
            strategy="BLUE_GREEN",
            target_revision="green",
            stage=stage,
        )
        tx.put(SERVICE_DEPLOYMENT, process)
        tx.put(TASK, task(3, "green"))

    await store.write(body)
    (endpoint,) = await carried_out(store)
    assert [target.address for target in endpoint.test_targets] == (["10.0.0.3"] if tested else [])
