"""Task definitions, operation by operation. The rules of their content are tested in tests/unit/model."""

from typing import Any

import pytest

from tests.support.ecs import ROLE, SCOPE, Ecs, container, definition, refused

CLIENT, INVALID = "ClientException", "InvalidParameterException"
GONE = (CLIENT, "Unable to describe task definition.")
UNREVISED = (CLIENT, "Revision is missing.")


def arn(family: str, revision: int) -> str:
    return SCOPE.arn("ecs", f"task-definition/{family}:{revision}")


def short(arns: list[str]) -> list[str]:
    return [a.rpartition("/")[2] for a in arns]


async def register(ecs: Ecs, *families: str, **members: Any) -> None:
    for family in families:
        await ecs.register_task_definition(**definition(family=family, **members))


async def drop(ecs: Ecs, name: str) -> None:
    await ecs.deregister_task_definition(taskDefinition=name)
    await ecs.delete_task_definitions(taskDefinitions=[name])


async def test_register_counts_revisions_and_tells_everything(ecs: Ecs) -> None:
    tags = [{"key": "a", "value": "b"}]
    await ecs.register_task_definition(**definition())
    answer = await ecs.register_task_definition(**definition(cpu=".25 vCPU", memory="0.5 GB"), tags=tags)
    made = answer["taskDefinition"]
    assert (made["taskDefinitionArn"], made["revision"], made["status"]) == (arn("web", 2), 2, "ACTIVE")
    assert (made["cpu"], made["memory"], made["networkMode"]) == ("256", "512", "awsvpc")
    assert made["compatibilities"] == ["EC2", "FARGATE"]
    assert made["registeredAt"] == ecs.clock.now()
    assert made["registeredBy"] == f"arn:aws:iam::{SCOPE.account}:root"
    assert made["requiresAttributes"]
    assert answer["tags"] == tags
    assert "tags" not in made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ROLE, ROLE),
        ("task-role", f"arn:aws:iam::{SCOPE.account}:role/task-role"),
        ("arn:aws:iam::999999999999:role/path/of/role", "arn:aws:iam::999999999999:role/path/of/role"),
    ],
)
async def test_roles_are_kept_as_arns(ecs: Ecs, given: str, kept: str) -> None:
    answer = await ecs.register_task_definition(**definition(taskRoleArn=given, executionRoleArn=given))
    made = answer["taskDefinition"]
    assert (made["taskRoleArn"], made["executionRoleArn"]) == (kept, kept)


@pytest.mark.parametrize("role", ["arn:aws:iam::123456789012:user/u", "arn:aws:s3:::b", "a b", "a/b", "ä"])
async def test_what_is_no_role(ecs: Ecs, role: str) -> None:
    for member in ("taskRoleArn", "executionRoleArn"):
        with refused(CLIENT, "Role is not valid"):
            await ecs.register_task_definition(**definition(**{member: role}))


async def test_a_refused_definition_leaves_nothing(ecs: Ecs) -> None:
    with refused(CLIENT, "Fargate only supports network mode ‘awsvpc’."):
        await ecs.register_task_definition(**definition(networkMode=None))
    with refused(INVALID, "Duplicate tag key 'a'. Tag keys must be unique."):
        await ecs.register_task_definition(**definition(), tags=[{"key": "a"}, {"key": "a"}])
    assert (await ecs.list_task_definitions())["taskDefinitionArns"] == []
    assert (await ecs.list_task_definition_families())["families"] == []
    await ecs.register_task_definition(**definition())
    assert short((await ecs.list_task_definitions())["taskDefinitionArns"]) == ["web:1"]


async def test_what_is_described_can_be_registered_again(ecs: Ecs) -> None:
    """What CI pipelines do: describe, drop the derived members, change the image, register."""
    full = container(
        portMappings=[{"containerPort": 80, "name": "http"}],
        environment=[{"name": "GRÜSSE", "value": "😀 \n\t\"'"}],
        healthCheck={"command": ["CMD-SHELL", "true"]},
        linuxParameters={"tmpfs": [{"containerPath": "/t", "size": 1}]},
    )
    await ecs.register_task_definition(**definition(full, volumes=[{"name": "v"}]))
    described = (await ecs.describe_task_definition(taskDefinition="web"))["taskDefinition"]
    derived = {"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities"}
    derived |= {"registeredAt", "registeredBy"}
    again = {k: v for k, v in described.items() if k not in derived}
    second = (await ecs.register_task_definition(**again))["taskDefinition"]
    assert second["revision"] == 2
    same = {k: v for k, v in second.items() if k not in ("taskDefinitionArn", "revision")}
    assert same == {k: v for k, v in described.items() if k not in ("taskDefinitionArn", "revision")}


