"""Deployments and revisions of services: described, listed, stopped, continued."""

from msgspec.structs import replace

from neargate.model.service import Pause
from neargate.state.catalog_services import SERVICE_DEPLOYMENT
from tests.support.ecs import SCOPE, Ecs, refused
from tests.support.ecs_services import (
    ARN,
    adopt,
    change,
    create,
    process_of,
    update,
)

NONE = SCOPE.arn("ecs", "service-deployment/default/web/none")
MISSING = ("ServiceDeploymentNotFoundException", "The specified service deployment was not found.")


async def test_a_deployment_as_it_begins_and_goes_on(ready: Ecs) -> None:
    made = await create(ready)
    arn = made["currentServiceDeployment"]
    revision = made["currentServiceRevisions"][0]["arn"]
    answer = await ready.describe_service_deployments(serviceDeploymentArns=[arn, arn, NONE])
    assert answer["failures"] == [{"arn": NONE, "reason": "MISSING"}]
    (shown,) = answer["serviceDeployments"]
    now = ready.clock.now()
    assert shown == {
        "serviceDeploymentArn": arn,
        "serviceArn": ARN,
        "clusterArn": SCOPE.arn("ecs", "cluster/default"),
        "createdAt": now,
        "updatedAt": now,
        "status": "PENDING",
        "sourceServiceRevisions": [],
        "targetServiceRevision": {
            "arn": revision,
            "requestedTaskCount": 2,
            "runningTaskCount": 0,
            "pendingTaskCount": 0,
        },
        "deploymentConfiguration": made["deploymentConfiguration"],
        "deploymentCircuitBreaker": {"status": "DISABLED", "failureCount": 0, "threshold": 0},
        "alarms": {"status": "DISABLED", "alarmNames": [], "triggeredAlarmNames": []},
    }
    (task,) = await ready.start()
    await adopt(ready, task)
    after = await update(ready, forceNewDeployment=True, desiredCount=1)
    (shown,) = (
        await ready.describe_service_deployments(serviceDeploymentArns=[after["currentServiceDeployment"]])
    )["serviceDeployments"]
    assert shown["targetServiceRevision"]["requestedTaskCount"] == 1
    assert shown["sourceServiceRevisions"] == [
        {"arn": revision, "requestedTaskCount": 2, "runningTaskCount": 0, "pendingTaskCount": 1}
    ]


async def test_breaker_and_alarms(ready: Ecs) -> None:
    configuration = {
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "alarms": {"alarmNames": ["loud"], "enable": True, "rollback": True},
    }
    arn = (await create(ready, deploymentConfiguration=configuration))["currentServiceDeployment"]

    async def monitors() -> tuple[str, str]:
        answer = await ready.describe_service_deployments(serviceDeploymentArns=[arn])
        (shown,) = answer["serviceDeployments"]
        return shown["deploymentCircuitBreaker"]["status"], shown["alarms"]["status"]

    assert await monitors() == ("MONITORING", "MONITORING")
    await change(ready, arn, status="IN_PROGRESS", breaker_threshold=3, breaker_failures=3)
    assert await monitors() == ("TRIGGERED", "MONITORING")
    await change(ready, arn, breaker_failures=0, triggered_alarms=("loud",))
    assert await monitors() == ("MONITORING", "TRIGGERED")
    await change(ready, arn, triggered_alarms=(), status="SUCCESSFUL", finished_at=1.0)
    assert await monitors() == ("MONITORING_COMPLETE", "MONITORING_COMPLETE")
    await change(ready, arn, alarms_enabled=False)
    assert await monitors() == ("MONITORING_COMPLETE", "DISABLED")


