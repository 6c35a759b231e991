"""The registry at /v2/ by hand: what the distribution specification says of blobs, uploads and logins."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from neargate.model import registry_token
from neargate.model.registry_token import Grant
from neargate.oci import digest as digests
from neargate.oci.uploads import Uploads
from tests.support import registry as support
from tests.support.registry import Registry, put_blob, reached


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


async def begin(http: httpx.AsyncClient, repository: str = "one") -> str:
    answer = await http.post(f"/v2/{repository}/blobs/uploads/")
    assert answer.status_code == 202
    assert answer.headers["range"] == "0-0"
    assert answer.headers["docker-upload-uuid"] in answer.headers["location"]
    return str(answer.headers["location"])


# --- logins


async def test_a_login_is_asked_for_and_its_token_taken_either_way(registry: Registry) -> None:
    password = await registry.password()
    async with httpx.AsyncClient(base_url=registry.url, trust_env=False) as http:
        refused = await http.get("/v2/")
        assert code(refused) == (401, "UNAUTHORIZED")
        assert refused.headers["www-authenticate"].startswith('Basic realm="')
        assert (await http.get("/v2/", auth=("AWS", password))).status_code == 200
        bearer = await http.get("/v2/", headers={"authorization": f"Bearer {password}"})
        assert bearer.status_code == 200
        assert bearer.headers["docker-distribution-api-version"] == "registry/2.0"


async def test_what_is_no_login(registry: Registry) -> None:
    password = await registry.password()
    body, _, signature = password.partition(".")
    other = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(body + "==").replace(SCOPE.encode(), b"999999999999")
    )
    forged = registry_token.mint(b"another key" * 3, grant())
    for header in (
        "Basic " + base64.b64encode(f"root:{password}".encode()).decode(),
        "Basic " + base64.b64encode(b"AWS:").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic !!!",
        "Basic",
        "Bearer " + password[:-2],
        "Bearer " + forged,
        f"Bearer {other.decode().rstrip('=')}.{signature}",
        f"Bearer {body}.{signature}.x",
        "Bearer ü",
        "Digest " + password,
        "Bearer " + "a" * 10_000,
    ):
        async with httpx.AsyncClient(base_url=registry.url, trust_env=False) as http:
            answer = await http.get("/v2/", headers={"authorization": header.encode()})
            assert code(answer) == (401, "UNAUTHORIZED"), header


SCOPE = support.SCOPE.account


def grant(**changes: Any) -> Grant:
    values = {
        "account": SCOPE,
        "region": "us-east-1",
        "principal": "root",
        "expires_at": 9_000_000_000,
        **changes,
    }
    return Grant(**values)


async def test_a_token_ends_after_twelve_hours(registry: Registry) -> None:
    async with registry.http() as http:
        registry.clock.ahead = 12 * 3600 - 60
        assert (await http.get("/v2/")).status_code == 200
        registry.clock.ahead = 12 * 3600 + 60
        answer = await http.get("/v2/")
        assert code(answer) == (403, "DENIED")
        assert "expired" in answer.json()["errors"][0]["message"]


async def test_a_token_opens_the_registry_of_its_own_region_only(registry: Registry) -> None:
    elsewhere = registry_token.mint(registry.house.signing_key, grant(region="eu-west-1"))
    async with registry.http(elsewhere) as http:
        assert code(await http.get("/v2/one/tags/list")) == (404, "NAME_UNKNOWN")


# --- blobs


async def test_a_blob_whole_and_in_ranges(http: httpx.AsyncClient) -> None:
    data = os.urandom(3_000_000)
    digest = await put_blob(http, "one", data)
    head = await http.head(f"/v2/one/blobs/{digest}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))
    assert head.headers["docker-content-digest"] == digest
    whole = await http.get(f"/v2/one/blobs/{digest}")
    assert whole.content == data
    for text, expected in {
        "bytes=0-0": data[:1],
        "bytes=1000000-": data[1_000_000:],
        "bytes=2999999-9999999": data[-1:],
        "bytes=-10": data[-10:],
        "bytes=-9999999": data,
    }.items():
        part = await http.get(f"/v2/one/blobs/{digest}", headers={"range": text})
        assert (part.status_code, part.content) == (206, expected), text
        first = len(data) - len(expected) if text.startswith("bytes=-") else int(text[6:].partition("-")[0])
        assert part.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(data)}"
    for text in ("bytes=3000000-", "bytes=9999999-99999999", "bytes=-0", "bytes=5-4"):
        refused = await http.get(f"/v2/one/blobs/{digest}", headers={"range": text})
        assert refused.status_code == 416, text
        assert refused.headers["content-range"] == "bytes */3000000"
    for text in ("bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"):
        assert (await http.get(f"/v2/one/blobs/{digest}", headers={"range": text})).content == data


async def test_an_empty_blob(http: httpx.AsyncClient) -> None:
    digest = await put_blob(http, "one", b"")
    answer = await http.get(f"/v2/one/blobs/{digest}")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert (await http.get(f"/v2/one/blobs/{digest}", headers={"range": "bytes=0-"})).status_code == 416


async def test_a_repository_shows_only_its_own_blobs(http: httpx.AsyncClient) -> None:
    digest = await put_blob(http, "one", b"mine")
    for name, expected in (("two", "BLOB_UNKNOWN"), ("three", "NAME_UNKNOWN")):
        assert code(await http.get(f"/v2/{name}/blobs/{digest}")) == (404, expected)
        assert (await http.head(f"/v2/{name}/blobs/{digest}")).status_code == 404
    unknown = digests.of(b"never pushed")
    assert code(await http.get(f"/v2/one/blobs/{unknown}")) == (404, "BLOB_UNKNOWN")


async def test_equal_blobs_are_one_file(registry: Registry, http: httpx.AsyncClient) -> None:
    for repository in ("one", "two"):
        await put_blob(http, repository, b"the same")
    assert len(list(registry.house.blobs.blobs())) == 1


async def test_a_blob_is_deleted_from_one_repository(http: httpx.AsyncClient) -> None:
    for repository in ("one", "two"):
        digest = await put_blob(http, repository, b"shared")
    assert (await http.delete(f"/v2/one/blobs/{digest}")).status_code == 202
    assert (await http.get(f"/v2/one/blobs/{digest}")).status_code == 404
    assert (await http.get(f"/v2/two/blobs/{digest}")).content == b"shared"
    assert code(await http.delete(f"/v2/one/blobs/{digest}")) == (404, "BLOB_UNKNOWN")


async def test_a_blob_of_an_image_is_not_deleted(http: httpx.AsyncClient) -> None:
    await support.put_image(http, "one", "v1", b"layer")
    digest = digests.of(b"layer")
    assert code(await http.delete(f"/v2/one/blobs/{digest}")) == (409, "DENIED")
    assert (await http.get(f"/v2/one/blobs/{digest}")).content == b"layer"


# --- uploads


async def test_chunks_in_order(http: httpx.AsyncClient) -> None:
    data = os.urandom(250_000)
    place = await begin(http)
    for start in (0, 100_000, 200_000):
        chunk = data[start : start + 100_000]
        answer = await http.patch(
            place, content=chunk, headers={"content-range": f"{start}-{start + len(chunk) - 1}"}
        )
        assert (answer.status_code, answer.headers["range"]) == (202, f"0-{start + len(chunk) - 1}")
        place = answer.headers["location"]
    shown = await http.get(place)
    assert (shown.status_code, shown.headers["range"]) == (204, "0-249999")
    done = await http.put(place, params={"digest": digests.of(data)})
    assert done.status_code == 201
    assert (await http.get(done.headers["location"])).content == data
    assert code(await http.get(place)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_the_last_chunk_may_come_with_the_put(http: httpx.AsyncClient) -> None:
    place = await begin(http)
    await http.patch(place, content=b"begin ")
    done = await http.put(
        place, params={"digest": digests.of(b"begin end")}, content=b"end", headers={"content-range": "6-8"}
    )
    assert done.status_code == 201


async def test_a_streamed_upload_of_unknown_length(http: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 65_536

    place = await begin(http)
    answer = await http.patch(place, content=body())
    assert answer.headers["range"] == f"0-{50 * 65_536 - 1}"
    digest = digests.of(b"x" * 50 * 65_536)
    assert (await http.put(place, params={"digest": digest})).status_code == 201


async def test_a_gap_or_a_repetition_is_refused_and_changes_nothing(http: httpx.AsyncClient) -> None:
    place = await begin(http)
    await http.patch(place, content=b"0123456789", headers={"content-range": "0-9"})
    for text in ("11-13", "9-11", "0-2"):
        answer = await http.patch(place, content=b"abc", headers={"content-range": text})
        assert code(answer) == (416, "BLOB_UPLOAD_INVALID"), text
        assert (answer.headers["range"], answer.headers["location"]) == ("0-9", place)
    for text in ("10-10", "10-20", "12-10"):
        answer = await http.patch(place, content=b"abc", headers={"content-range": text})
        assert answer.status_code in (400, 416), text
    answer = await http.patch(place, content=b"abc", headers={"content-range": "ten-twelve"})
    assert code(answer) == (400, "BLOB_UPLOAD_INVALID")
    assert (await http.get(place)).headers["range"] == "0-9"
    digest = digests.of(b"0123456789")
    assert (await http.put(place, params={"digest": digest})).status_code == 201


async def test_a_wrong_digest_keeps_nothing(registry: Registry, http: httpx.AsyncClient) -> None:
    place = await begin(http)
    await http.patch(place, content=b"bytes")
    wrong = digests.of(b"other bytes")
    assert code(await http.put(place, params={"digest": wrong})) == (400, "DIGEST_INVALID")
    assert (await http.head(f"/v2/one/blobs/{wrong}")).status_code == 404
    answer = await http.post("/v2/one/blobs/uploads/", params={"digest": wrong}, content=b"bytes")
    assert code(answer) == (400, "DIGEST_INVALID")
    assert list(registry.house.blobs.blobs()) == []
    assert list(registry.house.blobs.uploads.iterdir()) == []


@pytest.mark.parametrize(
    "digest", ["", "sha256:abc", "md5:" + "a" * 32, "sha256:" + "A" * 64, "../../etc/passwd"]
)
async def test_what_is_no_digest(http: httpx.AsyncClient, digest: str) -> None:
    place = await begin(http)
    assert code(await http.put(place, params={"digest": digest})) == (400, "DIGEST_INVALID")
    answer = await http.post("/v2/one/blobs/uploads/", params={"digest": digest}, content=b"")
    assert code(answer) == (400, "DIGEST_INVALID")
    answer = await http.post("/v2/one/blobs/uploads/", params={"mount": digest, "from": "two"})
    assert code(answer) == (400, "DIGEST_INVALID")


async def test_an_upload_belongs_to_its_repository(http: httpx.AsyncClient) -> None:
    place = await begin(http)
    for other in (
        place.replace("/one/", "/two/"),
        "/v2/one/blobs/uploads/00000000-0000-0000-0000-000000000000",
        "/v2/one/blobs/uploads/..%2F..%2Fstate",
        "/v2/one/blobs/uploads/" + place.rpartition("/")[2] + ".json",
    ):
        for answer in (
            await http.patch(other, content=b"x"),
            await http.put(other, params={"digest": digests.of(b"x")}, content=b"x"),
            await http.get(other),
            await http.delete(other),
        ):
            assert answer.status_code == 404, other


async def test_an_upload_is_cancelled(registry: Registry, http: httpx.AsyncClient) -> None:
    place = await begin(http)
    await http.patch(place, content=b"given up")
    assert (await http.delete(place)).status_code == 204
    assert code(await http.patch(place, content=b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list(registry.house.blobs.uploads.iterdir()) == []


async def test_two_writers_of_one_upload(registry: Registry, http: httpx.AsyncClient) -> None:
    first_sent, let_go = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        first_sent.set()
        await let_go.wait()
        yield b"!"

    place = await begin(http)
    slow = asyncio.create_task(http.patch(place, content=body()))
    await first_sent.wait()
    uploads = Uploads(registry.house.blobs)
    await reached((registry.house.blobs.uploads / place.rpartition("/")[2]).exists)
    assert code(await http.patch(place, content=b"second")) == (409, "BLOB_UPLOAD_INVALID")
    let_go.set()
    assert (await slow).status_code == 202
    repository = f"arn:aws:ecr:us-east-1:{SCOPE}:repository/one"
    assert uploads.size(place.rpartition("/")[2], repository) == 6


async def cut_off(registry: Registry, place: str, data: bytes, announced: int) -> None:
    """PATCH `data` of a body said to be longer, and hang up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.port)
    login = base64.b64encode(f"AWS:{await registry.password()}".encode()).decode()
    head = f"PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {login}\r\n"
    writer.write(f"{head}content-length: {announced}\r\n\r\n".encode() + data)
    await writer.drain()
    await reached((registry.house.blobs.uploads / place.rpartition("/")[2]).exists)
    writer.close()
    await writer.wait_closed()
    del reader