@pytest.mark.parametrize(
    ("text", "revision"),
    [("web", 2), ("web:1", 1), (arn("web", 1), 1), (arn("web", 2), 2), (arn("web", 2).rpartition(":")[0], 2)],
)
async def test_describe_by_every_name(ecs: Ecs, text: str, revision: int) -> None:
    await register(ecs, "web", "web")
    described = await ecs.describe_task_definition(taskDefinition=text)
    assert described["taskDefinition"]["revision"] == revision
    assert "tags" not in described


async def test_describe_includes_tags(ecs: Ecs) -> None:
    tags = [{"key": "größe", "value": "ä=/@"}]
    await ecs.register_task_definition(**definition(), tags=tags)
    assert (await ecs.describe_task_definition(taskDefinition="web", include=["TAGS"]))["tags"] == tags


BAD_REVISION = "Invalid revision number. Number: {}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nosuch", GONE),
        ("web:2", GONE),
        ("web:999999999", GONE),
        ("arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1", GONE),
        ("arn:aws:ecs:us-east-1:999999999999:task-definition/web:1", GONE),
        ("web:0", (CLIENT, BAD_REVISION.format("0"))),
        ("web:-1", (CLIENT, BAD_REVISION.format("-1"))),
        ("web:", (CLIENT, BAD_REVISION.format(""))),
        ("web:latest", (CLIENT, BAD_REVISION.format("latest"))),
        ("web:1:1", (CLIENT, BAD_REVISION.format("1:1"))),
        ("web:١", (CLIENT, BAD_REVISION.format("١"))),
        ("web:" + "9" * 200, (CLIENT, BAD_REVISION.format("9" * 100))),
        ("", (CLIENT, "Invalid task definition ''.")),
        ("we b", (CLIENT, "Invalid task definition 'we b'.")),
        ("web%", (CLIENT, "Invalid task definition 'web%'.")),
        ("' OR '1'='1", (CLIENT, "Invalid task definition '' OR '1'='1'.")),
        ("arn:aws:ecs:r:1:cluster/web",
         (INVALID, "Invalid identifier: arn:aws:ecs:r:1:cluster/web is not the ARN of a task-definition.")),
    ],
)  # fmt: skip
async def test_names_that_are_none(ecs: Ecs, text: str, error: tuple[str, str]) -> None:
    await register(ecs, "web")
    with refused(*error):
        await ecs.describe_task_definition(taskDefinition=text)


async def test_deregistered_is_inactive_and_the_one_before_is_the_newest(ecs: Ecs) -> None:
    await register(ecs, "web", "web", "web")
    ecs.clock.advance(5)
    gone = (await ecs.deregister_task_definition(taskDefinition="web:3"))["taskDefinition"]
    assert (gone["status"], gone["deregisteredAt"]) == ("INACTIVE", ecs.clock.now())
    await ecs.deregister_task_definition(taskDefinition=arn("web", 1))
    assert (await ecs.describe_task_definition(taskDefinition="web"))["taskDefinition"]["revision"] == 2
    assert (await ecs.describe_task_definition(taskDefinition="web:3"))["taskDefinition"] == gone
    ecs.clock.advance(5)
    again = (await ecs.deregister_task_definition(taskDefinition="web:3"))["taskDefinition"]
    assert again == gone, "twice is the same"
    await ecs.deregister_task_definition(taskDefinition="web:2")
    with refused(*GONE):
        await ecs.describe_task_definition(taskDefinition="web")
    made = (await ecs.register_task_definition(**definition()))["taskDefinition"]
    assert made["revision"] == 4


async def test_deregister_refuses(ecs: Ecs) -> None:
    await register(ecs, "web")
    with refused(*UNREVISED):
        await ecs.deregister_task_definition(taskDefinition="web")
    with refused(CLIENT, "The specified task definition does not exist."):
        await ecs.deregister_task_definition(taskDefinition="web:2")


async def test_delete_takes_what_is_inactive(ecs: Ecs) -> None:
    await register(ecs, "web", "web")
    await ecs.deregister_task_definition(taskDefinition="web:2")
    elsewhere = "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:2"
    asked = ["web:1", "web:2", "web:2", "web:3", "web", "web:x", "a b:1", elsewhere]
    answer = await ecs.delete_task_definitions(taskDefinitions=asked)
    (deleted,) = answer["taskDefinitions"]
    assert (deleted["revision"], deleted["status"]) == (2, "DELETE_IN_PROGRESS")
    assert deleted["deleteRequestedAt"] == ecs.clock.now()
    again = " and try again."
    active = "The specified task definition is still in ACTIVE status. Please deregister the target" + again
    missing = (
        "The specified task definition does not exist. Specify a valid account, family, revision" + again
    )
    invalid = "The specified task definition identifier is invalid. Specify a valid name or ARN" + again
    assert [(f["arn"], f["reason"]) for f in answer["failures"]] == [
        ("web:1", active),
        ("web:3", missing),
        *((text, invalid) for text in asked[4:]),
    ]
    with refused(*GONE):
        await ecs.describe_task_definition(taskDefinition="web:2")
    await register(ecs, "web")
    assert short((await ecs.list_task_definitions())["taskDefinitionArns"]) == ["web:1", "web:3"]


