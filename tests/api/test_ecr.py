"""The ECR API as functions on a store: logins, images, layers; answers and errors as AWS gives them."""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from neargate.kit.errors import ApiError, CellError
from neargate.oci import digest as digests
from neargate.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from neargate.services.cell.local import LocalCell
from neargate.state import registry as records
from tests.support import registry as support
from tests.support.registry import SCOPE, Registry, manifest, put_blob, put_image

CONFIG = b"{}"
IN_WEB = f"the repository with name 'web' in the registry with id '{SCOPE.account}'"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with support.opened(tmp_path) as registry:
        await registry.ecr.create_repository(repositoryName="web")
        yield registry


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with registry.http() as http:
        yield http


async def refused(awaitable: Any, code: str, text: str = "") -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value
    assert text in caught.value.message
    return caught.value


# --- logins


async def test_the_login_names_the_door_and_ends_in_twelve_hours(registry: Registry) -> None:
    data = (await registry.ecr.get_authorization_token())["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert data["proxyEndpoint"] == registry.house.endpoint
    assert 0 <= registry.clock.now() + 12 * 3600 - data["expiresAt"] < 60
    assert (await registry.skopeo("login", "--tls-verify=false", "-u", "AWS", "-p", password, "{}")).stdout
    await refused(
        registry.ecr.get_authorization_token(registryIds=["999999999999"]), "InvalidParameterException"
    )


async def test_the_node_logs_in_as_clients_do(registry: Registry) -> None:
    user, password = await LocalCell(registry.house).registry_token(SCOPE.account, SCOPE.region)
    async with httpx.AsyncClient(base_url=registry.url, auth=(user, password), trust_env=False) as http:
        assert (await http.get("/v2/web/tags/list")).json() == {"name": "web", "tags": []}


async def test_the_node_is_handed_manifests(registry: Registry, http: httpx.AsyncClient) -> None:
    digest = await put_image(http, "web", "v1", b"layer")
    cell = LocalCell(registry.house)
    for ref in ("v1", digest):
        data, media_type, found = await cell.registry_manifest(SCOPE.account, SCOPE.region, "web", ref)
        assert (digests.of(data), media_type, found) == (digest, OCI_MANIFEST, digest)
    pulled = (await registry.ecr.describe_images(repositoryName="web"))["imageDetails"][0]
    assert pulled["lastRecordedPullTime"] >= pulled["imagePushedAt"]
    for repository, ref in (("web", "v2"), ("web", digests.of(b"x")), ("none", "v1")):
        with pytest.raises(CellError, match="NotFoundException"):
            await cell.registry_manifest(SCOPE.account, SCOPE.region, repository, ref)
    with pytest.raises(CellError, match="not served here"):
        await cell.registry_token("999999999999", SCOPE.region)


# --- images


async def test_images_are_described(registry: Registry, http: httpx.AsyncClient) -> None:
    ecr = registry.ecr
    first = await put_image(http, "web", "v1", b"layer", b"more")
    data = (await http.get("/v2/web/manifests/v1")).content
    await http.put("/v2/web/manifests/stable", content=data, headers={"content-type": OCI_MANIFEST})
    second = await put_image(http, "web", "v2", b"layer")
    third = await put_image(http, "web", "v2", b"more")  # takes the tag away
    details = {d["imageDigest"]: d for d in (await ecr.describe_images(repositoryName="web"))["imageDetails"]}
    assert details.keys() == {first, second, third}
    assert details[first]["imageTags"] == ["stable", "v1"]
    assert "imageTags" not in details[second]
    assert details[first]["imageSizeInBytes"] == len(b'{"config":"v1"}') + len(b"layer") + len(b"more")
    assert details[first]["imageManifestMediaType"] == OCI_MANIFEST
    assert details[first]["lastRecordedPullTime"] >= details[first]["imagePushedAt"]
    assert "lastRecordedPullTime" not in details[second]
    for status, expected in (("TAGGED", {first, third}), ("UNTAGGED", {second}), ("ANY", set(details))):
        found = await ecr.describe_images(repositoryName="web", filter={"tagStatus": status})
        assert {d["imageDigest"] for d in found["imageDetails"]} == expected
    one = await ecr.describe_images(
        repositoryName="web", imageIds=[{"imageTag": "v1"}, {"imageDigest": first}]
    )
    assert [d["imageDigest"] for d in one["imageDetails"]] == [first]
    await refused(
        ecr.describe_images(repositoryName="web", imageIds=[{"imageTag": "v9"}]),
        "ImageNotFoundException",
        "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository "
        f"with name 'web' in the registry with id '{SCOPE.account}'",
    )


async def test_images_in_pages(registry: Registry, http: httpx.AsyncClient) -> None:
    expected = set()
    for number in range(3):
        digest = await put_image(http, "web", f"v{number}", b"%d" % number)
        data = (await http.get(f"/v2/web/manifests/{digest}")).content
        kind = {"content-type": OCI_MANIFEST}
        await http.put(f"/v2/web/manifests/also-{number}", content=data, headers=kind)
        expected |= {(digest, f"v{number}"), (digest, f"also-{number}")}
    expected.add((await put_image(http, "web", "moving", b"a"), None))
    expected.add((await put_image(http, "web", "moving", b"b"), "moving"))
    for operation, member in (("list_images", "imageIds"), ("describe_images", "imageDetails")):
        found: list[dict[str, Any]] = []
        token: dict[str, Any] = {}
        while True:
            page = await getattr(registry.ecr, operation)(repositoryName="web", maxResults=2, **token)
            assert 1 <= len(page[member]) <= 2
            found += page[member]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        if operation == "list_images":
            assert {(i["imageDigest"], i.get("imageTag")) for i in found} == expected
            assert len(found) == len(expected)
        else:
            assert [d["imageDigest"] for d in found] == sorted({digest for digest, _ in expected})
    await refused(
        registry.ecr.list_images(repositoryName="web", nextToken="x"),
        "InvalidParameterException",
        "nextToken",
    )


async def test_images_are_got_in_batches(registry: Registry, http: httpx.AsyncClient) -> None:
    digest = await put_image(http, "web", "v1", b"layer")
    other = await put_image(http, "web", "v2", b"other")
    answer = await registry.ecr.batch_get_image(
        repositoryName="web",
        imageIds=[
            {"imageTag": "v1"},
            {"imageDigest": digest},
            {"imageTag": "v9"},
            {"imageTag": "v1", "imageDigest": other},
            {"imageDigest": "nonsense"},
            {},
        ],
    )
    assert [i["imageId"] for i in answer["images"]] == [
        {"imageDigest": digest, "imageTag": "v1"},
        {"imageDigest": digest},
    ]
    assert digests.of(answer["images"][0]["imageManifest"].encode()) == digest
    assert [f["failureCode"] for f in answer["failures"]] == [
        "ImageNotFound",
        "ImageTagDoesNotMatchDigest",
        "InvalidImageDigest",
        "MissingDigestAndTag",
    ]
    picky = await registry.ecr.batch_get_image(
        repositoryName="web", imageIds=[{"imageTag": "v1"}], acceptedMediaTypes=[DOCKER_MANIFEST]
    )
    assert (picky["images"], picky["failures"][0]["failureCode"]) == ([], "ImageNotFound")


async def test_images_are_deleted_in_batches(registry: Registry, http: httpx.AsyncClient) -> None:
    ecr = registry.ecr
    digest = await put_image(http, "web", "v1", b"layer")
    data = (await http.get("/v2/web/manifests/v1")).content.decode()
    await ecr.put_image(repositoryName="web", imageManifest=data, imageTag="v2")
    one = await ecr.batch_delete_image(
        repositoryName="web", imageIds=[{"imageTag": "v1"}, {"imageTag": "v9"}]
    )
    assert one["imageIds"] == [{"imageDigest": digest, "imageTag": "v1"}]
    assert [f["failureCode"] for f in one["failures"]] == ["ImageNotFound"]
    assert (await ecr.list_images(repositoryName="web"))["imageIds"] == [
        {"imageDigest": digest, "imageTag": "v2"}
    ]
    await ecr.batch_delete_image(repositoryName="web", imageIds=[{"imageTag": "v2"}])
    assert (await ecr.describe_images(repositoryName="web"))["imageDetails"] == []


async def test_an_image_of_an_index_is_not_deleted(registry: Registry, http: httpx.AsyncClient) -> None:
    digest = await put_image(http, "web", "v1", b"layer")
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}]
    text = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    index = await registry.ecr.put_image(repositoryName="web", imageManifest=text, imageTag="all")
    answer = await registry.ecr.batch_delete_image(repositoryName="web", imageIds=[{"imageDigest": digest}])
    named = index["image"]["imageId"]["imageDigest"]
    assert answer["failures"] == [
        {
            "imageId": {"imageDigest": digest},
            "failureCode": "ImageReferencedByManifestList",
            "failureReason": f"Requested image referenced by manifest list: [{named}]",
        }
    ]


