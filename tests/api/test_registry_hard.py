"""The registry under bad luck and bad clients: odd requests by the thousand, pushes all at once while blobs
are collected, a full disk.
"""

import asyncio
import errno
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from neargate.gateway.registry import RegistryApp
from neargate.oci import digest as digests
from neargate.oci.manifest import OCI_INDEX, OCI_MANIFEST
from neargate.services.ecr import collect
from neargate.services.ecr.collect import FILE_SECONDS
from neargate.state import registry as records
from tests.support import registry as support
from tests.support.registry import Registry, manifest, put_blob, put_image, put_manifest

REQUESTS = 3000
HERE, GONE = digests.of(b"layer"), digests.of(b"gone")
ODD = (
    *("", " ", "%00", "%2e%2e", "..", "ü", "a" * 300, "latest", "-1", "0", "1", "99999999999999999999"),
    *(HERE, GONE, "sha256:", "sha256:zz", "sha512:" + "0" * 128, "uploads", "_catalog", "blobs", "manifests"),
)
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "QUERY")
HEADERS = ("range", "content-range", "content-type", "accept", "if-none-match", "expect", "content-length")
VALUES = (
    *("bytes=0-", "bytes=-1", "bytes=1-0", "bytes=0-99999999999999999999", "0-4", "5-9", "4-0", "0-", "-"),
    *(OCI_MANIFEST, OCI_INDEX, "text/html", "*/*", ";;;", ",", "bytes 0-4/5", "\u00ff", "0", "5"),
)
BODIES = (b"", b"layer", b"{}", b"[]", b"null", manifest(b"{}", b"layer"), b"\xff" * 100, b"[" * 50_000)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with support.opened(tmp_path) as registry:
        for name in ("one", "two", "team/three"):
            await registry.ecr.create_repository(repositoryName=name)
        yield registry