async def test_delete_refuses(ecs: Ecs) -> None:
    with refused(INVALID, "Size of TaskDefinition references list must be greater than 0"):
        await ecs.delete_task_definitions(taskDefinitions=[])
    with refused(INVALID, "Size of TaskDefinition references list cannot exceed 10"):
        await ecs.delete_task_definitions(taskDefinitions=[f"web:{i}" for i in range(1, 12)])
    with refused(INVALID, "The request holds text or numbers out of range."):
        await ecs.delete_task_definitions(taskDefinitions=["\ud800"])


async def test_what_tasks_use_is_deleted_with_the_last_of_them(ecs: Ecs) -> None:
    await ecs.add_node()
    (task,) = await ecs.start()
    await ecs.settle()
    await ecs.deregister_task_definition(taskDefinition="web:1")
    await ecs.report(task, "RUNNING")
    await ecs.delete_task_definitions(taskDefinitions=["web:1"])
    listed = await ecs.list_task_definitions(status="DELETE_IN_PROGRESS")
    assert short(listed["taskDefinitionArns"]) == ["web:1"]
    described = (await ecs.describe_task_definition(taskDefinition="web:1"))["taskDefinition"]
    assert described["status"] == "DELETE_IN_PROGRESS"
    await ecs.report(task, "STOPPED", stopped_at=ecs.clock.now())
    await ecs.settle()
    assert (await ecs.task(task))["lastStatus"] == "STOPPED"
    ecs.clock.advance(2 * 3600)
    await ecs.forget()
    with refused(*GONE):
        await ecs.describe_task_definition(taskDefinition="web:1")


async def test_list_is_ordered_by_family_and_number(ecs: Ecs) -> None:
    await register(ecs, *["b"] * 11, "a", "b-2")
    await ecs.deregister_task_definition(taskDefinition="b:3")
    ascending = (await ecs.list_task_definitions())["taskDefinitionArns"]
    numbers = [1, 2, *range(4, 12)]
    assert short(ascending) == ["a:1", *(f"b:{n}" for n in numbers), "b-2:1"]
    descending = (await ecs.list_task_definitions(sort="DESC"))["taskDefinitionArns"]
    assert descending == ascending[::-1]
    only = (await ecs.list_task_definitions(familyPrefix="b", sort="DESC"))["taskDefinitionArns"]
    assert short(only) == [f"b:{n}" for n in reversed(numbers)]
    inactive = (await ecs.list_task_definitions(status="INACTIVE"))["taskDefinitionArns"]
    assert short(inactive) == ["b:3"]
    assert (await ecs.list_task_definitions(familyPrefix="%"))["taskDefinitionArns"] == []


@pytest.mark.parametrize("sort", ["ASC", "DESC"])
async def test_list_in_pages(ecs: Ecs, sort: str) -> None:
    await register(ecs, *["web"] * 12, "a")
    whole = (await ecs.list_task_definitions(sort=sort))["taskDefinitionArns"]
    found: list[str] = []
    token: dict[str, str] = {}
    for _ in range(3):
        answer = await ecs.list_task_definitions(sort=sort, maxResults=5, **token)
        found += answer["taskDefinitionArns"]
        token = {"nextToken": answer["nextToken"]} if "nextToken" in answer else {}
    assert (found, token) == (whole, {})
    with refused(INVALID, "Invalid token."):
        await ecs.list_task_definitions(nextToken="MXg=")
    with refused(INVALID, "Invalid maxResults: it must be between 1 and 100."):
        await ecs.list_task_definitions(maxResults=0)


async def test_families(ecs: Ecs) -> None:
    await register(ecs, "a", "ab", "b", "c")
    await ecs.deregister_task_definition(taskDefinition="ab:1")
    await drop(ecs, "c:1")

    async def families(**params: Any) -> list[str]:
        return list((await ecs.list_task_definition_families(**params))["families"])

    assert await families() == await families(status="ALL") == ["a", "ab", "b"]
    assert await families(status="ACTIVE") == ["a", "b"]
    assert await families(status="INACTIVE") == ["ab"]
    assert await families(familyPrefix="a") == ["a", "ab"]
    assert await families(familyPrefix="a%") == await families(familyPrefix="_") == []
    first = await ecs.list_task_definition_families(maxResults=2)
    assert first["families"] == ["a", "ab"]
    assert await families(maxResults=2, nextToken=first["nextToken"]) == ["b"]
    with refused(INVALID, "Invalid token."):
        await families(nextToken=first["nextToken"][:-1])
