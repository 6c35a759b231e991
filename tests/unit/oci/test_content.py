"""The content store: atomic, resumable, checked, whoever else writes and whoever is killed when."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from neargate.oci import content as contents
from neargate.oci import digest as digests
from neargate.oci.content import ContentError, ContentStore

DATA = bytes(range(256)) * 20_000
DIGEST = digests.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def partials(store: ContentStore) -> list[Path]:
    return sorted((store.root / "ingest").iterdir())


async def fetch(store: ContentStore, data: bytes, digest: str, chunk: int = 70_000) -> int:
    async with store.ingest(digest) as writer:
        begun = writer.offset
        for at in range(begun, len(data), chunk):
            await writer.write(data[at : at + chunk])
        await writer.commit(digest)
    return begun


async def test_a_blob_is_there_whole_or_not_at_all(store: ContentStore) -> None:
    async with store.ingest(DIGEST) as writer:
        await writer.write(DATA)
        await writer.flush()
        assert store.size(DIGEST) is None
        assert await writer.commit(DIGEST) == len(DATA)
    assert store.size(DIGEST) == len(DATA)
    assert store.path(DIGEST).read_bytes() == DATA
    assert [digest for digest, _ in store.blobs()] == [DIGEST]
    assert partials(store) == []


async def test_wrong_bytes_leave_nothing(store: ContentStore) -> None:
    with pytest.raises(ContentError, match=f"digest is {digests.of(b'other')}, not {DIGEST}"):
        async with store.ingest(DIGEST) as writer:
            await writer.write(b"other")
            await writer.commit(DIGEST)
    assert store.size(DIGEST) is None
    assert partials(store) == []


async def test_a_fetch_goes_on_where_it_stopped(store: ContentStore) -> None:
    with pytest.raises(ConnectionError):
        async with store.ingest(DIGEST) as writer:
            await writer.write(DATA[:1_234_567])
            raise ConnectionError
    assert await fetch(store, DATA, DIGEST) == 1_234_567
    assert store.path(DIGEST).read_bytes() == DATA


async def test_two_writers_of_one_blob_do_not_meet(store: ContentStore) -> None:
    async with store.ingest(DIGEST) as first, store.ingest(DIGEST) as second:
        assert first.path != second.path
        await first.write(DATA[:500_000])
        await second.write(DATA)
        await first.flush()
        await second.commit(DIGEST)
        await first.write(DATA[500_000:])
        await first.commit(DIGEST)
    assert store.path(DIGEST).read_bytes() == DATA
    assert partials(store) == []


async def test_many_writers_at_once(store: ContentStore) -> None:
    await asyncio.gather(*(fetch(store, DATA, DIGEST, 10_000 + n) for n in range(8)))
    assert store.path(DIGEST).read_bytes() == DATA
    assert partials(store) == []


async def test_a_cancelled_writer_lets_its_thread_finish(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor's number would else be somebody else's file by the time that the thread writes."""
    inside, go = threading.Event(), threading.Event()
    append = contents.Writer._append

    def slow(self: contents.Writer, data: list[bytes]) -> None:
        inside.set()
        assert go.wait(30)
        append(self, data)

    monkeypatch.setattr(contents.Writer, "_append", slow)

    async def work() -> None:
        async with store.ingest(DIGEST) as writer:
            await writer.write(DATA)

    task = asyncio.create_task(work())
    await asyncio.to_thread(inside.wait, 30)
    for _ in range(3):  # insisting does not help either
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert partials(store)[0].read_bytes() == DATA


async def test_a_writer_cancelled_while_it_opens_keeps_no_lock(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go = threading.Event(), threading.Event()
    opened = contents.Writer._open

    def slow(self: contents.Writer) -> None:
        opened(self)
        inside.set()
        assert go.wait(30)

    monkeypatch.setattr(contents.Writer, "_open", slow)
    task = asyncio.create_task(fetch(store, DATA, DIGEST))
    await asyncio.to_thread(inside.wait, 30)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.setattr(contents.Writer, "_open", opened)
    async with store.ingest(DIGEST) as writer:
        assert writer.path.name == digests.hex_of(DIGEST)


KILLED = """
    import asyncio, sys
    from pathlib import Path
    from neargate.oci.content import ContentStore

    async def main():
        async with ContentStore(Path(sys.argv[1])).ingest(sys.argv[2]) as writer:
            for _ in range(10):
                await writer.write(bytes(range(256)) * 400)
                await writer.flush()
                print(writer.offset, flush=True)
            await asyncio.sleep(600)
    asyncio.run(main())
"""


def killed_writer(store: ContentStore) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(store.root), DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 5 * 102_400:
            pass
        process.kill()


async def test_a_killed_writer_leaves_what_a_later_one_goes_on_from(store: ContentStore) -> None:
    killed_writer(store)
    async with store.ingest(DIGEST) as writer:
        assert writer.path.name == digests.hex_of(DIGEST)  # the dead one holds no lock
        assert 5 * 102_400 <= writer.offset <= 10 * 102_400
        await writer.write(DATA[writer.offset :])
        await writer.commit(DIGEST)
    assert store.path(DIGEST).read_bytes() == DATA


async def test_a_full_disk_is_an_error_and_leaves_a_resumable_file(store: ContentStore) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            await fetch(store, DATA, DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert store.size(DIGEST) is None
    assert 0 < await fetch(store, DATA, DIGEST) <= 1_500_000
    assert store.path(DIGEST).read_bytes() == DATA


async def test_sweep_takes_only_what_is_old(store: ContentStore) -> None:
    for name in ("1" * 64, "2" * 64):
        async with store.ingest(f"sha256:{name}") as writer:
            await writer.write(b"half")
    old = store.root / "ingest" / ("1" * 64)
    os.utime(old, (1, 1))
    assert store.sweep(time.time() - 86400) == 1
    assert [p.name for p in partials(store)] == ["2" * 64]


async def test_put_get_read_delete(store: ContentStore) -> None:
    digest = await store.put(b"small")
    assert digest == digests.of(b"small") == await store.put(b"small")
    assert await store.get(digest, 5) == b"small"
    with pytest.raises(ContentError, match="has 5 bytes: at most 4"):
        await store.get(digest, 4)
    with pytest.raises(ContentError, match="not in the store"):
        await store.get(DIGEST, 5)
    await fetch(store, DATA, DIGEST)
    ranges = [(0, len(DATA)), (1, 10), (1_048_575, 1_048_578), (len(DATA) - 1, 1), (0, 0), (5, 10**9)]
    for start, count in ranges:
        pieces = [piece async for piece in store.read(DIGEST, start, count)]
        assert b"".join(pieces) == DATA[start : start + count]
    assert store.delete(digest)
    assert not store.delete(digest)
    assert store.size(digest) is None


@pytest.mark.parametrize("digest", ["../../etc/passwd", "sha256:../x", "", f"sha512:{'a' * 128}"])
async def test_only_digests_become_paths(store: ContentStore, digest: str) -> None:
    with pytest.raises(digests.DigestError):
        store.path(digest)
    with pytest.raises(digests.DigestError):
        store.ingest(digest)


async def test_a_blob_that_comes_in_thousands_of_pieces(store: ContentStore) -> None:
    data = os.urandom(3000)
    async with store.ingest(digests.of(data)) as writer:
        for at in range(len(data)):
            await writer.write(data[at : at + 1])
        await writer.commit(digests.of(data))
    assert store.path(digests.of(data)).read_bytes() == data