async def test_a_push_cut_off_goes_on_where_it_stopped(registry: Registry, http: httpx.AsyncClient) -> None:
    data = os.urandom(4_000_000)
    place = await begin(http)
    await cut_off(registry, place, data[:2_500_000], len(data))
    file = registry.house.blobs.uploads / place.rpartition("/")[2]
    await reached(lambda: file.stat().st_size == 2_500_000)
    assert (await http.get(place)).headers["range"] == "0-2499999"
    rest = {"content-range": f"2500000-{len(data) - 1}"}
    assert (await http.patch(place, content=data[2_500_000:], headers=rest)).status_code == 202
    assert (await http.put(place, params={"digest": digests.of(data)})).status_code == 201


async def test_a_push_goes_on_after_a_restart(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    async with support.opened(tmp_path) as before:
        await before.ecr.create_repository(repositoryName="one")
        async with before.http() as http:
            place = await begin(http)
            await http.patch(place, content=data[:1_500_000])
            done = await put_blob(http, "one", b"kept")
    async with support.opened(tmp_path) as after, after.http() as http:
        assert (await http.get(place)).headers["range"] == "0-1499999"
        await http.patch(place, content=data[1_500_000:])
        answer = await http.put(place, params={"digest": digests.of(data)})
        assert answer.status_code == 201
        assert (await http.get(f"/v2/one/blobs/{done}")).content == b"kept"


async def test_many_chunks_are_hashed_once(
    registry: Registry, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0

    class Counting:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def update(self, data: bytes) -> None:
            nonlocal hashed
            hashed += len(data)
            self._inner.update(data)

        def copy(self) -> "Counting":
            return Counting(self._inner.copy())

        def hexdigest(self) -> str:
            return str(self._inner.hexdigest())

    real = hashlib.sha256
    place = await begin(http)
    with monkeypatch.context() as patch:
        patch.setattr("neargate.oci.content.hashlib", SimpleNamespace(sha256=lambda: Counting(real())))
        for _ in range(20):
            await http.patch(place, content=b"y" * 100_000)
        digest = "sha256:" + real(b"y" * 2_000_000).hexdigest()
        assert (await http.put(place, params={"digest": digest})).status_code == 201
    assert hashed == 2_000_000


# --- mounts


async def test_a_mount_takes_no_bytes(http: httpx.AsyncClient) -> None:
    digest = await put_blob(http, "one", b"to be shared")
    for parameters in ({"mount": digest, "from": "one"}, {"mount": digest}):
        answer = await http.post("/v2/two/blobs/uploads/", params=parameters)
        assert (answer.status_code, answer.headers["location"]) == (201, f"/v2/two/blobs/{digest}")
        assert (await http.get(f"/v2/two/blobs/{digest}")).content == b"to be shared"
        await http.delete(f"/v2/two/blobs/{digest}")


async def test_what_cannot_be_mounted_is_uploaded(http: httpx.AsyncClient) -> None:
    digest = await put_blob(http, "one", b"here")
    unknown = digests.of(b"nowhere")
    for parameters in (
        {"mount": unknown, "from": "one"},
        {"mount": digest, "from": "two"},
        {"mount": digest, "from": "no-such"},
        {"mount": digest, "from": "../one"},
        {"mount": unknown},
    ):
        answer = await http.post("/v2/two/blobs/uploads/", params=parameters)
        assert answer.status_code == 202, parameters
        assert "docker-upload-uuid" in answer.headers
    assert code(await http.post("/v2/three/blobs/uploads/", params={"mount": digest, "from": "one"})) == (
        404,
        "NAME_UNKNOWN",
    )


async def test_what_the_registry_does_not_have(http: httpx.AsyncClient) -> None:
    for method, path, expected in (
        ("GET", "/v2/one/nothing", (404, "UNSUPPORTED")),
        ("GET", "/v2/one/blobs/uploads/", (405, "UNSUPPORTED")),
        ("POST", "/v2/", (405, "UNSUPPORTED")),
        ("POST", "/v2/_catalog", (405, "UNSUPPORTED")),
        ("POST", "/v2/one/tags/list", (405, "UNSUPPORTED")),
        ("GET", "/v2/UPPER/tags/list", (400, "NAME_INVALID")),
        ("GET", "/v2/one/../two/tags/list%00", (404, "UNSUPPORTED")),
        ("GET", f"/v2/{'a' * 300}/tags/list", (400, "NAME_INVALID")),
    ):
        assert code(await http.request(method, path)) == expected, path
