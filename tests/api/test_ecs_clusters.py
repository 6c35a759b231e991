"""Clusters and their capacity providers, operation by operation."""

from typing import Any

import pytest

from neargate.state.catalog_discovery import NAMESPACE
from tests.support.ecs import SCOPE, Ecs, definition, refused

NOT_FOUND = ("ClusterNotFoundException", "Cluster not found.")
INVALID = "InvalidParameterException"
ALL = ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"]


def arn(name: str) -> str:
    return SCOPE.arn("ecs", f"cluster/{name}")


async def test_create_answers_with_everything_and_is_called_default_without_a_name(ecs: Ecs) -> None:
    (cluster,) = (await ecs.create_cluster()).values()
    assert (cluster["clusterName"], cluster["clusterArn"]) == ("default", arn("default"))
    assert cluster["status"] == "ACTIVE"
    assert cluster["settings"] == [{"name": "containerInsights", "value": "disabled"}]
    assert (cluster["capacityProviders"], cluster["defaultCapacityProviderStrategy"]) == ([], [])
    assert cluster["runningTasksCount"] == cluster["pendingTasksCount"] == cluster["activeServicesCount"] == 0


async def test_create_keeps_what_it_was_given(ecs: Ecs) -> None:
    given = {
        "clusterName": "prod",
        "tags": [{"key": "team", "value": "päris 🚀"}, {"key": "empty"}],
        "settings": [{"name": "containerInsights", "value": "enhanced"}],
        "configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}},
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 2}],
        "serviceConnectDefaults": {"namespace": "ns"},
    }
    await ecs.create_cluster(**given)
    (cluster,) = (await ecs.describe_clusters(clusters=["prod"], include=ALL))["clusters"]
    assert cluster["tags"] == [{"key": "team", "value": "päris 🚀"}, {"key": "empty", "value": ""}]
    assert cluster["settings"] == given["settings"]
    assert cluster["configuration"] == given["configuration"]
    assert cluster["capacityProviders"] == given["capacityProviders"]
    assert cluster["defaultCapacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE_SPOT", "weight": 2, "base": 0}
    ]
    namespace = cluster["serviceConnectDefaults"]["namespace"]
    assert namespace.startswith(SCOPE.arn("servicediscovery", "namespace/ns-"))
    assert (await ecs.create_cluster(**given))["cluster"]["serviceConnectDefaults"]["namespace"] == namespace
    other = await ecs.create_cluster(clusterName="other", serviceConnectDefaults={"namespace": namespace})
    assert other["cluster"]["serviceConnectDefaults"]["namespace"] == namespace
    (made,) = await ecs.store.read(lambda tx: tx.all(NAMESPACE))
    assert (made.arn, made.name, made.type) == (namespace, "ns", "HTTP")
    none = SCOPE.arn("servicediscovery", "namespace/ns-none")
    with refused("NamespaceNotFoundException", f"The specified namespace was not found: {none}"):
        await ecs.update_cluster(cluster="other", serviceConnectDefaults={"namespace": none})


async def test_create_again_is_the_same_cluster_unless_it_should_be_another(ecs: Ecs) -> None:
    first = await ecs.create_cluster(clusterName="c", tags=[{"key": "a", "value": "1"}])
    assert await ecs.create_cluster(clusterName="c") == first
    assert await ecs.create_cluster(clusterName="c", tags=[{"key": "a", "value": "1"}]) == first
    message = (
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
    )
    for other in ({"tags": [{"key": "a", "value": "2"}]}, {"capacityProviders": ["FARGATE"]}):
        with refused(INVALID, message):
            await ecs.create_cluster(clusterName="c", **other)
    assert (await ecs.list_clusters())["clusterArns"] == [arn("c")]


