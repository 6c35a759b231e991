"""Whose registry a name means; images of the built-in one, really built; who holds what; what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any, Self

import pytest

from neargate.kit.settings import Settings
from neargate.model.sandbox import SandboxSpec
from neargate.node import images as module
from neargate.node.drivers.fake import FakeDriver, FakeImages
from neargate.node.images import StoredImages, built_in_owner, door_hosts
from neargate.node.select import node_parts
from neargate.node.tiers import Tiers
from neargate.oci import digest as digests
from neargate.oci import reference
from neargate.oci.auth import Credentials
from neargate.oci.content import ContentStore
from neargate.oci.errors import ImageError
from neargate.oci.images import ImageStore
from neargate.oci.manifest import OCI_MANIFEST
from tests.support.images import busybox_image
from tests.unit.node.rig import FakeCell, container, spec

DOOR = door_hosts("http://127.0.0.1:4566")
OWN = ("000000000000", "us-east-1")


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/web:1", OWN),
        ("000000000000.dkr.ecr.eu-west-3.amazonaws.com/a/b@sha256:" + "0" * 64, (OWN[0], "eu-west-3")),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/web", ("123456789012", "us-east-1")),
        ("210987654321.dkr.ecr.us-east-1.amazonaws.com/web", None),
        ("127.0.0.1:4566/web", OWN),
        ("localhost:4566/team/web:2", OWN),
        ("127.0.0.1:5000/web", None),
        ("public.ecr.aws/x/web", None),
        ("web", None),
        ("docker.io/library/web", None),
    ],
)
def test_whose_registry_a_name_means(name: str, owner: tuple[str, str] | None) -> None:
    assert built_in_owner(reference.parse(name), OWN, "123456789012", DOOR) == owner


def test_names_of_the_door() -> None:
    assert door_hosts("https://node.example") == {"node.example:443", "127.0.0.1:443", "localhost:443"}
    assert "[::1]:4566" in door_hosts("http://[::1]:4566")


class Place:
    """A built-in registry with one image, `web:1`, and the images of this machine."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.content = ContentStore(directory / "oci")
        self.store = ImageStore(directory / "images", self.content, 0)
        self.cell = FakeCell()
        self.settings = Settings.load({}, data_dir=directory, **settings)
        self.images = StoredImages(
            self.store, self.cell, self.settings, "http://127.0.0.1:4566", root=directory / "images"
        )
        layout = busybox_image(directory / "layout")
        for blob in (layout / "blobs" / "sha256").iterdir():
            shutil.copy(blob, self.content.path(f"sha256:{blob.name}"))
        self.digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
        data = self.content.path(self.digest).read_bytes()
        assert digests.of(data) == self.digest
        for target in ("1", self.digest):
            self.cell.manifests[(*OWN, "web", target)] = (data, OCI_MANIFEST, self.digest)


async def test_an_image_of_the_built_in_registry_is_built_from_its_own_blobs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    one = spec()
    first = await place.images.pull(one, container(image="127.0.0.1:4566/web:1"))
    assert first.digest == place.digest and first.path.exists()
    assert first.config.entrypoint == ("/bin/web",)
    assert list((tmp_path / "images" / "cache" / "blobs" / "sha256").iterdir()) == [], "nothing is copied"
    built = first.path.stat().st_mtime_ns
    name = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/web@{place.digest}"
    again = await place.images.pull(spec(), container(image=name))
    assert again.path == first.path and again.path.stat().st_mtime_ns == built, "nothing is built twice"


async def test_what_a_sandbox_holds_is_not_collected(tmp_path: Path) -> None:
    place = Place(tmp_path)
    one = spec()
    await place.images.pull(one, container(image="127.0.0.1:4566/web:1"))
    assert await place.store.collect() == []
    next_daemon = StoredImages(
        store := ImageStore(tmp_path / "images", place.content, 0),
        place.cell, place.settings, "http://127.0.0.1:4566", root=tmp_path,
    )  # fmt: skip
    held = next_daemon.held(one.id, place.digest)
    assert held is not None and held.config.entrypoint == ("/bin/web",)
    assert await store.collect() == []
    next_daemon.release(one.id)
    assert await store.collect() == [place.digest]
    assert next_daemon.held(one.id, place.digest) is None


