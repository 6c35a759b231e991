"""UpdateService: which changes begin a deployment, which only take hold, and what becomes of the rest."""

from typing import Any

import pytest
from msgspec.structs import replace

from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT
from tests.support.ecs import Ecs, container, definition, refused
from tests.support.ecs_services import add_group, create, described, external, process_of, record, update


async def begins(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    """The service after a change that begins a deployment."""
    before = await described(ecs)
    after = await update(ecs, **changes)
    assert len(after["deployments"]) == len(before["deployments"]) + 1
    assert after["currentServiceDeployment"] != before["currentServiceDeployment"]
    assert (await process_of(ecs, after["currentServiceDeployment"])).status == "PENDING"
    return after


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"desiredCount": 0}, {"desiredCount": 0}),
        ({"healthCheckGracePeriodSeconds": 30}, {"healthCheckGracePeriodSeconds": 30}),
        ({"enableECSManagedTags": True}, {"enableECSManagedTags": True}),
        ({"propagateTags": "SERVICE"}, {"propagateTags": "SERVICE"}),
        ({"availabilityZoneRebalancing": "DISABLED"}, {"availabilityZoneRebalancing": "DISABLED"}),
        ({"taskDefinition": "web"}, {}),
        ({"taskDefinition": "web:1", "platformVersion": "LATEST"}, {}),
        ({"loadBalancers": [], "serviceRegistries": []}, {}),
    ],
)
async def test_what_takes_hold_without_a_deployment(
    ready: Ecs, changes: dict[str, Any], shown: dict[str, Any]
) -> None:
    made = await create(ready)
    after = await update(ready, **changes)
    assert after["deployments"][0]["id"] == made["deployments"][0]["id"]
    assert len(after["deployments"]) == 1
    assert {**made, **shown} == {
        **after,
        "deployments": made["deployments"],
        "currentServiceRevisions": made["currentServiceRevisions"],
    }


async def test_the_configuration_of_deployments_is_merged(ready: Ecs) -> None:
    breaker = {"enable": True, "rollback": True}
    await create(ready, deploymentConfiguration={"deploymentCircuitBreaker": breaker})
    after = await update(ready, deploymentConfiguration={"maximumPercent": 150})
    assert after["deploymentConfiguration"]["maximumPercent"] == 150
    assert after["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"] is True
    assert len(after["deployments"]) == 1


async def test_what_begins_a_deployment(ready: Ecs) -> None:
    port = {"containerPort": 80, "name": "http"}
    await ready.register_task_definition(**definition(container(portMappings=[port])))
    await create(ready, taskDefinition="web:1")
    await begins(ready, forceNewDeployment=True)
    assert (await begins(ready, taskDefinition="web"))["taskDefinition"].endswith(":2")
    network = {"awsvpcConfiguration": {"subnets": ready.subnets[:1], "assignPublicIp": "ENABLED"}}
    after = await begins(ready, networkConfiguration=network)
    assert after["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED"
    assert after["deployments"][0]["networkConfiguration"] == after["networkConfiguration"]
    assert (await begins(ready, platformVersion="1.4.0"))["platformVersion"] == "1.4.0"
    balancer = {"targetGroupArn": await add_group(ready), "containerName": "web-app", "containerPort": 80}
    after = await begins(ready, loadBalancers=[balancer])
    assert (after["loadBalancers"], after["healthCheckGracePeriodSeconds"]) == ([balancer], 0)
    assert (await begins(ready, loadBalancers=[]))["loadBalancers"] == []
    after = await begins(ready, serviceConnectConfiguration={"enabled": False})
    assert after["deployments"][0]["serviceConnectConfiguration"] == {"enabled": False}


async def test_from_a_launch_type_to_providers_and_back(ready: Ecs) -> None:
    await create(ready)
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
    after = await begins(ready, capacityProviderStrategy=strategy, forceNewDeployment=True)
    assert after["capacityProviderStrategy"] == strategy
    assert "launchType" not in after
    assert after["deployments"][0]["capacityProviderStrategy"] == strategy
    assert after["deployments"][1]["launchType"] == "FARGATE"
    assert len((await update(ready, capacityProviderStrategy=strategy))["deployments"]) == 2
    after = await begins(ready, capacityProviderStrategy=[], forceNewDeployment=True)
    assert (after["launchType"], "capacityProviderStrategy" in after) == ("FARGATE", False)


async def test_without_a_launch_type_the_clusters_strategy_is_the_services(ready: Ecs) -> None:
    strategy = [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]
    await ready.put_cluster_capacity_providers(
        cluster="default",
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=strategy,
    )
    made = await create(ready, launchType=None)
    assert made["capacityProviderStrategy"] == strategy
    assert "launchType" not in made
    with refused(
        "ResourceInUseException", "The specified capacity provider FARGATE is in use and cannot be removed."
    ):
        await ready.put_cluster_capacity_providers(
            cluster="default", capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
        )


async def test_a_newer_deployment_ends_the_one_under_way(ready: Ecs) -> None:
    first = (await create(ready))["currentServiceDeployment"]
    after = await update(ready, forceNewDeployment=True)
    ended = await process_of(ready, first)
    assert (ended.status, ended.finished_at) == ("STOPPED", ready.clock.now())
    assert [d["status"] for d in after["deployments"]] == ["PRIMARY", "ACTIVE"]
    open_ = await ready.store.read(lambda tx: tx.ids(SERVICE_DEPLOYMENT, "open", after["serviceArn"]))
    assert open_ == [after["currentServiceDeployment"]]


async def test_an_update_ends_the_waiting_of_failed_starts(ready: Ecs) -> None:
    await create(ready)
    service = await record(ready)
    waiting = replace(service.deployments[0], failed_starts=9, start_after=ready.clock.now() + 900)
    await ready.store.write(
        lambda tx: tx.put(SERVICE, replace(service, deployments=(waiting,), steady_at=1.0))
    )
    await update(ready, propagateTags="SERVICE")
    service = await record(ready)
    assert (service.deployments[0].failed_starts, service.deployments[0].start_after) == (0, 0.0)
    assert service.steady_at == 1.0
    await update(ready, desiredCount=9)
    assert (await record(ready)).steady_at is None


async def test_a_service_outlives_the_registration_of_its_definition(ready: Ecs) -> None:
    await create(ready)
    await ready.deregister_task_definition(taskDefinition="web:1")
    assert (await begins(ready, forceNewDeployment=True))["taskDefinition"].endswith(":1")
    gone = await ready.delete_task_definitions(taskDefinitions=["web:1"])
    assert gone["taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS"
    await begins(ready, forceNewDeployment=True)


async def test_an_external_controllers_service(ready: Ecs) -> None:
    made = await external(ready)
    assert "taskDefinition" not in made
    assert (made["deployments"], made["deploymentController"]) == ([], {"type": "EXTERNAL"})
    assert made["availabilityZoneRebalancing"] == "DISABLED"
    assert (await update(ready, desiredCount=3))["desiredCount"] == 3