async def test_put_image(registry: Registry, http: httpx.AsyncClient) -> None:
    ecr = registry.ecr
    text = manifest(CONFIG, b"layer").decode()
    digest = digests.of(text.encode())
    await put_blob(http, "web", CONFIG)
    await refused(
        ecr.put_image(repositoryName="web", imageManifest=text, imageTag="v1"),
        "LayersNotFoundException",
        f"Layers with digests '[{digests.of(b'layer')}]' required for pushing image into repository with "
        f"name 'web' in the registry with id '{SCOPE.account}' do not exist",
    )
    await put_blob(http, "web", b"layer")
    put = await ecr.put_image(repositoryName="web", imageManifest=text, imageTag="v1", imageDigest=digest)
    assert put["image"]["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    await refused(
        ecr.put_image(repositoryName="web", imageManifest=text, imageTag="v1"),
        "ImageAlreadyExistsException",
        f"Image with digest '{digest}' and tag 'v1' already exists in {IN_WEB}",
    )
    await ecr.put_image(repositoryName="web", imageManifest=text, imageTag="v2")
    await refused(
        ecr.put_image(repositoryName="web", imageManifest=text, imageDigest=digests.of(b"")),
        "ImageDigestDoesNotMatchException",
    )
    await ecr.put_image_tag_mutability(repositoryName="web", imageTagMutability="IMMUTABLE")
    await refused(
        ecr.put_image(repositoryName="web", imageManifest=manifest(CONFIG).decode(), imageTag="v1"),
        "ImageTagAlreadyExistsException",
        "The image tag 'v1' already exists in the 'web' repository and cannot be overwritten because the tag "
        "is immutable.",
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    entry = {"mediaType": OCI_MANIFEST, "digest": digests.of(b"none"), "size": 1}
    await refused(
        ecr.put_image(
            repositoryName="web", imageManifest=json.dumps({**index, "manifests": [entry]}), imageTag="x"
        ),
        "ReferencedImagesNotFoundException",
    )
    for bad in ({"imageManifest": "nonsense"}, {"imageManifest": text, "imageTag": "-x"}):
        await refused(ecr.put_image(repositoryName="web", **bad), "InvalidParameterException")


# --- layers


async def test_a_layer_by_the_api(registry: Registry) -> None:
    ecr = registry.ecr
    data = os.urandom(1_000_000)
    digest = digests.of(data)
    upload = (await ecr.initiate_layer_upload(repositoryName="web"))["uploadId"]
    here = {"repositoryName": "web", "uploadId": upload}
    await refused(ecr.complete_layer_upload(**here, layerDigests=[digest]), "EmptyUploadException")
    for start in (0, 600_000):
        part = data[start : start + 600_000]
        last = start + len(part) - 1
        answer = await ecr.upload_layer_part(
            **here, partFirstByte=start, partLastByte=last, layerPartBlob=part
        )
        assert answer["lastByteReceived"] == last
    error = await refused(
        ecr.upload_layer_part(**here, partFirstByte=5, partLastByte=5, layerPartBlob=b"x"),
        "InvalidLayerPartException",
    )
    assert error.fields["lastValidByteReceived"] == 999_999
    done = await ecr.complete_layer_upload(**here, layerDigests=[digest])
    assert done["layerDigest"] == digest
    checked = await ecr.batch_check_layer_availability(
        repositoryName="web", layerDigests=[digest, digests.of(b"none"), "bad"]
    )
    assert [(x["layerAvailability"], x.get("layerSize")) for x in checked["layers"]] == [
        ("AVAILABLE", 1_000_000),
        ("UNAVAILABLE", None),
    ]
    assert [f["failureCode"] for f in checked["failures"]] == ["InvalidLayerDigest"]


async def test_a_layer_that_is_wrong_doubled_or_unknown(registry: Registry, http: httpx.AsyncClient) -> None:
    ecr = registry.ecr
    digest = await put_blob(http, "web", b"layer")
    for wanted, code in (
        (digest, "LayerAlreadyExistsException"),
        (digests.of(b"x"), "InvalidLayerException"),
    ):
        upload = (await ecr.initiate_layer_upload(repositoryName="web"))["uploadId"]
        here = {"repositoryName": "web", "uploadId": upload}
        await ecr.upload_layer_part(**here, partFirstByte=0, partLastByte=4, layerPartBlob=b"layer")
        await refused(ecr.complete_layer_upload(**here, layerDigests=[wanted]), code)
        await refused(ecr.complete_layer_upload(**here, layerDigests=[wanted]), "UploadNotFoundException")
    assert list(registry.house.blobs.uploads.iterdir()) == []
    await refused(
        ecr.get_download_url_for_layer(repositoryName="web", layerDigest=digests.of(b"x")),
        "LayersNotFoundException",
    )


async def test_a_download_url_opens_its_layer_and_nothing_else(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    digest = await put_blob(http, "web", b"layer")
    other = await put_blob(http, "web", b"other")
    url = (await registry.ecr.get_download_url_for_layer(repositoryName="web", layerDigest=digest))[
        "downloadUrl"
    ]
    assert url.startswith(registry.house.endpoint + "/v2/web/blobs/")
    path = url.removeprefix(registry.house.endpoint)
    async with httpx.AsyncClient(base_url=registry.url, trust_env=False) as nobody:
        assert (await nobody.get(path)).content == b"layer"
        for method, wrong in (
            ("GET", path.replace(digest, other)),
            ("DELETE", path),
            ("GET", path.replace(f"blobs/{digest}", "tags/list")),
            ("GET", "/v2/?" + path.partition("?")[2]),
            ("GET", "/v2/_catalog?" + path.partition("?")[2]),
        ):
            assert (await nobody.request(method, wrong)).status_code == 403, wrong
        registry.clock.ahead = 3700
        assert (await nobody.get(path)).status_code == 403


async def test_records_alone_resolve_a_tag(registry: Registry, http: httpx.AsyncClient) -> None:
    """What a node may ask instead of the registry."""
    digest = await put_image(http, "web", "v1", b"layer")
    store = registry.house.store
    for ref in ("v1", digest):
        image = await store.read(lambda tx, ref=ref: records.resolve(tx, SCOPE, "web", ref))
        assert (image.digest, image.media_type) == (digest, OCI_MANIFEST)
    with pytest.raises(ApiError, match="ImageNotFoundException"):
        await store.read(lambda tx: records.resolve(tx, SCOPE, "web", "v2"))
    with pytest.raises(ApiError, match="RepositoryNotFoundException"):
        await store.read(lambda tx: records.resolve(tx, SCOPE, "none", "v1"))