async def test_a_tag_is_resolved_at_every_pull(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.images.pull(spec(), container(image="127.0.0.1:4566/web:1"))
    del place.cell.manifests[(*OWN, "web", "1")]
    with pytest.raises(ImageError) as caught:
        await place.images.pull(spec(), container(image="127.0.0.1:4566/web:1"))
    assert caught.value.reason == (
        "pull image manifest has been retried 1 time(s): failed to resolve ref 127.0.0.1:4566/web:1:"
        " 127.0.0.1:4566/web:1: not found"
    )


async def test_a_missing_blob_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path)
    layer = json.loads(place.content.path(place.digest).read_bytes())["layers"][0]["digest"]
    place.content.delete(layer)
    with pytest.raises(ImageError, match=f"blob {layer} is not in the registry"):
        await place.images.pull(spec(), container(image="127.0.0.1:4566/web:1"))


@pytest.mark.parametrize(
    ("image", "settings", "reason"),
    [
        ("web/UPPER:1", {}, "invalid reference format: repository name"),
        ("127.0.0.1:4566/web:1", {"task_dir_min_free_bytes": 1 << 60}, "no space left on device: "),
    ],
)
async def test_refusals(tmp_path: Path, image: str, settings: dict[str, Any], reason: str) -> None:
    place = Place(tmp_path, **settings)
    with pytest.raises(ImageError) as caught:
        await place.images.pull(spec(), container(image=image))
    assert caught.value.reason.startswith(reason)


class Client:
    """Stands for a foreign registry: it keeps how it was asked, and has nothing."""

    asked: list[tuple[str, dict[str, Any]]] = []

    def __init__(self, ref: reference.Reference, **how: Any) -> None:
        self.asked.append((str(ref), how))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return

    async def manifest(self, ref: reference.Reference) -> tuple[bytes, str, str]:
        raise ImageError(f"{ref}: not found")


async def test_a_foreign_registry_and_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RegistryClient", Client)
    monkeypatch.setattr(Client, "asked", [])
    place = Place(tmp_path, registry_insecure_hosts="a.test, b.test:5000", registry_ca_file="/ca.pem")
    place.cell.secrets["arn:secret"] = ("me", "password")

    async def pull(one: SandboxSpec, **settings: Any) -> str:
        with pytest.raises(ImageError) as caught:
            await place.images.pull(one, container(image="b.test:5000/web:1", **settings))
        return caught.value.reason

    assert await pull(spec()) == "b.test:5000/web:1: not found"
    assert await pull(spec(), registry_secret="arn:secret") == "b.test:5000/web:1: not found"
    assert await pull(spec(), registry_secret="arn:other") == (
        "unable to pull secrets or registry auth: arn:other: no such secret"
    )
    (ref, plain), (_, secret) = Client.asked
    assert ref == "b.test:5000/web:1"
    assert plain == {
        "credentials": None, "insecure_hosts": ("a.test", "b.test:5000"), "ca_file": "/ca.pem"
    }  # fmt: skip
    assert secret["credentials"] == Credentials("me", "password")


@pytest.mark.parametrize(
    ("isolation", "driver", "images"),
    [
        ("fake", FakeDriver, FakeImages),
        ("process", Tiers, StoredImages),
        ("gvisor", Tiers, StoredImages),
        ("auto", Tiers, StoredImages),
    ],
)
async def test_what_a_machine_runs_with(tmp_path: Path, isolation: str, driver: type, images: type) -> None:
    settings = Settings.load({}, data_dir=tmp_path, isolation=isolation)
    parts = await node_parts(settings, ContentStore(tmp_path / "oci"), FakeCell(), "http://127.0.0.1:4566")
    assert (type(parts[0]), type(parts[1])) == (driver, images)
