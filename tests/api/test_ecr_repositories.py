"""The ECR API as functions on a store: repositories, their tags, policies and settings."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from neargate.oci import digest as digests
from tests.api.test_ecr import IN_WEB, refused
from tests.support import registry as support
from tests.support.registry import HOST, SCOPE, Registry, manifest, put_image

CONFIG = b"{}"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with support.opened(tmp_path) as registry:
        await registry.ecr.create_repository(repositoryName="web")
        yield registry


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with registry.http() as http:
        yield http


async def test_a_repository_from_birth_to_death(registry: Registry) -> None:
    ecr = registry.ecr
    made = (
        await ecr.create_repository(
            repositoryName="team/app",
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/k"},
            tags=[{"Key": "a", "Value": "b"}],
        )
    )["repository"]
    assert made["repositoryArn"] == f"arn:aws:ecr:us-east-1:{SCOPE.account}:repository/team/app"
    assert made["repositoryUri"] == f"{HOST}/team/app"
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/k"}
    assert (await ecr.describe_repositories(repositoryNames=["team/app"]))["repositories"] == [made]
    await refused(
        ecr.create_repository(repositoryName="team/app"),
        "RepositoryAlreadyExistsException",
        f"The repository with name 'team/app' already exists in the registry with id '{SCOPE.account}'",
    )
    gone = (await ecr.delete_repository(repositoryName="team/app"))["repository"]
    assert gone["repositoryName"] == "team/app"
    await refused(
        ecr.delete_repository(repositoryName="team/app"),
        "RepositoryNotFoundException",
        f"The repository with name 'team/app' does not exist in the registry with id '{SCOPE.account}'",
    )


async def test_repositories_in_pages(registry: Registry) -> None:
    for number in range(5):
        await registry.ecr.create_repository(repositoryName=f"r{number}")
    found: list[str] = []
    token: dict[str, Any] = {}
    while True:
        page = await registry.ecr.describe_repositories(maxResults=2, **token)
        assert len(page["repositories"]) <= 2
        found += [r["repositoryName"] for r in page["repositories"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == ["r0", "r1", "r2", "r3", "r4", "web"]
    other = await registry.ecr.describe_repositories(registryId="999999999999")
    assert other["repositories"] == []


async def test_a_repository_with_images_is_deleted_by_force_only(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    await put_image(http, "web", "v1", b"layer")
    await refused(
        registry.ecr.delete_repository(repositoryName="web"),
        "RepositoryNotEmptyException",
        f"The repository with name 'web' in registry with id '{SCOPE.account}' cannot be deleted because it "
        "still contains images",
    )
    await registry.ecr.delete_repository(repositoryName="web", force=True)
    assert (await registry.ecr.describe_repositories())["repositories"] == []


OPERATIONS: dict[str, dict[str, Any]] = {
    "describe_repositories": {"repositoryNames": ["none"]},
    "delete_repository": {},
    "describe_images": {},
    "list_images": {},
    "batch_get_image": {"imageIds": [{"imageTag": "v1"}]},
    "batch_delete_image": {"imageIds": [{"imageTag": "v1"}]},
    "put_image": {"imageManifest": manifest(CONFIG).decode()},
    "put_image_tag_mutability": {"imageTagMutability": "MUTABLE"},
    "put_image_scanning_configuration": {"imageScanningConfiguration": {"scanOnPush": True}},
    "get_lifecycle_policy": {},
    "delete_lifecycle_policy": {},
    "get_repository_policy": {},
    "delete_repository_policy": {},
    "set_repository_policy": {"policyText": '{"Statement":[]}'},
    "initiate_layer_upload": {},
    "batch_check_layer_availability": {"layerDigests": [digests.of(b"x")]},
    "get_download_url_for_layer": {"layerDigest": digests.of(b"x")},
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("where", [{}, {"registryId": "999999999999"}])
async def test_a_repository_that_is_not_there(
    registry: Registry, operation: str, where: dict[str, str]
) -> None:
    params = {**OPERATIONS[operation], **where}
    if operation != "describe_repositories":
        params["repositoryName"] = "none" if not where else "web"
    elif where:
        params["repositoryNames"] = ["web"]
    await refused(
        getattr(registry.ecr, operation)(**params), "RepositoryNotFoundException", "does not exist in"
    )


@pytest.mark.parametrize("name", ["UPPER", "-x", "x/", "a//b", "a..b", "üü", "a b"])
async def test_what_is_no_name_of_a_repository(registry: Registry, name: str) -> None:
    for operation in ("create_repository", "list_images"):
        await refused(
            getattr(registry.ecr, operation)(repositoryName=name),
            "InvalidParameterException",
            "Invalid parameter at 'repositoryName' failed to satisfy constraint",
        )


async def test_tags_of_repositories(registry: Registry) -> None:
    ecr, arn = registry.ecr, f"arn:aws:ecr:us-east-1:{SCOPE.account}:repository/web"
    await ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    await ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "3"}])
    await ecr.untag_resource(resourceArn=arn, tagKeys=["b", "c"])
    assert (await ecr.list_tags_for_resource(resourceArn=arn))["tags"] == [{"Key": "a", "Value": "3"}]
    too_many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    await refused(ecr.tag_resource(resourceArn=arn, tags=too_many), "TooManyTagsException")
    await refused(
        ecr.tag_resource(resourceArn=arn, tags=[{"Key": "", "Value": ""}]), "InvalidTagParameterException"
    )
    await refused(ecr.list_tags_for_resource(resourceArn=arn + "x"), "RepositoryNotFoundException")
    await refused(ecr.list_tags_for_resource(resourceArn="arn:aws:s3:::x"), "InvalidParameterException")


async def test_policies_are_kept(registry: Registry) -> None:
    ecr = registry.ecr
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*"}]}'
    rule = {"rulePriority": 1, "selection": {"tagStatus": "untagged"}, "action": {"type": "expire"}}
    lifecycle = json.dumps({"rules": [{**rule, "description": "d" * 100}]})
    for kind, setter, text, missing in (
        ("repository_policy", ecr.set_repository_policy, {"policyText": policy}, "RepositoryPolicyNotFound"),
        (
            "lifecycle_policy",
            ecr.put_lifecycle_policy,
            {"lifecyclePolicyText": lifecycle},
            "LifecyclePolicyNotFound",
        ),
    ):
        get, delete = getattr(ecr, f"get_{kind}"), getattr(ecr, f"delete_{kind}")
        await refused(get(repositoryName="web"), f"{missing}Exception", f"does not exist for {IN_WEB}")
        expected = {"registryId": SCOPE.account, "repositoryName": "web", **text}
        assert await setter(repositoryName="web", **text) == expected
        assert await get(repositoryName="web") == expected
        assert await delete(repositoryName="web") == expected
        await refused(delete(repositoryName="web"), f"{missing}Exception")


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"Statement":1}', "[" * 10_000])
async def test_what_is_no_policy(registry: Registry, text: str) -> None:
    call = registry.ecr.set_repository_policy(repositoryName="web", policyText=text)
    await refused(call, "InvalidParameterException")
    call = registry.ecr.put_lifecycle_policy(repositoryName="web", lifecyclePolicyText=text + " " * 100)
    await refused(call, "InvalidParameterException")


async def test_settings_of_repositories(registry: Registry) -> None:
    ecr = registry.ecr
    filters = [{"filterType": "WILDCARD", "filter": "dev-*"}]
    answer = await ecr.put_image_tag_mutability(
        repositoryName="web",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=filters,
    )
    assert answer["imageTagMutabilityExclusionFilters"] == filters
    await ecr.put_image_scanning_configuration(
        repositoryName="web", imageScanningConfiguration={"scanOnPush": True}
    )
    shown = (await ecr.describe_repositories())["repositories"][0]
    assert shown["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert shown["imageScanningConfiguration"] == {"scanOnPush": True}
    for mutability, given in (("IMMUTABLE", filters), ("IMMUTABLE_WITH_EXCLUSION", filters * 6)):
        await refused(
            ecr.put_image_tag_mutability(
                repositoryName="web",
                imageTagMutability=mutability,
                imageTagMutabilityExclusionFilters=given,
            ),
            "InvalidParameterException",
        )
    await refused(
        ecr.put_image_tag_mutability(repositoryName="web", imageTagMutability="MUTABLE_WITH_EXCLUSION"),
        "InvalidParameterException",
    )
    described = await ecr.describe_registry()
    assert described == {"registryId": SCOPE.account, "replicationConfiguration": {"rules": []}}
