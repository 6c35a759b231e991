"""Services as they are made, changed, shown and deleted, without the loop that carries it out."""

from neargate.control.retention_services import DEPLOYMENT_SECONDS
from neargate.model.service import ServiceEvent
from neargate.state.catalog_services import SERVICE_EVENT
from neargate.state.store import Tx
from tests.support.ecs import SCOPE, Ecs, container, definition, refused
from tests.support.ecs_services import (
    ARN,
    OWNED,
    adopt,
    create,
    described,
    end,
    settle,
    task_record,
    update,
)

INVALID = "InvalidParameterException"
SERVICE_ROLE = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"


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
    assert await create(ready) == await create(ready, cluster="default") == made
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


async def test_tasks_are_counted_by_what_they_do(ready: Ecs) -> None:
    made = await create(ready)
    first, second, third = await ready.start(3)
    for task in (first, second, third):
        await adopt(ready, task)
    await adopt(ready, first, last_status="RUNNING")
    await adopt(ready, second, last_status="DEACTIVATING", desired_status="STOPPED")
    service = await described(ready)
    assert (service["runningCount"], service["pendingCount"]) == (1, 1)
    (deployment,) = service["deployments"]
    assert (deployment["runningCount"], deployment["pendingCount"]) == (1, 1)
    (revision,) = service["currentServiceRevisions"]
    assert (revision["runningTaskCount"], revision["pendingTaskCount"]) == (1, 1)
    (loose,) = await ready.start()
    listed = (await ready.list_tasks(serviceName="web"))["taskArns"]
    assert listed == sorted([first, third])
    assert (await ready.list_tasks(serviceName=made["serviceArn"], desiredStatus="STOPPED"))["taskArns"] == [
        second
    ]
    page = await ready.list_tasks(serviceName="web", maxResults=1)
    rest = await ready.list_tasks(serviceName="web", maxResults=1, nextToken=page["nextToken"])
    assert page["taskArns"] + rest["taskArns"] == listed
    assert loose in (await ready.list_tasks())["taskArns"]
    with refused("ServiceNotFoundException", "Service not found."):
        await ready.list_tasks(serviceName="none")


async def test_events_newest_first(ready: Ecs) -> None:
    await create(ready)

    def say(tx: Tx) -> None:
        for number in range(103):
            tx.insert(
                SERVICE_EVENT,
                ServiceEvent(
                    **OWNED,
                    id=f"id-{number}",
                    service_arn=ARN,
                    sequence=tx.next("service-event"),
                    at=float(number),
                    message=f"(service web) {number}",
                ),
            )

    await ready.store.write(say)
    events = (await described(ready))["events"]
    assert len(events) == 100
    assert events[0] == {"id": "id-102", "createdAt": 102.0, "message": "(service web) 102"}
    assert events[-1]["id"] == "id-3"


async def test_listed_in_pages_and_by_what_they_are(ready: Ecs) -> None:
    arns = [(await create(ready, serviceName=f"s{n:02}"))["serviceArn"] for n in range(12)]
    first = await ready.list_services()
    assert first["serviceArns"] == arns[:10]
    assert (await ready.list_services(nextToken=first["nextToken"]))["serviceArns"] == arns[10:]
    assert (await ready.list_services(maxResults=100))["serviceArns"] == arns
    for nothing in (
        {"launchType": "EC2"},
        {"schedulingStrategy": "DAEMON"},
        {"resourceManagementType": "ECS"},
    ):
        assert (await ready.list_services(**nothing))["serviceArns"] == []
    every = {"launchType": "FARGATE", "schedulingStrategy": "REPLICA", "resourceManagementType": "CUSTOMER"}
    assert (await ready.list_services(maxResults=100, **every))["serviceArns"] == arns
    await ready.create_cluster(clusterName="other")
    assert (await ready.list_services(cluster="other"))["serviceArns"] == []
    with refused("ClusterNotFoundException", "Cluster not found."):
        await ready.list_services(cluster="none")


async def test_a_cluster_counts_its_services_and_stays_while_there_are_any(ready: Ecs) -> None:
    await create(ready)
    await create(ready, serviceName="second")

    async def shown() -> tuple[int, dict[str, str]]:
        answer = await ready.describe_clusters(include=["STATISTICS"])
        (cluster,) = answer["clusters"]
        statistics = {item["name"]: item["value"] for item in cluster["statistics"]}
        return cluster["activeServicesCount"], statistics

    count, statistics = await shown()
    assert (count, statistics["activeFargateServiceCount"], statistics["activeEC2ServiceCount"]) == (
        2,
        "2",
        "0",
    )
    await ready.delete_service(service="second", force=True)
    count, statistics = await shown()
    assert (count, statistics["drainingFargateServiceCount"]) == (1, "1")
    with refused(
        "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
    ):
        await ready.delete_cluster(cluster="default")
    for name in ("web", "second"):
        await end(ready, name)
    assert (await ready.delete_cluster(cluster="default"))["cluster"]["status"] == "INACTIVE"