async def test_a_shift_of_traffic(ready: Ecs) -> None:
    await create(ready)
    canary = {"strategy": "CANARY"}
    after = await update(ready, deploymentConfiguration=canary, forceNewDeployment=True)
    arn = after["currentServiceDeployment"]
    await change(ready, arn, status="IN_PROGRESS", stage="PRODUCTION_TRAFFIC_SHIFT", traffic=5.0)
    (shown,) = (await ready.describe_service_deployments(serviceDeploymentArns=[arn]))["serviceDeployments"]
    assert shown["lifecycleStage"] == "PRODUCTION_TRAFFIC_SHIFT"
    assert shown["targetServiceRevision"]["requestedProductionTrafficWeight"] == 5.0
    assert shown["targetServiceRevision"]["requestedTestTrafficWeight"] == 100.0
    (source,) = shown["sourceServiceRevisions"]
    assert source["requestedProductionTrafficWeight"] == 95.0
    assert source["requestedTestTrafficWeight"] == 0.0
    await change(
        ready, arn, rollback_revision=source["arn"], rollback_reason="alarm", rollback_started_at=9.0
    )
    (shown,) = (await ready.describe_service_deployments(serviceDeploymentArns=[arn]))["serviceDeployments"]
    assert shown["rollback"] == {"reason": "alarm", "serviceRevisionArn": source["arn"], "startedAt": 9.0}


async def test_listed_newest_first_by_status_and_time(ready: Ecs) -> None:
    await create(ready)
    arns = []
    for _ in range(3):
        ready.clock.advance(10)
        arns.append((await update(ready, forceNewDeployment=True))["currentServiceDeployment"])
    first = await ready.list_service_deployments(service="web", maxResults=3)
    assert [d["serviceDeploymentArn"] for d in first["serviceDeployments"]] == arns[::-1]
    rest = await ready.list_service_deployments(service=ARN, maxResults=3, nextToken=first["nextToken"])
    assert len(rest["serviceDeployments"]) == 1
    assert "nextToken" not in rest
    pending = await ready.list_service_deployments(service="web", status=["PENDING"])
    assert [d["serviceDeploymentArn"] for d in pending["serviceDeployments"]] == arns[-1:]
    created = first["serviceDeployments"][1]["createdAt"]
    for filter, expected in (({"after": created}, arns[:0:-1]), ({"before": created}, arns[1::-1])):
        found = await ready.list_service_deployments(service="web", createdAt=filter)
        listed = [d["serviceDeploymentArn"] for d in found["serviceDeployments"]]
        assert listed[: len(expected)] == expected
    stopped = (await ready.list_service_deployments(service="web", status=["STOPPED"]))["serviceDeployments"]
    assert {d["statusReason"] for d in stopped} == {"A newer service deployment was started."}
    with refused("ServiceNotFoundException", "Service not found."):
        await ready.list_service_deployments(service="none")


async def test_stopped(ready: Ecs) -> None:
    arn = (await create(ready))["currentServiceDeployment"]
    for _ in range(2):
        assert await ready.stop_service_deployment(serviceDeploymentArn=arn) == {"serviceDeploymentArn": arn}
        process = await process_of(ready, arn)
        assert (process.status, process.stop_type) == ("ROLLBACK_REQUESTED", "ROLLBACK")
    with refused(
        "ConflictException",
        "The service deployment cannot be stopped: its status is ROLLBACK_REQUESTED.",
    ) as caught:
        await ready.stop_service_deployment(serviceDeploymentArn=arn, stopType="ABORT")
    assert caught.value.fields == {"resourceIds": [arn]}
    arn = (await update(ready, forceNewDeployment=True))["currentServiceDeployment"]
    await ready.stop_service_deployment(serviceDeploymentArn=arn, stopType="ABORT")
    assert (await process_of(ready, arn)).status == "STOP_REQUESTED"
    await change(ready, arn, status="SUCCESSFUL")
    with refused("ConflictException", "The service deployment cannot be stopped: its status is SUCCESSFUL."):
        await ready.stop_service_deployment(serviceDeploymentArn=arn)
    with refused(*MISSING):
        await ready.stop_service_deployment(serviceDeploymentArn=NONE)