BAD_NAME = "Invalid cluster name: up to 255 letters, numbers, hyphens and underscores are allowed."
STRATEGY = "defaultCapacityProviderStrategy"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"clusterName": "a b"}, BAD_NAME),
        ({"clusterName": "a/b"}, BAD_NAME),
        ({"clusterName": "ä"}, BAD_NAME),
        ({"clusterName": "x" * 256}, BAD_NAME),
        ({"clusterName": "c\n"}, BAD_NAME),
        ({"clusterName": "' OR 1=1 --"}, BAD_NAME),
        ({"clusterName": arn("c")}, "Invalid cluster name: an ARN is not a name."),
        ({"settings": [{"name": "containerInsights", "value": "loud"}]},
         "Invalid cluster setting containerInsights=loud: containerInsights is one of enabled, enhanced,"
         " disabled."),
        ({"tags": [{"key": "a"}, {"key": "a"}]}, "Duplicate tag key 'a'. Tag keys must be unique."),
        ({"tags": [{"key": "AWS:x"}]}, "aws: prefixed tag key names are not allowed for external use."),
        ({"tags": [{"value": "x"}]}, "Tag key must not be null or empty."),
        ({"tags": [{"key": str(i)} for i in range(51)]}, "The maximum number of tags per resource is 50."),
        ({"tags": [{"key": "\ud800"}]}, "The request holds text or numbers out of range."),
        (
            {"configuration": {"executeCommandConfiguration": {"logConfiguration": {"s3BucketName": "b"}}}},
            "You must set logging to 'OVERRIDE' when you supply a log configuration.",
        ),
        (
            {"configuration": {"executeCommandConfiguration": {"logging": "OVERRIDE"}}},
            "A CloudWatch log group name or S3 bucket name must be specified when overriding the default log"
            " configuration.",
        ),
        ({"capacityProviders": ["mine"]}, "The specified capacity provider 'mine' was not found."),
        ({STRATEGY: [{"capacityProvider": "FARGATE", "weight": 1}]},
         "The specified capacity provider strategy cannot contain a capacity provider that is not associated"
         " with the cluster"),
    ],
)  # fmt: skip
async def test_create_refuses(ecs: Ecs, params: dict[str, Any], message: str) -> None:
    with refused(INVALID, message):
        await ecs.create_cluster(**params)
    assert (await ecs.list_clusters())["clusterArns"] == []


async def test_describe_shows_only_what_is_included(ecs: Ecs) -> None:
    await ecs.create_cluster(tags=[{"key": "a", "value": "b"}])
    (plain,) = (await ecs.describe_clusters())["clusters"]
    assert (plain["tags"], plain["settings"], plain["statistics"]) == ([], [], [])
    assert "attachments" not in plain
    (whole,) = (await ecs.describe_clusters(include=ALL))["clusters"]
    assert whole["tags"] == [{"key": "a", "value": "b"}]
    assert whole["settings"] == [{"name": "containerInsights", "value": "disabled"}]
    assert whole["attachments"] == []
    assert {s["name"] for s in whole["statistics"]} >= {
        "runningFargateTasksCount",
        "pendingFargateTasksCount",
        "activeFargateServiceCount",
        "drainingFargateServiceCount",
        "runningEC2TasksCount",
    }


async def test_describe_finds_by_name_and_arn_and_says_what_is_missing(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="a")
    elsewhere = "arn:aws:ecs:eu-west-1:123456789012:cluster/a"
    stranger = "arn:aws:ecs:us-east-1:999999999999:cluster/a"
    answer = await ecs.describe_clusters(clusters=["a", arn("a"), "b", elsewhere, stranger])
    assert [c["clusterArn"] for c in answer["clusters"]] == [arn("a")]
    assert answer["failures"] == [
        {"arn": missing, "reason": "MISSING"} for missing in (arn("b"), elsewhere, stranger)
    ]
    assert (await ecs.describe_clusters())["failures"] == [{"arn": arn("default"), "reason": "MISSING"}]


async def test_describe_takes_a_hundred(ecs: Ecs) -> None:
    answer = await ecs.describe_clusters(clusters=[f"c{i}" for i in range(100)])
    assert len(answer["failures"]) == 100
    with refused(INVALID, "Clusters can have at most 100 items."):
        await ecs.describe_clusters(clusters=[f"c{i}" for i in range(101)])


async def test_statistics_count_the_tasks(ecs: Ecs) -> None:
    await ecs.add_node()
    first, second = await ecs.start(2)
    await ecs.settle()
    await ecs.report(first, "RUNNING")
    (cluster,) = (await ecs.describe_clusters(include=["STATISTICS"]))["clusters"]
    assert (cluster["runningTasksCount"], cluster["pendingTasksCount"]) == (1, 1)
    statistics = {s["name"]: s["value"] for s in cluster["statistics"]}
    assert (statistics["runningFargateTasksCount"], statistics["pendingFargateTasksCount"]) == ("1", "1")
    await ecs.report(second, "STOPPED")
    (cluster,) = (await ecs.describe_clusters())["clusters"]
    assert (cluster["runningTasksCount"], cluster["pendingTasksCount"]) == (1, 0)


async def test_list_goes_on_where_it_stopped(ecs: Ecs) -> None:
    for i in range(7):
        await ecs.create_cluster(clusterName=f"c{i}")
    found, params = [], {}
    while True:
        answer = await ecs.list_clusters(maxResults=3, **params)
        found.append([a.rpartition("/")[2] for a in answer["clusterArns"]])
        if "nextToken" not in answer:
            break
        params = {"nextToken": answer["nextToken"]}
    assert found == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"]]


