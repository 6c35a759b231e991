"""Tags of clusters, tasks and task definitions, by ARN."""

from typing import Any

import pytest

from tests.support.ecs import SCOPE, Ecs, refused

NO_ARN = "Invalid resource ARN: {} is no cluster, service, task set, task or task definition."
INVALID = "InvalidParameterException"


@pytest.fixture
async def arns(ready: Ecs) -> dict[str, str]:
    (task,) = await ready.start()
    await ready.untag_resource(resourceArn=SCOPE.arn("ecs", "task-definition/web:1"), tagKeys=["of"])
    return {
        "cluster": SCOPE.arn("ecs", "cluster/default"),
        "task-definition": SCOPE.arn("ecs", "task-definition/web:1"),
        "task": task,
    }


async def tags(ecs: Ecs, arn: str) -> dict[str, str]:
    found = (await ecs.list_tags_for_resource(resourceArn=arn))["tags"]
    return {tag["key"]: tag["value"] for tag in found}


KINDS = pytest.mark.parametrize("kind", ["cluster", "task", "task-definition"])


@KINDS
async def test_tags_are_added_changed_and_taken_away(ready: Ecs, arns: dict[str, str], kind: str) -> None:
    arn = arns[kind]
    assert await tags(ready, arn) == {}
    await ready.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "ö😀", "value": "é"}])
    await ready.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "2"}, {"key": "b"}])
    assert await tags(ready, arn) == {"a": "2", "ö😀": "é", "b": ""}
    await ready.untag_resource(resourceArn=arn, tagKeys=["a", "nosuch"])
    assert await tags(ready, arn) == {"ö😀": "é", "b": ""}


async def test_each_resource_shows_its_tags(ready: Ecs, arns: dict[str, str]) -> None:
    for kind, arn in arns.items():
        await ready.tag_resource(resourceArn=arn, tags=[{"key": "kind", "value": kind}])

    def expected(kind: str) -> list[dict[str, str]]:
        return [{"key": "kind", "value": kind}]

    (cluster,) = (await ready.describe_clusters(include=["TAGS"]))["clusters"]
    assert cluster["tags"] == expected("cluster")
    assert (await ready.task(arns["task"], include=["TAGS"]))["tags"] == expected("task")
    described = await ready.describe_task_definition(taskDefinition="web:1", include=["TAGS"])
    assert described["tags"] == expected("task-definition")


@KINDS
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"key": "AWS:x", "value": ""}], "aws: prefixed tag key names are not allowed for external use."),
        ([{"key": "a"}, {"key": "a"}], "Duplicate tag key 'a'. Tag keys must be unique."),
        ([{"value": "x"}], "Tag key must not be null or empty."),
        ([{"key": f"new{i}"} for i in range(50)], "The maximum number of tags per resource is 50."),
        ([{"key": "a", "value": "\ud800"}], "The request holds text or numbers out of range."),
    ],
)
async def test_what_is_refused_changes_nothing(
    ready: Ecs, arns: dict[str, str], kind: str, given: list[dict[str, Any]], message: str
) -> None:
    await ready.tag_resource(resourceArn=arns[kind], tags=[{"key": "old", "value": "1"}])
    with refused(INVALID, message):
        await ready.tag_resource(resourceArn=arns[kind], tags=given)
    assert await tags(ready, arns[kind]) == {"old": "1"}


async def test_fifty_fit(ready: Ecs, arns: dict[str, str]) -> None:
    fifty = [{"key": str(i), "value": "x"} for i in range(50)]
    await ready.tag_resource(resourceArn=arns["task"], tags=fifty)
    await ready.tag_resource(resourceArn=arns["task"], tags=fifty)
    with refused(INVALID, "The maximum number of tags per resource is 50."):
        await ready.tag_resource(resourceArn=arns["task"], tags=[{"key": "one more"}])


async def test_awss_own_tags_stay(ready: Ecs) -> None:
    (task,) = await ready.start(enableECSManagedTags=True)
    with refused(INVALID, "aws: prefixed tag key names are not allowed for external use."):
        await ready.untag_resource(resourceArn=task, tagKeys=["aws:ecs:clusterName"])
    assert await tags(ready, task) == {"aws:ecs:clusterName": "default"}


def gone(kind: str) -> tuple[str, str]:
    return INVALID, f"The specified {kind} is not found. Specify the ARN of one that exists."


@pytest.mark.parametrize(
    ("arn", "error"),
    [
        (SCOPE.arn("ecs", "cluster/nosuch"), ("ClusterNotFoundException", "Cluster not found.")),
        (SCOPE.arn("ecs", f"task/default/{'0' * 32}"), gone("task")),
        (SCOPE.arn("ecs", "task-definition/web:2"), gone("task-definition")),
        ("arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1", gone("task-definition")),
        ("arn:aws:ecs:us-east-1:999999999999:cluster/default",
         ("ClusterNotFoundException", "Cluster not found.")),
        ("web:1", (INVALID, NO_ARN.format("web:1"))),
        ("", (INVALID, NO_ARN.format(""))),
        ("arn:aws:s3:::b",
         (INVALID, NO_ARN.format("arn:aws:s3:::b"))),
        (SCOPE.arn("ecs", "cluster/\ud800"), (INVALID, "The request holds text or numbers out of range.")),
    ],
)  # fmt: skip
async def test_resources_that_are_none(ready: Ecs, arn: str, error: tuple[str, str]) -> None:
    with refused(*error):
        await ready.tag_resource(resourceArn=arn, tags=[])
    with refused(*error):
        await ready.untag_resource(resourceArn=arn, tagKeys=[])
    with refused(*error):
        await ready.list_tags_for_resource(resourceArn=arn)


async def test_a_deleted_cluster_has_no_tags(ecs: Ecs) -> None:
    arn = (await ecs.create_cluster(clusterName="c"))["cluster"]["clusterArn"]
    await ecs.delete_cluster(cluster="c")
    with refused("ClusterNotFoundException", "The referenced cluster was inactive."):
        await ecs.tag_resource(resourceArn=arn, tags=[{"key": "a"}])
