"""Services as they are made, changed, shown and deleted, without the loop that carries it out."""

from typing import Any

from tests.support.ecs import SCOPE, Ecs, container, definition, refused

INVALID = "InvalidParameterException"
SERVICE_ROLE = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
ARN = SCOPE.arn("ecs", "service/default/web")


async def create(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    """Service `web` of definition `web` on cluster `default`, with changes; without what is None."""
    params = {
        "serviceName": "web",
        "taskDefinition": "web",
        "desiredCount": 2,
        "launchType": "FARGATE",
        "networkConfiguration": ecs.network,
        **changes,
    }
    answer = await ecs.create_service(**{k: v for k, v in params.items() if v is not None})
    return dict(answer["service"])


async def described(ecs: Ecs, **params: Any) -> dict[str, Any]:
    answer = await ecs.describe_services(services=["web"], **params)
    assert answer["failures"] == []
    (service,) = answer["services"]
    return dict(service)


async def test_a_service_as_it_is_made(ready: Ecs) -> None:
    service = await create(ready)
    (deployment,) = service.pop("deployments")
    revisions = service.pop("currentServiceRevisions")
    assert service.pop("currentServiceDeployment").startswith(
        SCOPE.arn("ecs", "service-deployment/default/web/")
    )
    network = {
        "awsvpcConfiguration": {
            "subnets": ready.subnets,
            "securityGroups": [],
            "assignPublicIp": "DISABLED",
        }
    }
    now = ready.clock.now()
    arn = SCOPE.arn("ecs", "task-definition/web:1")
    assert service == {
        "serviceArn": ARN,
        "serviceName": "web",
        "clusterArn": SCOPE.arn("ecs", "cluster/default"),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 0,
        "pendingCount": 0,
        "launchType": "FARGATE",
        "platformVersion": "LATEST",
        "platformFamily": "Linux",
        "taskDefinition": arn,
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": "ROLLING",
            "bakeTimeInMinutes": 0,
        },
        "roleArn": f"arn:aws:iam::{SCOPE.account}:role/{SERVICE_ROLE}",
        "events": [],
        "createdAt": now,
        "createdBy": f"arn:aws:iam::{SCOPE.account}:root",
        "placementConstraints": [],
        "placementStrategy": [],
        "networkConfiguration": network,
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": False,
        "propagateTags": "NONE",
        "enableExecuteCommand": False,
        "availabilityZoneRebalancing": "ENABLED",
        "resourceManagementType": "CUSTOMER",
        "tags": [],
    }
    id = deployment.pop("id")
    assert id.startswith("ecs-svc/") and len(id) == len("ecs-svc/") + 19
    assert deployment == {
        "status": "PRIMARY",
        "taskDefinition": arn,
        "desiredCount": 2,
        "pendingCount": 0,
        "runningCount": 0,
        "failedTasks": 0,
        "createdAt": now,
        "updatedAt": now,
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "networkConfiguration": network,
        "rolloutState": "IN_PROGRESS",
        "rolloutStateReason": f"ECS deployment {id} in progress.",
    }
    (revision,) = revisions
    assert revision.pop("arn").startswith(SCOPE.arn("ecs", "service-revision/default/web/"))
    assert revision == {"requestedTaskCount": 2, "runningTaskCount": 0, "pendingTaskCount": 0}


async def test_described_by_name_and_arn_with_tags_only_if_asked_for(ready: Ecs) -> None:
    made = await create(ready, tags=[{"key": "a", "value": "b"}])
    assert made["tags"] == [{"key": "a", "value": "b"}]
    plain = await described(ready)
    assert "tags" not in plain
    assert await described(ready, include=["TAGS"]) == made
    answer = await ready.describe_services(services=["web", ARN, "none"])
    assert answer["services"] == [plain]
    none = SCOPE.arn("ecs", "service/default/none")
    assert answer["failures"] == [{"arn": none, "reason": "MISSING"}]
    assert (await ready.list_services())["serviceArns"] == [ARN]


async def test_the_same_request_again_and_another(ready: Ecs) -> None:
    made = await create(ready)
    assert await create(ready) == made
    for changes in ({"desiredCount": 3}, {"clientToken": "t"}, {"propagateTags": "SERVICE"}):
        with refused(INVALID, "Creation of service was not idempotent."):
            await create(ready, **changes)
    assert await described(ready, include=["TAGS"]) == made


async def test_a_changed_number_is_no_deployment(ready: Ecs) -> None:
    made = await create(ready)
    changed = (await ready.update_service(service="web", desiredCount=5))["service"]
    assert changed["desiredCount"] == 5
    assert [d["id"] for d in changed["deployments"]] == [d["id"] for d in made["deployments"]]
    assert changed["deployments"][0]["desiredCount"] == 5


async def test_a_new_definition_is_a_deployment(ready: Ecs) -> None:
    made = await create(ready)
    await ready.register_task_definition(**definition(container(image="busybox:2")))
    changed = (await ready.update_service(service="web", taskDefinition="web"))["service"]
    assert changed["taskDefinition"].endswith("/web:2")
    first, second = changed["deployments"]
    assert (first["status"], first["taskDefinition"][-2:]) == ("PRIMARY", ":2")
    assert (second["status"], second["id"]) == ("ACTIVE", made["deployments"][0]["id"])
    assert (await ready.update_service(service="web", taskDefinition="web:2"))["service"] == changed


async def test_a_service_that_is_deleted_drains(ready: Ecs) -> None:
    await create(ready)
    with refused(INVALID, "The service cannot be stopped while it is scaled above 0."):
        await ready.delete_service(service="web")
    gone = (await ready.delete_service(service="web", force=True))["service"]
    assert (gone["status"], gone["desiredCount"]) == ("DRAINING", 0)
    assert (await ready.list_services())["serviceArns"] == []
    assert (await described(ready))["status"] == "DRAINING"
    with refused(INVALID, "Unable to Start a service that is still Draining."):
        await create(ready)
    with refused("ServiceNotActiveException", "Service was not ACTIVE."):
        await ready.update_service(service="web", desiredCount=1)