async def test_list_refuses_other_tokens_and_sizes(ecs: Ecs) -> None:
    for i in range(2):
        await ecs.create_cluster(clusterName=f"c{i}")
    token = (await ecs.list_clusters(maxResults=1))["nextToken"]
    tampered = [token[:-4] + "AAAA", token[1:], "x", "ä", "MQ==", token + "=", "\ud800", "=" * 9000]
    for text in tampered:
        with refused(INVALID, "Invalid token."):
            await ecs.list_clusters(nextToken=text)
    with refused(INVALID, "Invalid token."):
        await ecs.list_task_definition_families(nextToken=token)
    for size in (0, -1, 101):
        with refused(INVALID, "Invalid maxResults: it must be between 1 and 100."):
            await ecs.list_clusters(maxResults=size)


async def test_update_changes_what_it_names(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="c", tags=[{"key": "a", "value": "b"}])
    configuration = {"executeCommandConfiguration": {"logging": "NONE"}}
    (cluster,) = (
        await ecs.update_cluster(
            cluster=arn("c"),
            settings=[{"name": "containerInsights", "value": "enabled"}],
            configuration=configuration,
            serviceConnectDefaults={"namespace": "ns"},
        )
    ).values()
    assert cluster["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    assert cluster["configuration"] == configuration
    (cluster,) = (await ecs.update_cluster(cluster="c", serviceConnectDefaults={"namespace": ""})).values()
    assert "serviceConnectDefaults" not in cluster
    assert (cluster["configuration"], cluster["tags"]) == (configuration, [{"key": "a", "value": "b"}])
    with refused(*NOT_FOUND):
        await ecs.update_cluster(cluster="d")


async def test_update_settings(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="c")
    insights = [{"name": "containerInsights", "value": "enhanced"}]
    (cluster,) = (await ecs.update_cluster_settings(cluster="c", settings=insights)).values()
    assert cluster["settings"] == insights
    with refused(INVALID, "Settings cannot be empty."):
        await ecs.update_cluster_settings(cluster="c", settings=[])
    with refused(*NOT_FOUND):
        await ecs.update_cluster_settings(cluster="d", settings=insights)


async def test_providers_are_put_whole(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="c")
    strategy = [{"capacityProvider": "FARGATE", "weight": 1, "base": 2}, {"capacityProvider": "FARGATE_SPOT"}]
    (cluster,) = (
        await ecs.put_cluster_capacity_providers(
            cluster="c",
            capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=strategy,
        )
    ).values()
    assert cluster["defaultCapacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE", "weight": 1, "base": 2},
        {"capacityProvider": "FARGATE_SPOT", "weight": 0, "base": 0},
    ]
    (cluster,) = (
        await ecs.put_cluster_capacity_providers(
            cluster="c", capacityProviders=[], defaultCapacityProviderStrategy=[]
        )
    ).values()
    assert (cluster["capacityProviders"], cluster["defaultCapacityProviderStrategy"]) == ([], [])


async def test_a_provider_that_tasks_use_stays(ecs: Ecs) -> None:
    await ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    (task,) = await ecs.start(launchType=None, capacityProviderStrategy=spot)
    only = {"cluster": "default", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []}
    with refused(
        "ResourceInUseException",
        "The specified capacity provider FARGATE_SPOT is in use and cannot be removed.",
    ):
        await ecs.put_cluster_capacity_providers(**only)
    await ecs.stop_task(task=task)
    await ecs.settle()
    assert (await ecs.put_cluster_capacity_providers(**only))["cluster"]["capacityProviders"] == ["FARGATE"]


async def test_providers_are_described(ecs: Ecs) -> None:
    answer = await ecs.describe_capacity_providers()
    assert [(p["name"], p["status"]) for p in answer["capacityProviders"]] == [
        ("FARGATE", "ACTIVE"),
        ("FARGATE_SPOT", "ACTIVE"),
    ]
    spot = SCOPE.arn("ecs", "capacity-provider/FARGATE_SPOT")
    answer = await ecs.describe_capacity_providers(capacityProviders=[spot, "mine"])
    assert [p["capacityProviderArn"] for p in answer["capacityProviders"]] == [spot]
    assert answer["failures"] == [{"arn": SCOPE.arn("ecs", "capacity-provider/mine"), "reason": "MISSING"}]
    first = await ecs.describe_capacity_providers(maxResults=1)
    second = await ecs.describe_capacity_providers(maxResults=1, nextToken=first["nextToken"])
    assert [p["name"] for p in second["capacityProviders"]] == ["FARGATE_SPOT"]
    assert "nextToken" not in second
    with refused(INVALID, "Invalid maxResults: it must be between 1 and 10."):
        await ecs.describe_capacity_providers(maxResults=11)
    with refused(INVALID, "Invalid token."):
        await ecs.describe_capacity_providers(nextToken="x")


