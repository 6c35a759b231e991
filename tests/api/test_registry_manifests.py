"""The registry at /v2/ by hand: manifests, tags, lists, referrers; hostile manifests; what is collected."""

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from neargate.oci import digest as digests
from neargate.oci.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)
from neargate.services.ecr import collect
from neargate.services.ecr.collect import FILE_SECONDS, LINK_SECONDS, UPLOAD_SECONDS
from tests.support import registry as support
from tests.support.registry import Registry, descriptor, manifest, put_blob, put_image, put_manifest

CONFIG = b"{}"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with support.opened(tmp_path) as registry:
        for name in ("one", "two"):
            await registry.ecr.create_repository(repositoryName=name)
        yield registry


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with registry.http() as http:
        yield http


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def tags(http: httpx.AsyncClient, repository: str = "one") -> list[str]:
    found: list[str] = (await http.get(f"/v2/{repository}/tags/list")).json()["tags"]
    return found


# --- manifests


async def test_by_tag_and_by_digest(http: httpx.AsyncClient) -> None:
    digest = await put_image(http, "one", "v1", b"layer")
    for ref in ("v1", digest):
        answer = await http.get(f"/v2/one/manifests/{ref}")
        assert answer.status_code == 200
        assert digests.of(answer.content) == digest == answer.headers["docker-content-digest"]
        assert answer.headers["content-type"] == OCI_MANIFEST
        head = await http.head(f"/v2/one/manifests/{ref}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))
    assert code(await http.get("/v2/one/manifests/v2")) == (404, "MANIFEST_UNKNOWN")
    assert code(await http.get("/v2/two/manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert code(await http.get("/v2/three/manifests/v1")) == (404, "NAME_UNKNOWN")


async def test_a_client_is_not_given_what_it_cannot_read(http: httpx.AsyncClient) -> None:
    await put_image(http, "one", "v1", b"layer")
    for accept, status in {
        OCI_MANIFEST: 200,
        f"{DOCKER_MANIFEST}, {OCI_MANIFEST};q=0.5": 200,
        "*/*": 200,
        "application/json": 200,
        DOCKER_MANIFEST: 404,
        f"{DOCKER_INDEX},{OCI_INDEX}": 404,
    }.items():
        answer = await http.get("/v2/one/manifests/v1", headers={"accept": accept})
        assert answer.status_code == status, accept


async def test_an_image_needs_its_blobs_in_the_same_repository(http: httpx.AsyncClient) -> None:
    await put_blob(http, "one", CONFIG)
    await put_blob(http, "two", b"layer")
    data = manifest(CONFIG, b"layer")
    answer = await put_manifest(http, "one", "v1", data)
    assert code(answer) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert digests.of(b"layer") in answer.text
    assert await tags(http) == []
    await put_blob(http, "one", b"layer")
    answer = await put_manifest(http, "one", "v1", data)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v2/one/manifests/{digests.of(data)}")


async def test_layers_that_are_elsewhere_need_not_be_here(http: httpx.AsyncClient) -> None:
    await put_blob(http, "one", CONFIG)
    foreign = descriptor(b"far", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    data = manifest(CONFIG, layers=[foreign])
    assert (await put_manifest(http, "one", "v1", data)).status_code == 201


async def test_an_index_needs_its_manifests(http: httpx.AsyncClient) -> None:
    image = await put_image(http, "two", "x", b"layer")
    entries = [{"mediaType": OCI_MANIFEST, "digest": image, "size": 1, "platform": {"os": "linux"}}]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    assert code(await put_manifest(http, "one", "all", index, OCI_INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")
    await put_image(http, "one", "x", b"layer")
    assert (await put_manifest(http, "one", "all", index, OCI_INDEX)).status_code == 201
    refused = await http.delete(f"/v2/one/manifests/{image}")
    assert code(refused) == (409, "DENIED")
    assert (await http.delete(f"/v2/one/manifests/{digests.of(index)}")).status_code == 202
    assert (await http.delete(f"/v2/one/manifests/{image}")).status_code == 202
    assert await tags(http) == []


async def test_deleting_a_tag_keeps_the_image(http: httpx.AsyncClient) -> None:
    digest = await put_image(http, "one", "v1", b"layer")
    assert (await http.delete("/v2/one/manifests/v1")).status_code == 202
    assert await tags(http) == []
    assert (await http.get(f"/v2/one/manifests/{digest}")).status_code == 200
    assert (await http.delete(f"/v2/one/manifests/{digest}")).status_code == 202
    assert code(await http.delete(f"/v2/one/manifests/{digest}")) == (404, "MANIFEST_UNKNOWN")


async def test_a_mutable_tag_moves_and_an_immutable_one_does_not(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    first = await put_image(http, "one", "v1", b"first")
    second = await put_image(http, "one", "v1", b"second")
    assert (await http.head("/v2/one/manifests/v1")).headers["docker-content-digest"] == second
    await registry.ecr.put_image_tag_mutability(repositoryName="one", imageTagMutability="IMMUTABLE")
    data = (await http.get(f"/v2/one/manifests/{first}")).content
    refused = await put_manifest(http, "one", "v1", data)
    assert code(refused) == (400, "TAG_INVALID")
    assert refused.json()["errors"][0]["message"] == (
        "The image tag 'v1' already exists in the 'one' repository and cannot be overwritten because the tag "
        "is immutable."
    )
    again = (await http.get("/v2/one/manifests/v1")).content
    assert (await put_manifest(http, "one", "v1", again)).status_code == 201
    assert (await put_manifest(http, "one", "v2", data)).status_code == 201


async def test_tags_that_a_filter_leaves_out(registry: Registry, http: httpx.AsyncClient) -> None:
    await registry.ecr.put_image_tag_mutability(
        repositoryName="one",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
    )
    for tag, layer in (("dev-1", b"a"), ("dev-1", b"b"), ("v1", b"a")):
        await put_image(http, "one", tag, layer)
    await put_blob(http, "one", b"b")
    config = b'{"config":"v1"}'
    assert code(await put_manifest(http, "one", "v1", manifest(config, b"b"))) == (400, "TAG_INVALID")


# --- lists


async def test_tags_in_pages(http: httpx.AsyncClient) -> None:
    for tag in ("b", "a", "c", "B", "_x", "a-1"):
        await put_image(http, "one", tag, b"layer")
    expected = ["B", "_x", "a", "a-1", "b", "c"]
    assert (await http.get("/v2/one/tags/list")).json() == {"name": "one", "tags": expected}
    found: list[str] = []
    path = "/v2/one/tags/list?n=2"
    while path:
        answer = await http.get(path)
        assert len(answer.json()["tags"]) <= 2
        found += answer.json()["tags"]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert found == expected
    assert (await http.get("/v2/one/tags/list?n=0")).json()["tags"] == []
    assert (await http.get("/v2/one/tags/list?last=a")).json()["tags"] == ["a-1", "b", "c"]
    assert (await http.get("/v2/one/tags/list?last=zz")).json()["tags"] == []
    for n in ("-1", "x", "1e3", "9" * 30):
        assert code(await http.get("/v2/one/tags/list", params={"n": n})) == (
            400,
            "PAGINATION_NUMBER_INVALID",
        )


async def test_repositories_in_pages(registry: Registry, http: httpx.AsyncClient) -> None:
    await registry.ecr.create_repository(repositoryName="team/app")
    first = await http.get("/v2/_catalog?n=2")
    assert first.json() == {"repositories": ["one", "team/app"]}
    assert (await http.get(first.links["next"]["url"])).json() == {"repositories": ["two"]}


# --- referrers


async def attach(http: httpx.AsyncClient, subject: str, kind: str, note: str) -> httpx.Response:
    await put_blob(http, "one", CONFIG)
    data = manifest(
        CONFIG,
        artifactType=kind,
        subject={"mediaType": OCI_MANIFEST, "digest": subject, "size": 7},
        annotations={"note": note},
    )
    return await put_manifest(http, "one", digests.of(data), data)


async def test_referrers(http: httpx.AsyncClient) -> None:
    subject = await put_image(http, "one", "v1", b"layer")
    answer = await attach(http, subject, "application/spdx+json", "sbom")
    assert answer.headers["oci-subject"] == subject
    await attach(http, subject, "application/signature", "first")
    await attach(http, subject, "application/signature", "second")
    listed = await http.get(f"/v2/one/referrers/{subject}")
    assert listed.headers["content-type"] == OCI_INDEX
    assert "oci-filters-applied" not in listed.headers
    assert {m["annotations"]["note"] for m in listed.json()["manifests"]} == {"sbom", "first", "second"}
    filtered = await http.get(
        f"/v2/one/referrers/{subject}", params={"artifactType": "application/signature"}
    )
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    found = filtered.json()["manifests"]
    assert {m["annotations"]["note"] for m in found} == {"first", "second"}
    for item in found:
        assert item["artifactType"] == "application/signature"
        body = (await http.get(f"/v2/one/manifests/{item['digest']}")).content
        assert (digests.of(body), len(body)) == (item["digest"], item["size"])
    await http.delete(f"/v2/one/manifests/{found[0]['digest']}")
    assert len((await http.get(f"/v2/one/referrers/{subject}")).json()["manifests"]) == 2


async def test_referrers_of_what_is_not_here(http: httpx.AsyncClient) -> None:
    unknown = digests.of(b"nothing")
    empty = await http.get(f"/v2/one/referrers/{unknown}")
    assert (empty.status_code, empty.json()["manifests"]) == (200, [])
    assert (await attach(http, unknown, "application/x", "early")).status_code == 201
    assert len((await http.get(f"/v2/one/referrers/{unknown}")).json()["manifests"]) == 1
    assert code(await http.get("/v2/one/referrers/latest")) == (400, "DIGEST_INVALID")


async def test_referrers_that_do_not_fit_one_answer(http: httpx.AsyncClient) -> None:
    subject = digests.of(b"subject")
    for number in range(5):
        await attach(http, subject, "application/x", f"{number}" * 700_000)
    found: list[str] = []
    path = f"/v2/one/referrers/{subject}?artifactType=application/x"
    pages = 0
    while path:
        answer = await http.get(path)
        assert len(answer.content) < MAX_MANIFEST
        found += [m["annotations"]["note"][0] for m in answer.json()["manifests"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
        pages += 1
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    assert pages > 1


# --- hostile manifests


def index(*entries: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}).encode()


NAMED = descriptor(CONFIG, OCI_CONFIG)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", OCI_MANIFEST),
    "empty": (b"", OCI_MANIFEST),
    "a list": (b"[]", OCI_MANIFEST),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, OCI_MANIFEST),
    "deep lists": (b"[" * 1_000_000, OCI_MANIFEST),
    "schema 1": (manifest(CONFIG, schemaVersion=1), OCI_MANIFEST),
    "an unknown media type": (manifest(CONFIG), "text/html"),
    "docker's old type": (manifest(CONFIG), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    "another type inside": (manifest(CONFIG), DOCKER_MANIFEST),
    "a manifest sent as an index": (manifest(CONFIG, mediaType=OCI_INDEX), OCI_INDEX),
    "layers and manifests": (manifest(CONFIG, manifests=[]), OCI_MANIFEST),
    "no config": (manifest(CONFIG, config=None), OCI_MANIFEST),
    "a digest that is a path": (manifest(CONFIG, config={**NAMED, "digest": "sha256:../../x"}), OCI_MANIFEST),
    "a negative size": (manifest(CONFIG, config={**NAMED, "size": -1}), OCI_MANIFEST),
    "a size beyond all": (manifest(CONFIG, config={**NAMED, "size": 10**30}), OCI_MANIFEST),
    "a size that is true": (manifest(CONFIG, config={**NAMED, "size": True}), OCI_MANIFEST),
    "a lying size": (manifest(CONFIG, config={**NAMED, "size": 3}), OCI_MANIFEST),
    "two sizes": (manifest(CONFIG, layers=[NAMED, {**NAMED, "size": 9}]), OCI_MANIFEST),
    "too many layers": (manifest(CONFIG, layers=[NAMED] * 501), OCI_MANIFEST),
    "too many entries": (index(*[NAMED] * 1001), OCI_INDEX),
    "annotations of numbers": (manifest(CONFIG, annotations={"a": 1}), OCI_MANIFEST),
    "a subject that is text": (manifest(CONFIG, subject="x"), OCI_MANIFEST),
    "entries that are text": (index("x"), OCI_INDEX),
    "half a character": (b'{"schemaVersion":2,"x":"\\ud800"', OCI_MANIFEST),
    "bytes": (b"\xff\xfe\x00", OCI_MANIFEST),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_manifest_is_refused(registry: Registry, http: httpx.AsyncClient, name: str) -> None:
    await put_blob(http, "one", CONFIG)
    data, media_type = HOSTILE[name]
    answer = await put_manifest(http, "one", "v1", data, media_type)
    assert code(answer) == (400, "MANIFEST_INVALID")
    assert await tags(http) == []
    assert (await registry.ecr.list_images(repositoryName="one"))["imageIds"] == []


async def test_a_manifest_beyond_four_mib(http: httpx.AsyncClient) -> None:
    data = manifest(CONFIG, annotations={"pad": "x" * MAX_MANIFEST})

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65_536):
            yield data[at : at + 65_536]

    for content in (data, body()):
        answer = await http.put(
            "/v2/one/manifests/v1", content=content, headers={"content-type": OCI_MANIFEST}
        )
        assert code(answer) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("ref", ["-x", ".x", "a" * 129, "a b", "ü", "sha256:xyz", "sha512:" + "a" * 128])
async def test_what_is_no_reference(http: httpx.AsyncClient, ref: str) -> None:
    await put_blob(http, "one", CONFIG)
    for method in ("PUT", "GET", "DELETE"):
        answer = await http.request(
            method, f"/v2/one/manifests/{ref}", content=manifest(CONFIG) if method == "PUT" else None
        )
        assert answer.status_code == 400, (method, ref)
    assert await tags(http) == []


async def test_a_manifest_under_another_digest(http: httpx.AsyncClient) -> None:
    await put_blob(http, "one", CONFIG)
    answer = await put_manifest(http, "one", digests.of(b"else"), manifest(CONFIG))
    assert code(answer) == (400, "DIGEST_INVALID")


# --- what is collected


def files(registry: Registry) -> set[str]:
    return {digest for digest, _ in registry.house.blobs.blobs()}


async def later(registry: Registry, seconds: float) -> list[str]:
    """Collect as if so much time had passed."""
    return await collect(registry.house, time.time() + seconds)


async def test_nothing_of_an_image_is_ever_collected(registry: Registry, http: httpx.AsyncClient) -> None:
    await put_image(http, "one", "v1", b"layer")
    before = files(registry)
    assert await later(registry, 10 * 365 * 86400) == []
    assert files(registry) == before


async def test_a_deleted_image_goes_after_a_while_and_what_others_share_stays(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    gone = await put_image(http, "one", "v1", b"shared", b"own")
    await put_image(http, "one", "v2", b"shared")
    await put_image(http, "two", "v1", b"shared")
    await http.delete(f"/v2/one/manifests/{gone}")
    assert await later(registry, FILE_SECONDS / 2) == []
    assert await later(registry, FILE_SECONDS + 60) == [gone]
    removed = await later(registry, LINK_SECONDS + FILE_SECONDS)
    assert removed == [digests.of(b"own")]  # the config of v1 is that of `two`'s as well
    for repository, tag in (("one", "v2"), ("two", "v1")):
        assert (await http.get(f"/v2/{repository}/manifests/{tag}")).status_code == 200
        assert (await http.get(f"/v2/{repository}/blobs/{digests.of(b'shared')}")).content == b"shared"


async def test_a_pushed_layer_waits_a_day_for_its_image(registry: Registry, http: httpx.AsyncClient) -> None:
    digest = await put_blob(http, "one", b"early")
    await later(registry, LINK_SECONDS - 120)
    assert (await http.head(f"/v2/one/blobs/{digest}")).status_code == 200
    registry.clock.ahead = LINK_SECONDS - 60
    # A client that was told "it is here" may count on it for another day.
    assert (await http.get("/v2/")).status_code == 403
    async with registry.http() as again:
        assert (await again.head(f"/v2/one/blobs/{digest}")).status_code == 200
    assert await later(registry, LINK_SECONDS + 3600) == []
    assert await later(registry, 2 * LINK_SECONDS + 3600) == [digest]
    async with registry.http() as again:
        assert code(await again.get(f"/v2/one/blobs/{digest}")) == (404, "BLOB_UNKNOWN")


async def test_what_is_pushed_again_is_new_again(registry: Registry, http: httpx.AsyncClient) -> None:
    """A manifest whose file waits to be collected is pushed anew: it must not go."""
    digest = await put_image(http, "one", "v1", b"layer")
    data = (await http.get("/v2/one/manifests/v1")).content
    await http.delete(f"/v2/one/manifests/{digest}")
    os.utime(registry.house.blobs.path(digest), (1, 1))
    assert await registry.house.blobs.put(data) == digest
    assert not await registry.house.blobs.collect(digest, time.time() - FILE_SECONDS)
    assert (await put_manifest(http, "one", "v1", data)).status_code == 201
    assert await later(registry, 0) == []
    assert (await http.get("/v2/one/manifests/v1")).status_code == 200


async def test_a_deleted_repository_leaves_nothing(registry: Registry, http: httpx.AsyncClient) -> None:
    await put_image(http, "one", "v1", b"layer")
    await registry.ecr.delete_repository(repositoryName="one", force=True)
    await registry.ecr.create_repository(repositoryName="one")
    assert await tags(http) == []
    assert code(await http.get(f"/v2/one/blobs/{digests.of(b'layer')}")) == (404, "BLOB_UNKNOWN")
    assert len(await later(registry, FILE_SECONDS + 60)) == 3
    assert files(registry) == set()


async def test_uploads_given_up_are_swept_and_live_ones_are_not(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    places = [(await http.post("/v2/one/blobs/uploads/")).headers["location"] for _ in range(2)]
    for place in places:
        await http.patch(place, content=b"half")
    old = registry.house.blobs.uploads / places[0].rpartition("/")[2]
    long_ago = time.time() - UPLOAD_SECONDS - 60
    for path in (old, old.with_name(old.name + ".json")):
        os.utime(path, (long_ago, long_ago))
    # Begun long ago, written to just now: still wanted.
    os.utime(registry.house.blobs.uploads / (places[1].rpartition("/")[2] + ".json"), (long_ago, long_ago))
    await later(registry, 0)
    assert code(await http.patch(places[0], content=b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await http.patch(places[1], content=b"x")).headers["range"] == "0-4"
    assert len(list(registry.house.blobs.uploads.iterdir())) == 2
