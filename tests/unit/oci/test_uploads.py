"""Upload sessions on a content store: whose they are, what is hashed again, what is swept and collected."""

import os
import time
from pathlib import Path

import pytest

from neargate.oci import digest as digests
from neargate.oci.content import ContentBusy, ContentError, ContentStore
from neargate.oci.uploads import NoUpload, Uploads

ID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


async def add(content: ContentStore, data: bytes) -> None:
    async with Uploads(content).open(ID, "web") as upload:
        await upload.writer.write(data)


async def test_a_session_goes_on_in_another_store_object(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    await add(content, b"one ")
    again = ContentStore(content.root)
    assert Uploads(again).size(ID, "web") == 4
    await add(again, b"two")
    async with Uploads(again).open(ID, "web") as upload:
        assert await upload.finish(digests.of(b"one two")) == 7
    assert again.size(digests.of(b"one two")) == 7
    assert list(content.uploads.iterdir()) == []


async def test_what_was_hashed_is_not_trusted_when_the_file_changed(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    await add(content, b"longer")
    (content.uploads / ID).write_bytes(b"short")
    async with Uploads(content).open(ID, "web") as upload:
        assert upload.writer.offset == 5
        assert await upload.finish(digests.of(b"short")) == 5


@pytest.mark.parametrize("id", ["", "x", "../../etc/passwd", ID.upper(), ID + ".json", ID + "\n"])
async def test_what_is_no_session(content: ContentStore, id: str) -> None:
    with pytest.raises(NoUpload):
        Uploads(content).size(id, "web")


async def test_a_session_is_its_owner_s(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    with pytest.raises(NoUpload):
        Uploads(content).size(ID, "other")
    with pytest.raises(NoUpload):
        async with Uploads(content).open(ID, "other"):
            pass


async def test_one_writer_at_a_time(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    async with Uploads(content).open(ID, "web") as upload:
        await upload.writer.write(b"x")
        with pytest.raises(ContentBusy):
            await add(content, b"y")
    assert Uploads(content).size(ID, "web") == 1
    await add(content, b"z")
    async with Uploads(content).open(ID, "web") as upload:
        await upload.finish(digests.of(b"xz"))


async def test_a_wrong_digest_ends_the_session(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    async with Uploads(content).open(ID, "web") as upload:
        await upload.writer.write(b"x")
        with pytest.raises(ContentError, match="digest is sha256:"):
            await upload.finish(digests.of(b"y"))
    with pytest.raises(NoUpload):
        Uploads(content).size(ID, "web")


async def test_an_error_of_the_caller_keeps_what_was_written(content: ContentStore) -> None:
    Uploads(content).begin(ID, "web")
    with pytest.raises(RuntimeError):
        async with Uploads(content).open(ID, "web") as upload:
            await upload.writer.write(b"half")
            raise RuntimeError("the client went away")
    assert Uploads(content).size(ID, "web") == 4


async def test_only_old_sessions_are_swept(content: ContentStore) -> None:
    uploads = Uploads(content)
    uploads.begin(ID, "web")
    await add(content, b"x")
    assert uploads.sweep(time.time() - 60) == 0
    os.utime(content.uploads / f"{ID}.json", (1, 1))
    assert uploads.sweep(time.time() - 60) == 0
    os.utime(content.uploads / ID, (1, 1))
    assert uploads.sweep(time.time() - 60) == 2
    assert list(content.uploads.iterdir()) == []


async def test_a_blob_is_collected_by_age_and_never_when_touched(content: ContentStore) -> None:
    digest = await content.put(b"blob")
    long_ago = time.time() - 3600
    assert not await content.collect(digest, long_ago)
    os.utime(content.path(digest), (1, 1))
    assert content.touch(digest)
    assert not await content.collect(digest, long_ago)
    os.utime(content.path(digest), (1, 1))
    assert await content.collect(digest, long_ago)
    assert content.size(digest) is None
    assert not content.touch(digest)
    assert not await content.collect(digest, long_ago)
    assert await content.put(b"blob") == digest
    assert content.size(digest) == 4


async def test_a_blob_written_again_is_young(content: ContentStore) -> None:
    digest = await content.put(b"blob")
    os.utime(content.path(digest), (1, 1))
    Uploads(content).begin(ID, "web")
    await add(content, b"blob")
    os.utime(content.uploads / ID, (1, 1))  # its bytes came long before it was finished
    async with Uploads(content).open(ID, "web") as upload:
        await upload.finish(digest)
    assert not await content.collect(digest, time.time() - 3600)