async def test_providers_of_a_cluster(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="c", capacityProviders=["FARGATE"])
    answer = await ecs.describe_capacity_providers(cluster="c")
    assert [p["name"] for p in answer["capacityProviders"]] == ["FARGATE"]
    with refused(*NOT_FOUND):
        await ecs.describe_capacity_providers(cluster="d")


async def test_awss_providers_cannot_be_deleted(ecs: Ecs) -> None:
    with refused(
        "ClientException",
        "The capacity provider FARGATE is reserved by AWS and cannot be deleted. Use"
        " PutClusterCapacityProviders to take it from a cluster.",
    ):
        await ecs.delete_capacity_provider(capacityProvider="FARGATE")
    with refused(
        "ClientException",
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again.",
    ):
        await ecs.delete_capacity_provider(capacityProvider="mine")


async def test_delete_leaves_an_inactive_cluster_whose_name_is_free(ecs: Ecs) -> None:
    await ecs.create_cluster(clusterName="c", tags=[{"key": "a", "value": "b"}])
    assert (await ecs.delete_cluster(cluster="c"))["cluster"]["status"] == "INACTIVE"
    (cluster,) = (await ecs.describe_clusters(clusters=["c"]))["clusters"]
    assert cluster["status"] == "INACTIVE"
    assert (await ecs.list_clusters())["clusterArns"] == []
    inactive = ("ClusterNotFoundException", "The referenced cluster was inactive.")
    with refused(*inactive):
        await ecs.delete_cluster(cluster="c")
    with refused(*inactive):
        await ecs.list_tasks(cluster="c")
    again = (await ecs.create_cluster(clusterName="c"))["cluster"]
    assert (again["status"], again["tags"]) == ("ACTIVE", [])
    with refused(*NOT_FOUND):
        await ecs.delete_cluster(cluster="d")


async def test_a_cluster_with_tasks_stays_until_they_have_stopped(ecs: Ecs) -> None:
    await ecs.add_node()
    waiting, running = await ecs.start(2)
    await ecs.settle()
    await ecs.report(running, "RUNNING")
    await ecs.report(waiting, "STOPPED")
    still = ("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
    with refused(*still):
        await ecs.delete_cluster(cluster="default")
    await ecs.stop_task(task=running)
    await ecs.report(running, "STOPPING")
    with refused(*still):
        await ecs.delete_cluster(cluster="default")
    await ecs.report(running, "STOPPED")
    assert (await ecs.delete_cluster(cluster="default"))["cluster"]["status"] == "INACTIVE"
    assert (await ecs.task(running))["lastStatus"] == "STOPPED", "what it ran is remembered"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("arn:aws:ecs:eu-west-1:123456789012:cluster/c", NOT_FOUND),
        ("arn:aws:ecs:us-east-1:999999999999:cluster/c", NOT_FOUND),
        ("arn:aws-cn:ecs:us-east-1:123456789012:cluster/c", NOT_FOUND),
        (arn("c/d"), (INVALID, "Invalid cluster ARN: c/d")),
        ("arn:aws:s3:::b", (INVALID, "Invalid identifier: arn:aws:s3:::b is not the ARN of a cluster.")),
        ("arn:", (INVALID, "Invalid identifier: arn: is not the ARN of a cluster.")),
        ("%", (INVALID, BAD_NAME)),
    ],
)  # fmt: skip
async def test_names_that_are_no_cluster_of_ours(ecs: Ecs, text: str, error: tuple[str, str]) -> None:
    await ecs.create_cluster(clusterName="c")
    await ecs.register_task_definition(**definition())
    for operation, params in (
        (ecs.delete_cluster, {"cluster": text}),
        (ecs.update_cluster, {"cluster": text}),
        (ecs.list_tasks, {"cluster": text}),
        (ecs.run, {"cluster": text}),
        (ecs.stop_task, {"cluster": text, "task": "0" * 32}),
        (ecs.list_container_instances, {"cluster": text}),
        (ecs.list_services, {"cluster": text}),
    ):
        with refused(*error):
            await operation(**params)


async def test_a_cluster_has_no_instances_and_no_services(ecs: Ecs) -> None:
    await ecs.create_cluster()
    assert await ecs.list_container_instances() == {"containerInstanceArns": []}
    assert await ecs.list_attributes(targetType="container-instance") == {"attributes": []}
    assert await ecs.list_services() == {"serviceArns": []}
    answer = await ecs.describe_container_instances(containerInstances=["i"])
    assert answer["failures"] == [
        {"arn": SCOPE.arn("ecs", "container-instance/default/i"), "reason": "MISSING"}
    ]
    answer = await ecs.describe_services(services=["s"])
    assert answer == {
        "services": [],
        "failures": [{"arn": SCOPE.arn("ecs", "service/default/s"), "reason": "MISSING"}],
    }
