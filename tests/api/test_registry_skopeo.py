"""The registry with a real client: skopeo pushes, pulls, copies, lists, deletes, in every format it knows."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from neargate.oci import digest as digests
from neargate.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support import registry as support
from tests.support.images import busybox_layer, write_layout
from tests.support.registry import Registry


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with support.opened(tmp_path / "data") as registry:
        for name in ("web", "team/copy"):
            await registry.ecr.create_repository(repositoryName=name)
        yield registry


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(
        tmp_path_factory.mktemp("layout"), [busybox_layer(), b"\0" * 10_240], {"Cmd": ["/bin/sh"]}
    )


def blobs(layout: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (layout / "blobs" / "sha256").iterdir()}


async def pull(registry: Registry, source: str, target: Path, *more: str, to: str = "oci") -> Path:
    creds = f"AWS:{await registry.password()}"
    place = f"oci:{target}:latest" if to == "oci" else f"{to}:{target}"
    await registry.skopeo(
        "copy", "--src-tls-verify=false", "--src-creds", creds, *more, f"docker://{{}}/{source}", place
    )
    return target


async def test_what_is_pushed_comes_back(registry: Registry, layout: Path, tmp_path: Path) -> None:
    await registry.push(layout, "web:v1")
    pulled = await pull(registry, "web:v1", tmp_path / "out")
    assert blobs(pulled) == blobs(layout)
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert blobs(await pull(registry, f"web@{digest}", tmp_path / "by-digest")) == blobs(layout)
    shown = json.loads((await registry.ask("inspect", "web:v1")).stdout)
    assert (shown["Digest"], shown["RepoTags"]) == (digest, ["v1"])
    document = json.loads(blobs(layout)[digests.hex_of(digest)])
    assert shown["Layers"] == [layer["digest"] for layer in document["layers"]]


@pytest.mark.parametrize(
    ("form", "media_type", "compression"),
    [("oci", OCI_MANIFEST, "gzip"), ("oci", OCI_MANIFEST, "zstd"), ("v2s2", DOCKER_MANIFEST, "gzip")],
)
async def test_every_format(
    registry: Registry, tmp_path: Path, form: str, media_type: str, compression: str
) -> None:
    more = ["--format", form, "--dest-compress-format", compression, "--dest-compress-level", "1"]
    plain = write_layout(tmp_path / "plain", [busybox_layer()], {}, compress=None)
    await registry.push(plain, f"web:{form}", *more)
    raw = json.loads((await registry.ask("inspect", f"web:{form}", "--raw")).stdout)
    assert raw["mediaType"] == media_type
    if form == "oci":
        assert raw["layers"][0]["mediaType"].endswith(f"+{compression}")
    detail = (await registry.ecr.describe_images(repositoryName="web"))["imageDetails"][0]
    assert detail["imageManifestMediaType"] == media_type
    assert detail["imageSizeInBytes"] == raw["config"]["size"] + sum(x["size"] for x in raw["layers"])
    out = tmp_path / "out"
    await pull(registry, f"web:{form}", out, to="dir")
    assert json.loads((out / "manifest.json").read_text()) == raw
    config = json.loads((out / digests.hex_of(raw["config"]["digest"])).read_text())
    assert config["rootfs"]["diff_ids"] == [digests.of(busybox_layer())]


async def test_an_index_of_two_architectures(registry: Registry, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    top = tmp_path / "multi"
    for architecture in ("amd64", "arm64"):
        write_layout(top, [busybox_layer({"etc/arch": architecture})], {}, architecture=architecture)
        entry = json.loads((top / "index.json").read_text())["manifests"][0]
        entries.append(
            {**entry, "annotations": {}, "platform": {"os": "linux", "architecture": architecture}}
        )
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    (top / "blobs" / "sha256" / digests.hex_of(digests.of(index))).write_bytes(index)
    named = {"org.opencontainers.image.ref.name": "latest"}
    entry = {"mediaType": OCI_INDEX, "digest": digests.of(index), "size": len(index), "annotations": named}
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    await registry.push(top, "web:multi", "--all")
    raw = (await registry.ask("inspect", "web:multi", "--raw")).stdout
    assert digests.of(raw.encode()) == digests.of(index)
    for architecture in ("amd64", "arm64"):
        creds = ["--creds", f"AWS:{await registry.password()}"]
        command = ["--override-arch", architecture, "inspect", "--tls-verify=false", *creds]
        found = await registry.skopeo(*command, "docker://{}/web:multi")
        assert json.loads(found.stdout)["Architecture"] == architecture
    pulled = await pull(registry, "web:multi", tmp_path / "out", "--all")
    assert blobs(pulled) == blobs(top)
    images = (await registry.ecr.list_images(repositoryName="web", filter={"tagStatus": "UNTAGGED"}))[
        "imageIds"
    ]
    assert {i["imageDigest"] for i in images} == {e["digest"] for e in entries}


async def test_a_copy_between_repositories_moves_no_bytes(
    registry: Registry, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.push(layout, "web:v1")
    before = {digest: status.st_mtime_ns for digest, status in registry.house.blobs.blobs()}
    creds = f"AWS:{await registry.password()}"
    await registry.skopeo(
        "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
        "--src-creds", creds, "--dest-creds", creds,
        "docker://{}/web:v1", "docker://{}/team/copy:v1",
    )  # fmt: skip
    after = {digest: status.st_mtime_ns for digest, status in registry.house.blobs.blobs()}
    raw = json.loads((await registry.ask("inspect", "team/copy:v1", "--raw")).stdout)
    for layer in raw["layers"]:
        assert after[layer["digest"]] == before[layer["digest"]]
    assert before.keys() == after.keys()


async def test_list_and_delete(registry: Registry, layout: Path) -> None:
    for tag in ("v1", "v2"):
        await registry.push(layout, f"web:{tag}")
    listed = json.loads((await registry.ask("list-tags", "web")).stdout)
    assert listed["Tags"] == ["v1", "v2"]
    await registry.ask("delete", "web:v1")  # skopeo deletes the image behind the tag
    assert json.loads((await registry.ask("list-tags", "web")).stdout)["Tags"] == []
    assert (await registry.ecr.list_images(repositoryName="web"))["imageIds"] == []


async def test_refusals_in_skopeo_s_words(registry: Registry, layout: Path) -> None:
    missing = await registry.push(layout, "no/such:v1", check=False)
    assert (
        f"The repository with name 'no/such' does not exist in the registry with id '{support.SCOPE.account}'"
        in missing.stderr
    )
    wrong = await registry.skopeo(
        "copy", "--dest-tls-verify=false", "--dest-creds", "AWS:wrong",
        f"oci:{layout}:latest", "docker://{}/web:v1", check=False,
    )  # fmt: skip
    assert "unauthorized" in wrong.stderr or "invalid username/password" in wrong.stderr
    assert (await registry.ask("inspect", "web:none", check=False)).returncode != 0
    await registry.ecr.put_image_tag_mutability(repositoryName="web", imageTagMutability="IMMUTABLE")
    await registry.push(layout, "web:v1")
    await registry.push(layout, "web:v1")
    other = await registry.push(layout, "web:v1", "--format", "v2s2", check=False)
    assert "cannot be overwritten because the tag is immutable" in other.stderr