@pytest.fixture
async def http(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with registry.http() as http:
        yield http


class Maker:
    """Requests that are nearly right."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.uploads: list[str] = []

    def path(self) -> str:
        pick = self._chance.choice
        name = pick(("one", "two", "team/three", "none", pick(ODD)))
        rest = pick(
            (
                f"blobs/{pick(ODD)}",
                f"manifests/{pick(ODD)}",
                "blobs/uploads/",
                f"blobs/uploads/{pick(ODD)}",
                "tags/list",
                f"referrers/{pick(ODD)}",
                pick(ODD),
            )
        )
        if self.uploads and self._chance.random() < 0.2:
            return pick(self.uploads)
        return pick((f"/v2/{name}/{rest}", f"/v2/{name}/{rest}", f"/v2/{rest}", f"/v2//{name}//{rest}"))

    def query(self) -> dict[str, str]:
        names = ("digest", "mount", "from", "n", "last", "artifactType", "after", "token")
        chosen = [n for n in names if self._chance.random() < 0.2]
        return {name: self._chance.choice((*ODD, "one", "two")) for name in chosen}

    def headers(self) -> list[tuple[bytes, bytes]]:
        chosen = [name for name in HEADERS if self._chance.random() < 0.15]
        return [(n.encode(), self._chance.choice(VALUES).encode("latin-1")) for n in chosen]


async def test_no_request_breaks_the_registry(registry: Registry, http: httpx.AsyncClient) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    maker = Maker(chance)
    image = await put_image(http, "two", "keep", b"layer")
    transport = httpx.ASGITransport(RegistryApp(registry.house))  # passes on what the app raises
    login = ("AWS", await registry.password())
    seen: set[int] = set()
    async with httpx.AsyncClient(transport=transport, base_url="http://registry", auth=login) as client:
        for _ in range(REQUESTS):
            method, path = chance.choice(METHODS), maker.path()
            if method == "DELETE" and "/two/" in path:
                continue  # what must be there in the end
            headers, body = maker.headers(), chance.choice(BODIES)
            request = client.build_request(
                method, path, params=maker.query(), headers=dict(headers) or None, content=body
            )
            about = f"seed {seed}: {method} {request.url} {headers} {body[:80]!r}"
            answer = await client.send(request)
            seen.add(answer.status_code)
            assert answer.status_code < 500, f"{about}: {answer.status_code} {answer.text[:300]}"
            if answer.status_code >= 400 and method != "HEAD":
                error = answer.json()["errors"][0]
                assert error["code"].isupper() and error["message"], about
            if answer.status_code == 202 and "docker-upload-uuid" in answer.headers:
                maker.uploads.append(answer.headers["location"])
    assert {200, 202, 400, 404, 405} <= seen
    assert digests.of((await http.get("/v2/two/manifests/keep")).content) == image
    assert (await http.get(f"/v2/two/blobs/{HERE}")).content == b"layer"


async def test_pushes_all_at_once_while_blobs_are_collected(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    """Images share layers, some are deleted again: whatever was acknowledged and not deleted is whole."""
    stop = asyncio.Event()

    async def collecting() -> None:
        while not stop.is_set():
            for digest, _ in registry.house.blobs.blobs():
                if chance.random() < 0.3:
                    await _age(registry, digest)
            await collect(registry.house, time.time())

    async def push(number: int) -> tuple[str, str, list[bytes]]:
        repository = ("one", "two", "team/three")[number % 3]
        layers = [b"layer %d" % (number % 5) * 50_000, b"own %d" % number]
        await put_image(http, repository, f"v{number}", *layers)
        if number % 4 == 0:
            digest = (await http.head(f"/v2/{repository}/manifests/v{number}")).headers[
                "docker-content-digest"
            ]
            await http.delete(f"/v2/{repository}/manifests/{digest}")
            await put_image(http, repository, f"v{number}", *layers)
        return repository, f"v{number}", layers

    chance = random.Random(7)
    collector = asyncio.create_task(collecting())
    pushed = await asyncio.gather(*(push(number) for number in range(30)))
    stop.set()
    await collector
    for repository, tag, layers in pushed:
        found = (await http.get(f"/v2/{repository}/manifests/{tag}")).json()
        assert [layer["digest"] for layer in found["layers"]] == [digests.of(layer) for layer in layers]
        for layer in layers:
            assert (await http.get(f"/v2/{repository}/blobs/{digests.of(layer)}")).content == layer


async def _age(registry: Registry, digest: str) -> None:
    """Make a blob that is linked as old as one that waits to be collected: it must stay all the same, and go
    no sooner when what links it is deleted and pushed again.
    """
    store, path = registry.house.store, registry.house.blobs.path(digest)
    if await store.read(lambda tx: records.is_known(tx, digest)):
        old = time.time() - FILE_SECONDS - 60
        os.utime(path, (old, old))


async def test_a_full_disk_refuses_and_keeps_what_was_there(
    registry: Registry, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_image(http, "one", "v1", b"layer")
    place = (await http.post("/v2/one/blobs/uploads/")).headers["location"]
    assert (await http.patch(place, content=b"begin ")).status_code == 202
    root = str(registry.house.blobs.root)

    def full(real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def write(fd: int, data: Any) -> int:
            if str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(root):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data)

        return write

    with monkeypatch.context() as patch:
        for name in ("write", "writev"):
            patch.setattr(os, name, full(getattr(os, name)))
        for answer in (
            await http.patch(place, content=b"lost"),
            await http.post("/v2/one/blobs/uploads/", params={"digest": GONE}, content=b"gone"),
            await put_manifest(http, "one", "v2", manifest(b'{"config":"v1"}', b"layer", annotations={})),
        ):
            assert answer.status_code == 503
            assert "just now" in answer.json()["errors"][0]["message"]
    assert (await http.get("/v2/one/tags/list")).json()["tags"] == ["v1"]
    assert (await http.head(f"/v2/one/blobs/{GONE}")).status_code == 404
    assert (await http.get(place)).headers["range"] == "0-5"
    assert (await http.patch(place, content=b"end")).status_code == 202
    answer = await http.put(place, params={"digest": digests.of(b"begin end")})
    assert answer.status_code == 201
    assert await put_blob(http, "one", b"gone") == GONE


async def test_an_upload_of_many_megabytes_is_never_held_whole(
    registry: Registry, http: httpx.AsyncClient
) -> None:
    import tracemalloc

    size = 64 * 1024 * 1024
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < size:
            sent += 65_536
            yield b"z" * 65_536

    place = (await http.post("/v2/one/blobs/uploads/")).headers["location"]
    tracemalloc.start()
    try:
        assert (await http.patch(place, content=body())).status_code == 202
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
    assert json.loads((await http.get("/v2/one/tags/list")).text)["tags"] == []
