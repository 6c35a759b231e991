"""The builder process: every way that a layer is packed, every way that it is broken, and its own end."""

import asyncio
import gzip
import io
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import zstandard

from neargate.oci import digest as digests
from neargate.oci import erofs_reader
from neargate.oci.builder import BuildError, decompress
from neargate.oci.images import run_builder
from tests.unit.oci.archive import END, entry, member, pax, symlink, tar

LIMIT = 1 << 30
TAR = tar(member("d/f", os.urandom(100_000) + b"text " * 50_000), symlink("l", "d/f"))


def zstd(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def zstd_stream(data: bytes, window_log: int) -> bytes:
    """Without the content's size, so that the window is what the header says."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    work = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return work.compress(data) + work.flush()


SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"extra"
HALF = len(TAR) // 2
PACKED = {
    "plain": TAR,
    "gzip": gzip.compress(TAR),
    "gzip of two members": gzip.compress(TAR[:HALF]) + gzip.compress(TAR[HALF:]),
    "gzip of many members": b"".join(gzip.compress(TAR[at : at + 1000]) for at in range(0, len(TAR), 1000)),
    "gzip with an empty member": gzip.compress(b"") + gzip.compress(TAR) + gzip.compress(b""),
    "gzip with padding": gzip.compress(TAR) + bytes(1000),
    "stored gzip": gzip.compress(TAR, 0),
    "zstd": zstd(TAR),
    "zstd with checksum": zstd(TAR, write_checksum=True),
    "zstd of two frames": zstd(TAR[:HALF]) + zstd(TAR[HALF:]),
    "zstd:chunked": SKIPPABLE + zstd(TAR) + SKIPPABLE,
    "zstd with a large window": zstd_stream(TAR, 27),
}


@pytest.mark.parametrize("how", PACKED)
def test_ways_of_packing_a_layer(how: str) -> None:
    assert b"".join(decompress(io.BytesIO(PACKED[how]))) == TAR


def test_an_empty_blob_is_an_empty_layer() -> None:
    assert b"".join(decompress(io.BytesIO(b""))) == b""


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (gzip.compress(TAR)[:-5], "unexpected end of a gzip layer"),
        (gzip.compress(TAR)[:5000], "unexpected end of a gzip layer"),
        (gzip.compress(TAR)[:3], "unexpected end of a gzip layer"),
        (gzip.compress(TAR)[:-8] + b"\1\2\3\4\5\6\7\x08", "invalid gzip layer"),
        (gzip.compress(TAR) + b"garbage" * 10, "invalid gzip layer"),
        (b"\x1f\x8b" + b"\xff" * 100, "invalid gzip layer"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "invalid zstd layer"),
        (zstd(TAR) + b"garbage!", "invalid zstd layer"),
        (zstd_stream(TAR, 28), "invalid zstd layer"),
    ],
)
def test_broken_packings(blob: bytes, why: str) -> None:
    with pytest.raises(BuildError, match=why):
        for _ in decompress(io.BytesIO(blob)):
            pass


def job(place: Path, *layers: bytes, diff_ids: list[str] | None = None, limit: int = LIMIT) -> dict[str, Any]:
    found = []
    for number, layer in enumerate(layers):
        path = place / f"layer{number}"
        path.write_bytes(layer)
        diff_id = diff_ids[number] if diff_ids else digests.of(layer)
        found.append([str(path), diff_id])
    return {"layers": found, "target": str(place / "out.erofs"), "limit": limit}


async def test_an_image(tmp_path: Path) -> None:
    work = job(tmp_path, gzip.compress(TAR), zstd(TAR), diff_ids=[digests.of(TAR)] * 2)
    answer = await run_builder(work)
    out = tmp_path / "out.erofs"
    assert answer == {"size": out.stat().st_size}
    assert out.stat().st_size < 2 * len(TAR) + 5_000_000
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert erofs_reader.read(str(out), "/etc/hosts", 100) == b""  # as every container wants it


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (b"this is no tar" * 100, "invalid number|invalid tar header"),
        (entry(name=b"../../etc/cron.d/evil") + END, "'../../etc/cron.d/evil' climbs out of the image"),
        (entry(name=b"f", kind=b"S") + END, "'f': tar entries of type b'S' are not supported"),
        (entry(b"x" * 5000, name=b"f")[:2000], "unexpected end of the layer"),
        (
            pax((b"size", b"9" * 20)) + entry(name=b"f"),
            f"the image is larger than {LIMIT} bytes when unpacked",
        ),
        (entry(name=b"f", size=b"77777777777\0"), "larger than|unexpected end"),
        (gzip.compress(TAR)[:5000], "unexpected end of a gzip layer"),
        (zstd(TAR)[:-5], "layer0: its content is sha256:|unexpected end of the layer"),
        (zstd(TAR)[:20], "layer0: its content is sha256:|unexpected end of the layer"),
    ],
)
async def test_error_texts(tmp_path: Path, layer: bytes, why: str) -> None:
    says = digests.of(TAR if layer[1:4] == b"\xb5\x2f\xfd" else layer)
    answer = await run_builder(job(tmp_path, layer, diff_ids=[says]))
    assert list(answer) == ["error"]
    assert re.search(why, answer["error"]), answer


async def test_content_of_another_digest(tmp_path: Path) -> None:
    other = f"sha256:{'1' * 64}"
    answer = await run_builder(job(tmp_path, TAR, gzip.compress(TAR), diff_ids=[digests.of(TAR), other]))
    assert answer == {
        "error": f"layer layer1: its content is {digests.of(TAR)}, the image config says {other}"
    }


async def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    packer = zstandard.ZstdCompressor().compressobj()
    with bomb.open("wb") as file:
        for _ in range(3000):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    assert bomb.stat().st_size < 1 << 20
    work = job(tmp_path, limit=50_000_000)
    work["layers"] = [[str(bomb), digests.of(b"")]]
    answer = await run_builder(work)
    assert answer == {"error": "a layer is larger than 50000000 bytes when decompressed"}
    assert (tmp_path / "out.erofs").stat().st_size <= 50_000_000


async def test_the_disk_s_own_errors(tmp_path: Path) -> None:
    missing = job(tmp_path, TAR)
    (tmp_path / "layer0").unlink()
    assert await run_builder(missing) == {"error": "failed to write the image: no such file or directory"}
    taken = job(tmp_path, TAR)
    assert "file exists" in (await run_builder(taken))["error"]


async def test_a_killed_builder_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")  # it waits for a writer that never comes
    work = job(tmp_path)
    work["layers"] = [[str(tmp_path / "stuck"), digests.of(b"")]]
    running = asyncio.create_task(run_builder(work))
    os.kill(await child_of(str(tmp_path)), signal.SIGKILL)
    assert "the unpacker died" in (await running)["error"]


async def test_a_cancelled_build_ends_its_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    work = job(tmp_path)
    work["layers"] = [[str(tmp_path / "stuck"), digests.of(b"")]]
    running = asyncio.create_task(run_builder(work))
    pid = await child_of(str(tmp_path))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{pid}").exists()


async def child_of(place: str) -> int:
    """The builder that has made its target in `place`: it has begun."""
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if f"{place}/out.erofs" in opened:
                return int(process.name)
        await asyncio.sleep(0.01)