async def test_tags_of_a_service(ready: Ecs) -> None:
    await create(ready, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    await ready.tag_resource(resourceArn=ARN, tags=[{"key": "a", "value": "3"}])
    await ready.untag_resource(resourceArn=ARN, tagKeys=["b"])
    expected = [{"key": "a", "value": "3"}]
    assert (await ready.list_tags_for_resource(resourceArn=ARN))["tags"] == expected
    assert (await described(ready, include=["TAGS"]))["tags"] == expected
    await end(ready)
    gone = "The specified service is inactive. Specify an active service and try again."
    with refused(INVALID, gone):
        await ready.tag_resource(resourceArn=ARN, tags=expected)


async def test_an_inactive_service_is_described_until_it_is_forgotten(ready: Ecs) -> None:
    made = await create(ready)
    await end(ready)
    assert (await described(ready))["status"] == "INACTIVE"
    for call in (ready.delete_service(service="web"), ready.list_service_deployments(service="none")):
        with refused("ServiceNotFoundException", "Service not found."):
            await call
    with refused("ServiceNotActiveException", "Service was not ACTIVE."):
        await ready.update_service(service="web", desiredCount=1)
    ready.clock.advance(ready.call.settings.stopped_task_seconds + 120)
    await ready.forget()
    assert (await ready.describe_services(services=["web"]))["failures"] == [
        {"arn": ARN, "reason": "MISSING"}
    ]
    asked = {"serviceDeploymentArns": [made["currentServiceDeployment"]]}
    assert (await ready.describe_service_deployments(**asked))["serviceDeployments"] == []


async def test_a_name_is_used_again(ready: Ecs) -> None:
    before = await create(ready)
    await end(ready)
    after = await create(ready)
    assert (after["status"], len(after["deployments"]), after["events"]) == ("ACTIVE", 1, [])
    assert after["deployments"][0]["id"] != before["deployments"][0]["id"]
    (listed,) = (await ready.list_service_deployments(service="web"))["serviceDeployments"]
    assert listed["serviceDeploymentArn"] == after["currentServiceDeployment"]


async def test_deployments_of_long_ago_are_forgotten_with_their_revisions(ready: Ecs) -> None:
    first = (await create(ready))["currentServiceRevisions"][0]["arn"]
    await update(ready, forceNewDeployment=True)
    await settle(ready)
    last = (await update(ready, forceNewDeployment=True))["currentServiceDeployment"]
    ready.clock.advance(DEPLOYMENT_SECONDS + 120)
    await ready.forget()
    (listed,) = (await ready.list_service_deployments(service="web"))["serviceDeployments"]
    assert listed["serviceDeploymentArn"] == last
    answer = await ready.describe_service_revisions(serviceRevisionArns=[first])
    assert answer["failures"] == [{"arn": first, "reason": "MISSING"}]
    current = [r["arn"] for r in (await described(ready))["currentServiceRevisions"]]
    answer = await ready.describe_service_revisions(serviceRevisionArns=current)
    assert answer["failures"] == []


async def test_a_definition_in_use_is_not_forgotten(ready: Ecs) -> None:
    await create(ready)
    await ready.deregister_task_definition(taskDefinition="web:1")
    await ready.delete_task_definitions(taskDefinitions=["web:1"])
    assert (await ready.describe_task_definition(taskDefinition="web:1"))["taskDefinition"]["status"] == (
        "DELETE_IN_PROGRESS"
    )
    await end(ready)
    ready.clock.advance(ready.call.settings.stopped_task_seconds + 120)
    await ready.forget()
    with refused("ClientException", "Unable to describe task definition."):
        await ready.describe_task_definition(taskDefinition="web:1")


async def test_protection_of_its_tasks(ready: Ecs) -> None:
    await create(ready)
    first, second, stopped = await ready.start(3)
    await adopt(ready, first)
    await adopt(ready, stopped, last_status="STOPPED", desired_status="STOPPED")
    asked = {"cluster": "default", "tasks": [first, second, stopped]}
    failures = [
        {"arn": second, "reason": "TASK_NOT_VALID", "detail": "The task is not part of a service."},
        {"arn": stopped, "reason": "TASK_NOT_VALID", "detail": "The task has stopped."},
    ]
    now = ready.clock.now()
    for minutes, expected in (({}, 120), ({"expiresInMinutes": 5}, 5)):
        answer = await ready.update_task_protection(**asked, protectionEnabled=True, **minutes)
        protected = [{"taskArn": first, "protectionEnabled": True, "expirationDate": now + 60.0 * expected}]
        assert answer == {"protectedTasks": protected, "failures": failures}
        assert await ready.get_task_protection(**asked) == answer
    assert (await task_record(ready, first)).protected_until == now + 300
    ready.clock.advance(301)
    unprotected = [{"taskArn": first, "protectionEnabled": False}]
    assert (await ready.get_task_protection(**asked))["protectedTasks"] == unprotected
    await ready.update_task_protection(**asked, protectionEnabled=True)
    answer = await ready.update_task_protection(**asked, protectionEnabled=False)
    assert answer["protectedTasks"] == unprotected
    assert (await task_record(ready, first)).protected_until is None
