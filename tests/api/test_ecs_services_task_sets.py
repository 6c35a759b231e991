"""Task sets of services with an EXTERNAL deployment controller."""

from typing import Any

from tests.support.ecs import SCOPE, Ecs, refused
from tests.support.ecs_services import ARN, adopt, create, described, external

INVALID = "InvalidParameterException"
NOT_FOUND = ("TaskSetNotFoundException", "The specified task set was not found.")


async def make(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    params = {
        "cluster": "default",
        "service": "web",
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": ecs.network,
        **changes,
    }
    answer = await ecs.create_task_set(**{k: v for k, v in params.items() if v is not None})
    return dict(answer["taskSet"])


def of(task_set: dict[str, Any] | str, **params: Any) -> dict[str, Any]:
    name = task_set if isinstance(task_set, str) else task_set["id"]
    return {"cluster": "default", "service": "web", "taskSet": name, **params}


def percent(value: float) -> dict[str, Any]:
    return {"value": value, "unit": "PERCENT"}


async def test_its_definition_is_not_deleted_under_it(ready: Ecs) -> None:
    await external(ready)
    await make(ready, scale=percent(0.0))
    await ready.deregister_task_definition(taskDefinition="web:1")
    await ready.delete_task_definitions(taskDefinitions=["web:1"])
    shown = (await ready.describe_task_definition(taskDefinition="web:1"))["taskDefinition"]
    assert shown["status"] == "DELETE_IN_PROGRESS"


async def test_a_task_set_as_it_is_made(ready: Ecs) -> None:
    await external(ready, desiredCount=3)
    tags = [{"key": "a", "value": "b"}]
    made = await make(ready, scale=percent(50.0), externalId="mine", tags=tags)
    id, now = made["id"], ready.clock.now()
    assert id.startswith("ecs-svc/") and len(id) == len("ecs-svc/") + 19
    assert made == {
        "id": id,
        "taskSetArn": SCOPE.arn("ecs", f"task-set/default/web/{id}"),
        "serviceArn": ARN,
        "clusterArn": SCOPE.arn("ecs", "cluster/default"),
        "status": "ACTIVE",
        "taskDefinition": SCOPE.arn("ecs", "task-definition/web:1"),
        "computedDesiredCount": 2,
        "pendingCount": 0,
        "runningCount": 0,
        "createdAt": now,
        "updatedAt": now,
        "scale": percent(50.0),
        "stabilityStatus": "STABILIZING",
        "stabilityStatusAt": now,
        "loadBalancers": [],
        "serviceRegistries": [],
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ready.subnets,
                "securityGroups": [],
                "assignPublicIp": "DISABLED",
            }
        },
        "externalId": "mine",
        "tags": tags,
    }
    plain = {k: v for k, v in made.items() if k != "tags"}
    service = await described(ready)
    assert service["taskSets"] == [plain]
    where = {"cluster": "default", "service": ARN}
    assert await ready.describe_task_sets(**where) == {"taskSets": [plain], "failures": []}
    asked = [made["taskSetArn"], id, "ecs-svc/1", "x"]
    answer = await ready.describe_task_sets(**where, taskSets=asked, include=["TAGS"])
    assert answer["taskSets"] == [made]
    unknown = SCOPE.arn("ecs", "task-set/default/web/ecs-svc/1")
    assert [f["arn"] for f in answer["failures"]] == [unknown, "x"]
    assert (await ready.list_tags_for_resource(resourceArn=made["taskSetArn"]))["tags"] == tags


async def test_its_tasks_are_counted(ready: Ecs) -> None:
    await external(ready)
    made = await make(ready)
    (task,) = await ready.start()
    await adopt(ready, task, started_by=made["id"], last_status="RUNNING")
    service = await described(ready)
    assert (service["runningCount"], service["taskSets"][0]["runningCount"]) == (1, 1)
    assert service["taskSets"][0]["computedDesiredCount"] == 2


async def test_scaled_and_made_the_primary_one(ready: Ecs) -> None:
    await external(ready)
    blue, green = await make(ready), await make(ready, scale=percent(0.0))
    for chosen, other in ((blue, green), (green, blue)):
        answer = await ready.update_service_primary_task_set(
            cluster="default", service="web", primaryTaskSet=chosen["taskSetArn"]
        )
        assert answer["taskSet"]["status"] == "PRIMARY"
        statuses = {s["id"]: s["status"] for s in (await described(ready))["taskSets"]}
        assert statuses == {chosen["id"]: "PRIMARY", other["id"]: "ACTIVE"}
    answer = await ready.update_task_set(**of(green, scale=percent(100.0)))
    assert (answer["taskSet"]["scale"], answer["taskSet"]["computedDesiredCount"]) == (percent(100.0), 2)
    with refused(INVALID, "The value of scale must be between 0.0 and 100.0."):
        await ready.update_task_set(**of(green, scale=percent(100.5)))
    with refused(*NOT_FOUND):
        await ready.update_task_set(**of("ecs-svc/1", scale=percent(1.0)))


async def test_deleted(ready: Ecs) -> None:
    await external(ready)
    made = await make(ready)
    with refused(INVALID, "The task set cannot be deleted while it is scaled above 0."):
        await ready.delete_task_set(**of(made))
    gone = (await ready.delete_task_set(**of(made, force=True)))["taskSet"]
    assert (gone["status"], gone["computedDesiredCount"]) == ("DRAINING", 0)
    assert (await ready.delete_task_set(**of(made)))["taskSet"]["status"] == "DRAINING"
    with refused(INVALID, "A task set that is draining cannot be the primary one."):
        await ready.update_service_primary_task_set(
            cluster="default", service="web", primaryTaskSet=made["id"]
        )
    other = await make(ready, scale=percent(0.0))
    await ready.update_service_primary_task_set(cluster="default", service="web", primaryTaskSet=other["id"])
    with refused(INVALID, "The primary task set of a service cannot be deleted. Use force to do so."):
        await ready.delete_task_set(**of(other))
    await ready.update_service(service="web", desiredCount=0)
    with refused(INVALID, "The service cannot be stopped while it has task sets."):
        await ready.delete_service(service="web")
    answer = await ready.delete_service(service="web", force=True)
    assert answer["service"]["status"] == "DRAINING"
    assert {s["status"] for s in answer["service"]["taskSets"]} == {"DRAINING"}


async def test_the_same_request_again(ready: Ecs) -> None:
    await external(ready)
    made = await make(ready, clientToken="t")
    assert await make(ready, clientToken="t") == made
    with refused(INVALID, "Creation of task set was not idempotent."):
        await make(ready, clientToken="t", externalId="other")
    for _ in range(4):
        await make(ready)
    with refused(INVALID, "A service can have at most 5 task sets."):
        await make(ready)


async def test_only_of_services_that_somebody_else_deploys(ready: Ecs) -> None:
    await create(ready)
    only = "Task sets are only supported for services with an EXTERNAL deployment controller."
    with refused(INVALID, only):
        await make(ready)
    with refused(INVALID, only):
        await ready.describe_task_sets(cluster="default", service="web")
    with refused("ServiceNotFoundException", "Service not found."):
        await make(ready, service="none")
    with refused("ClusterNotFoundException", "Cluster not found."):
        await make(ready, cluster="none")
