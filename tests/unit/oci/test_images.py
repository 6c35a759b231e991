"""The image store: one pull for many callers, faults on the way, indexes, collection, restarts."""

import asyncio
import json
import os
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neargate.oci import digest as digests
from neargate.oci.client import RegistryClient
from neargate.oci.content import ContentStore
from neargate.oci.errors import ImageError, Interrupted
from neargate.oci.images import Image, ImageStore
from neargate.oci.layout import write_layout
from neargate.oci.manifest import OCI_INDEX, OCI_MANIFEST, host_architecture
from neargate.oci.reference import Reference, parse
from tests.unit.oci.archive import member, tar
from tests.unit.oci.registry import Registry, body, cut, status

REF = parse("registry.example/team/web:latest")
LAYERS = [tar(member("a", os.urandom(2_000_000))), tar(member("b", b"b" * 100_000))]
ARCHITECTURE = host_architecture()


class Memory:
    """A Source that counts, and does what a test wants before it answers."""

    def __init__(self, layout: Path | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, tuple[bytes, str]] = {}
        self.asked: list[tuple[str, int]] = []
        self.before: Callable[[str], Any] | None = None
        self.chunk = 50_000
        if layout:
            self.load(layout)

    def load(self, layout: Path, tag: str = "latest") -> str:
        for path in (layout / "blobs/sha256").iterdir():
            self.blobs[f"sha256:{path.name}"] = path.read_bytes()
        entry = json.loads((layout / "index.json").read_text())["manifests"][0]
        return self.put(self.blobs[entry["digest"]], entry["mediaType"], tag)

    def put(self, data: bytes, media_type: str, tag: str) -> str:
        digest = digests.of(data)
        self.tags[tag] = self.tags[digest] = (data, media_type)
        return digest

    async def manifest(self, ref: Reference) -> tuple[bytes, str, str]:
        if ref.target not in self.tags:
            raise ImageError(f"{ref}: not found")
        data, media_type = self.tags[ref.target]
        return data, media_type, digests.of(data)

    async def blob(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        self.asked.append((digest, offset))
        data = self.blobs[digest]
        for at in range(offset, len(data), self.chunk):
            if self.before is not None:
                await self.before(digest)
            yield data[at : at + self.chunk]

    @property
    def layer_fetches(self) -> list[str]:
        return [digest for digest, _ in self.asked if len(self.blobs[digest]) > 5000]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", LAYERS, {"Cmd": ["/a"]})


def store(tmp_path: Path, limit: int = 10**12, **more: Any) -> ImageStore:
    return ImageStore(tmp_path / "store", ContentStore(tmp_path / "content"), limit, backoff=0.001, **more)


def other_image(tmp_path: Path, name: str, layers: list[bytes] | None = None) -> Memory:
    more = layers if layers is not None else [tar(member(name, name.encode() * 40_000))]
    return Memory(write_layout(tmp_path / name, more, {"Labels": {"name": name}}))


def contents(image: Image) -> None:
    done = subprocess.run(["fsck.erofs", str(image.path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scratch(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store/scratch").iterdir())


async def test_an_image(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)
    told: list[tuple[int, int]] = []
    image = await images.ensure(REF, source, progress=lambda done, total: told.append((done, total)))
    manifest = json.loads(source.tags["latest"][0])
    total = sum(layer["size"] for layer in manifest["layers"])
    assert image.digest == digests.of(source.tags["latest"][0])
    assert image.config_digest == manifest["config"]["digest"]
    assert (image.config.cmd, image.compressed_size) == (("/a",), total)
    assert image.size == image.path.stat().st_size
    assert stat.S_IMODE(image.path.stat().st_mode) == 0o444
    assert told[-1] == (total, total) and told == sorted(told)
    contents(image)
    assert scratch(tmp_path) == []
    assert images.cached(image.digest) == image
    asked = len(source.asked)
    assert await images.ensure(REF, source) == image
    assert len(source.asked) == asked


async def test_a_pinned_digest_needs_no_registry(tmp_path: Path, layout: Path) -> None:
    images = store(tmp_path)
    image = await images.ensure(REF, Memory(layout))
    assert await images.ensure(parse(f"other.example/x@{image.digest}"), Memory()) == image


async def test_what_was_pushed_here_is_not_copied(tmp_path: Path, layout: Path) -> None:
    content = ContentStore(tmp_path / "content")
    for path in (layout / "blobs/sha256").iterdir():
        await content.put(path.read_bytes())
    source = Memory(layout)
    await store(tmp_path).ensure(REF, source)
    assert source.asked == []
    assert list((tmp_path / "store/cache/blobs/sha256").iterdir()) == []


async def test_many_callers_share_the_work(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)
    found = await asyncio.gather(*(images.ensure(REF, source) for _ in range(20)))
    assert len({image.path for image in found}) == 1
    assert len(source.asked) == len(set(source.asked)) == 3


async def test_many_callers_share_the_fault(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)

    async def fail(_: str) -> None:
        await asyncio.sleep(0.01)
        raise ImageError("no such blob")

    source.before = fail
    found = await asyncio.gather(*(images.ensure(REF, source) for _ in range(5)), return_exceptions=True)
    assert [str(error) for error in found] == ["no such blob"] * 5
    source.before = None
    contents(await images.ensure(REF, source))  # and nothing of it stays


async def test_a_cancelled_leader_is_followed_by_another(tmp_path: Path, layout: Path) -> None:
    leading, following, images = Memory(layout), Memory(layout), store(tmp_path)
    stuck = asyncio.Event()

    async def stick(digest: str) -> None:
        if (
            digest in {d for d, _ in leading.asked if len(leading.blobs[d]) > 1_000_000}
            and not stuck.is_set()
        ):
            half_way[0] += 1
            if half_way[0] > 10:
                stuck.set()
                await asyncio.Event().wait()

    half_way = [0]
    leading.before = stick
    leader = asyncio.create_task(images.ensure(REF, leading))
    await stuck.wait()
    followers = [asyncio.create_task(images.ensure(REF, following)) for _ in range(3)]
    await asyncio.sleep(0.01)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    found = await asyncio.gather(*followers)
    assert len({image.path for image in found}) == 1
    contents(found[0])
    offsets = {offset for digest, offset in following.asked if len(following.blobs[digest]) > 1_000_000}
    assert offsets == {500_000}  # what the leader had is not fetched again


async def test_a_cancelled_follower_harms_nobody(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)
    leader = asyncio.create_task(images.ensure(REF, source))
    await asyncio.sleep(0)
    follower = asyncio.create_task(images.ensure(REF, source))
    await asyncio.sleep(0.005)
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    contents(await leader)


async def test_images_that_share_a_layer_fetch_it_once(tmp_path: Path) -> None:
    shared = tar(member("base", os.urandom(1_000_000)))
    sources = [other_image(tmp_path, f"i{n}", [shared, tar(member(f"f{n}", b"x" * n))]) for n in range(4)]
    images = store(tmp_path)
    await asyncio.gather(*(images.ensure(REF, source) for source in sources))
    assert sum(len(source.layer_fetches) for source in sources) == 1


async def test_an_interrupted_fetch_goes_on(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)
    breaks = iter(range(100))

    async def interrupt(digest: str) -> None:
        if len(source.blobs[digest]) > 1_000_000 and next(breaks) % 9 == 8:
            raise Interrupted("connection reset by peer")

    source.before = interrupt
    contents(await images.ensure(REF, source))
    big = [offset for digest, offset in source.asked if len(source.blobs[digest]) > 1_000_000]
    assert big == sorted(set(big)) and len(big) > 3


async def test_a_fetch_that_gets_on_is_not_given_up(tmp_path: Path) -> None:
    """However often it breaks: each connection brings more than a MiB."""
    source = other_image(tmp_path, "large", [tar(member("large", os.urandom(20_000_000)))])
    source.chunk = 1_100_000

    async def interrupt(digest: str) -> None:
        if len(source.blobs[digest]) > 1_000_000:
            counts[0] += 1
            if counts[0] % 2 == 0:
                raise Interrupted("connection reset by peer")

    counts = [0]
    source.before = interrupt
    contents(await store(tmp_path).ensure(REF, source))
    assert len(source.layer_fetches) > 10


async def test_a_fetch_that_brings_nothing_is_given_up(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)

    async def interrupt(digest: str) -> None:
        if len(source.blobs[digest]) > 1_000_000:
            raise Interrupted("connection reset by peer")

    source.before = interrupt
    with pytest.raises(ImageError, match=r"failed to copy layer sha256:\w{64}: connection reset by peer"):
        await images.ensure(REF, source)
    assert len([d for d in source.layer_fetches if len(source.blobs[d]) > 1_000_000]) == 5


async def test_content_of_another_digest(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path)
    layer = json.loads(source.tags["latest"][0])["layers"][0]["digest"]
    right = source.blobs[layer]
    source.blobs[layer] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(ImageError, match=f"failed to copy layer {layer}: digest is sha256:.*, not {layer}"):
        await images.ensure(REF, source)
    source.blobs[layer] = right
    contents(await images.ensure(REF, source))


async def test_a_layer_that_is_not_what_the_config_says(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", LAYERS, {})
    source = Memory(layout)
    manifest = json.loads(source.tags["latest"][0])
    manifest["layers"].reverse()
    source.put(json.dumps(manifest).encode(), OCI_MANIFEST, "latest")
    with pytest.raises(ImageError, match=r"failed to register layer: layer .*the image config says"):
        await store(tmp_path).ensure(REF, source)
    assert scratch(tmp_path) == []


def changed(source: Memory, **changes: Any) -> Memory:
    manifest = json.loads(source.tags["latest"][0]) | changes
    source.put(json.dumps(manifest).encode(), OCI_MANIFEST, "latest")
    return source


async def test_manifests_that_cannot_be_pulled(tmp_path: Path, layout: Path) -> None:
    images = store(tmp_path)
    manifest = json.loads(Memory(layout).tags["latest"][0])
    first, second = manifest["layers"]
    iso = {"mediaType": "application/x-iso"}
    for changes, why in (
        ({"layers": [first]}, "1 layers, but the config names 2"),
        ({"layers": [first, second | iso]}, "'application/x-iso' is not supported"),
        ({"layers": [first | {"size": first["size"] + 1}, second]}, "failed to copy layer .*bytes came"),
        ({"config": manifest["config"] | {"size": 9_000_000}}, "image config of 9000000 bytes: at most"),
        ({"schemaVersion": 1}, "failed to resolve ref registry.example/team/web:latest: schemaVersion is 1"),
    ):
        with pytest.raises(ImageError, match=why):
            await images.ensure(REF, changed(Memory(layout), **changes))
    with pytest.raises(ImageError, match="not found"):
        await images.ensure(REF, Memory())


async def test_the_unpacked_size_is_bounded(tmp_path: Path, layout: Path) -> None:
    with pytest.raises(ImageError, match=r"failed to register layer: .* larger than 1000000 bytes"):
        await store(tmp_path, unpacked_limit=1_000_000).ensure(REF, Memory(layout))
    assert scratch(tmp_path) == []


def index(source: Memory, entries: list[tuple[str, str, str]], tag: str = "latest") -> str:
    """Put an index of (digest, os, architecture)."""
    manifests = [
        {
            "mediaType": source.tags[digest][1],
            "digest": digest,
            "size": len(source.tags[digest][0]),
            "platform": {"os": system, "architecture": architecture},
        }
        for digest, system, architecture in entries
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return source.put(json.dumps(document).encode(), OCI_INDEX, tag)


async def test_the_platform_of_this_machine_is_chosen(tmp_path: Path) -> None:
    source = Memory()
    ours = source.load(write_layout(tmp_path / "ours", [tar(member("ours"))], {}))
    theirs = source.load(write_layout(tmp_path / "theirs", [tar(member("theirs"))], {}))
    entries = [(theirs, "linux", "s390x"), (theirs, "windows", ARCHITECTURE), (ours, "linux", ARCHITECTURE)]
    whole = index(source, entries)
    images = store(tmp_path)
    image = await images.ensure(REF, source)
    assert image.digest == ours
    assert images.cached(whole) == image  # known by the index too
    assert await images.ensure(parse(f"x.example/y@{whole}"), Memory()) == image
    assert images.cached(theirs) is None


async def test_an_index_without_this_platform(tmp_path: Path, layout: Path) -> None:
    source = Memory(layout)
    index(source, [(source.put(*source.tags["latest"], "x"), "linux", "s390x")])
    why = f"image Manifest does not contain descriptor matching platform 'linux/{ARCHITECTURE}'"
    with pytest.raises(ImageError, match=why):
        await store(tmp_path).ensure(REF, source)


async def test_indexes_in_indexes_are_bounded(tmp_path: Path, layout: Path) -> None:
    source = Memory(layout)
    inner = source.put(*source.tags["latest"], "x")
    for depth in range(4):
        inner = index(source, [(inner, "linux", ARCHITECTURE)])
        if depth == 1:
            contents(await store(tmp_path).ensure(REF, source))
    with pytest.raises(ImageError, match="nested more than 3 deep"):
        await ImageStore(tmp_path / "fresh", ContentStore(tmp_path / "c"), 10**12).ensure(REF, source)


# -- collection and restarts ---------------------------------------------------------------------------------


async def three(tmp_path: Path, images: ImageStore) -> list[Image]:
    """Three images, made one after the other."""
    found = []
    for number in range(3):
        image = await images.ensure(REF, other_image(tmp_path, f"image{number}"))
        os.utime(image.path.with_suffix(".json"), (1000 + number, 1000 + number))
        found.append(image)
    return found


async def test_collection_takes_blobs_first_then_the_longest_unused(tmp_path: Path) -> None:
    first, second, third = await three(tmp_path, store(tmp_path))
    images = store(tmp_path, limit=first.size + second.size + third.size)
    removed = await images.collect()
    assert first.digest not in removed and len(removed) > 0  # blobs of the cache
    assert all(images.cached(image.digest) for image in (first, second, third))
    images = store(tmp_path, limit=second.size + third.size)
    assert await images.collect() == [first.digest]
    assert images.cached(first.digest) is None and not first.path.exists()
    assert second.path.exists() and third.path.exists()
    assert scratch(tmp_path) == []
    assert await images.collect() == []


async def test_collection_respects_pins(tmp_path: Path) -> None:
    await three(tmp_path, store(tmp_path))
    images = store(tmp_path, limit=0)
    first, second, third = await three(tmp_path, images)
    images.pin(first, "task-1")
    images.pin(first, "task-2")
    images.pin(third, "task-1")
    removed = await images.collect()
    assert second.digest in removed and first.digest not in removed and third.digest not in removed
    images.unpin("task-1")
    assert await images.collect() == [third.digest]
    images.unpin("task-2")
    images.unpin("nobody")
    assert await images.collect() == [first.digest]


async def test_use_makes_an_image_new_again(tmp_path: Path) -> None:
    first, second, third = await three(tmp_path, store(tmp_path))
    images = store(tmp_path, limit=first.size + third.size)
    await images.ensure(parse(f"x.example/y@{first.digest}"), Memory())
    removed = set(await images.collect())
    assert removed & {first.digest, second.digest, third.digest} == {second.digest}


async def test_collection_leaves_a_pull_alone(tmp_path: Path, layout: Path) -> None:
    source, images = Memory(layout), store(tmp_path, limit=0)
    reached, go = asyncio.Event(), asyncio.Event()

    async def wait(digest: str) -> None:
        if len(source.blobs[digest]) > 1_000_000:
            reached.set()
            await go.wait()

    source.before = wait
    pull = asyncio.create_task(images.ensure(REF, source))
    await reached.wait()
    assert len(list((tmp_path / "store/cache/blobs/sha256").iterdir())) > 0  # the config
    assert await images.collect() == []
    go.set()
    contents(await pull)


async def test_a_restart_keeps_images_and_their_names(tmp_path: Path, layout: Path) -> None:
    source = Memory(layout)
    whole = index(source, [(source.put(*source.tags["latest"], "x"), "linux", ARCHITECTURE)])
    image = await store(tmp_path).ensure(REF, source)
    for images in (store(tmp_path), store(tmp_path)):
        assert images.cached(image.digest) == image
        assert images.cached(whole) == image
        await images.collect()  # makes it durable


def damage(kind: str, path: Path) -> None:
    card = path.with_suffix(".json")
    if kind == "no record":
        card.unlink()
    elif kind == "half a record":
        card.write_bytes(card.read_bytes()[:50])
    elif kind == "a short image":
        os.truncate(path, 4096)
    elif kind == "no image":
        path.unlink()
    elif kind == "of another boot":
        card.write_bytes(json.dumps(json.loads(card.read_bytes()) | {"boot": "before"}).encode())


@pytest.mark.parametrize(
    "kind", ["no record", "half a record", "a short image", "no image", "of another boot"]
)
async def test_a_restart_throws_away_what_is_not_whole(tmp_path: Path, layout: Path, kind: str) -> None:
    image = await store(tmp_path).ensure(REF, Memory(layout))
    path = Path(image.path)
    path.chmod(0o644)
    damage(kind, path)
    (tmp_path / "store/scratch/left").write_text("x")
    images = store(tmp_path)
    assert images.cached(image.digest) is None
    assert list((tmp_path / "store/images").iterdir()) == []
    assert scratch(tmp_path) == []
    contents(await images.ensure(REF, Memory(layout)))


async def test_what_reached_the_disk_survives_the_machine(tmp_path: Path, layout: Path) -> None:
    images = store(tmp_path)
    image = await images.ensure(REF, Memory(layout))
    await images.collect()
    assert json.loads(image.path.with_suffix(".json").read_bytes())["boot"] is None
    assert store(tmp_path).cached(image.digest) == image


async def test_fetches_given_up_long_ago_are_dropped(tmp_path: Path, layout: Path) -> None:
    images = store(tmp_path)
    ingest = tmp_path / "store/cache/ingest"
    for name, age in (("1" * 64, 2 * 86400), ("2" * 64, 60)):
        (ingest / name).write_bytes(b"half")
        os.utime(ingest / name, (time.time() - age,) * 2)
    await images.collect()
    assert [path.name for path in ingest.iterdir()] == ["2" * 64]


# -- with the client -----------------------------------------------------------------------------------------


@pytest.fixture
def registry(layout: Path) -> Iterator[Registry]:
    with Registry() as it:
        it.load(layout)
        yield it


async def test_from_a_registry_that_breaks_off(tmp_path: Path, registry: Registry) -> None:
    (big,) = [(d, data) for d, data in registry.blobs.items() if len(data) > 1_000_000]
    registry.faults[f"/v2/team/web/blobs/{big[0]}"] += [
        cut(big[1], 700_000), status(503), cut(big[1][:1_000_000], 1_000_000), body(b"short")
    ]  # fmt: skip
    reference = parse(f"{registry.host}/team/web:latest")
    images = store(tmp_path)
    async with RegistryClient(reference, insecure_hosts=["127.0.0.1"]) as client:
        contents(await images.ensure(reference, client))
    ranges = [r.headers.get("range") for r in registry.requests if r.path.endswith(big[0])]
    assert ranges[:2] == [None, "bytes=700000-"]