async def test_a_pause_is_answered_once(ready: Ecs) -> None:
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [hook]}
    made = await create(ready, deploymentConfiguration=configuration)
    arn = made["currentServiceDeployment"]
    with refused("InvalidParameterException", "The lifecycle hook x is not awaiting an action."):
        await ready.continue_service_deployment(serviceDeploymentArn=arn, hookId="x")
    (kept,) = made["deploymentConfiguration"]["lifecycleHooks"]
    pause = Pause(hook=kept, stage="POST_SCALE_UP", since=5.0, until=95.0)
    await change(ready, arn, status="IN_PROGRESS", stage="POST_SCALE_UP", paused=pause)

    async def detail() -> dict[str, object]:
        answer = await ready.describe_service_deployments(serviceDeploymentArns=[arn])
        (found,) = answer["serviceDeployments"][0]["lifecycleHookDetails"]
        return dict(found)

    id = (await detail()).pop("hookId")
    assert await detail() == {
        "hookId": id,
        "targetType": "PAUSE",
        "status": "AWAITING_ACTION",
        "expiresAt": 95.0,
        "timeoutAction": "ROLLBACK",
    }
    answer = await ready.continue_service_deployment(serviceDeploymentArn=arn, hookId=id, action="ROLLBACK")
    assert answer == {"serviceDeploymentArn": arn}
    process = await process_of(ready, arn)
    assert process.paused is not None and process.paused.answer == "ROLLBACK"
    assert (await detail())["status"] == "IN_PROGRESS"
    await ready.continue_service_deployment(serviceDeploymentArn=arn, hookId=id, action="ROLLBACK")
    already = f"The lifecycle hook {id} was already answered with ROLLBACK."
    with refused("InvalidParameterException", already):
        await ready.continue_service_deployment(serviceDeploymentArn=arn, hookId=id)
    await change(ready, arn, paused=replace(pause, since=6.0))
    assert (await detail())["hookId"] != id
    with refused(*MISSING):
        await ready.continue_service_deployment(serviceDeploymentArn=NONE, hookId="x")


async def test_revisions(ready: Ecs) -> None:
    made = await create(ready)
    arn = made["currentServiceRevisions"][0]["arn"]
    none = SCOPE.arn("ecs", "service-revision/default/web/1")
    answer = await ready.describe_service_revisions(serviceRevisionArns=[arn, none])
    assert answer["failures"] == [{"arn": none, "reason": "MISSING"}]
    assert answer["serviceRevisions"] == [
        {
            "serviceRevisionArn": arn,
            "serviceArn": ARN,
            "clusterArn": SCOPE.arn("ecs", "cluster/default"),
            "taskDefinition": SCOPE.arn("ecs", "task-definition/web:1"),
            "createdAt": ready.clock.now(),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "networkConfiguration": made["networkConfiguration"],
            "loadBalancers": [],
            "serviceRegistries": [],
            "containerImages": [
                {"containerName": "web-app", "image": "busybox:latest"},
                {"containerName": "side", "image": "busybox:latest"},
            ],
            "guardDutyEnabled": False,
        }
    ]
    for operation, member, what in (
        (ready.describe_service_revisions, "serviceRevisionArns", "ServiceRevisionArns"),
        (ready.describe_service_deployments, "serviceDeploymentArns", "ServiceDeploymentArns"),
    ):
        with refused("InvalidParameterException", f"{what} cannot be empty."):
            await operation(**{member: []})
        with refused("InvalidParameterException", f"{what} can have at most 20 items."):
            await operation(**{member: [arn] * 21})


async def test_a_deleted_services_deployment_is_over(ready: Ecs) -> None:
    arn = (await create(ready))["currentServiceDeployment"]
    await ready.delete_service(service="web", force=True)
    process = await process_of(ready, arn)
    assert (process.status, process.status_reason) == ("STOPPED", "The service was deleted.")
    assert await ready.store.read(lambda tx: tx.ids(SERVICE_DEPLOYMENT, "open", ARN)) == []
    assert (await ready.list_service_deployments(service="web"))["serviceDeployments"] != []
