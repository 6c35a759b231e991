"""A made-up image of a given size that behaves like a real one: many small files, some large, half text.

Used by bench/pull.py. The same size makes the same bytes. Contents compress to about 40 %, as those of
language runtimes with their libraries do; `variant` adds another manifest over the same layers.
"""

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from neargate.oci import digest as digests
from neargate.oci.layout import busybox_layer, write_layout

MB = 1_000_000
_POOL_WORDS = 4_000_000
_SHARES = (0.4, 0.45, 0.15)
"""Of the three layers: system, libraries, application."""


class _Contents:
    """Pieces of two pools: words as text has them, and instructions as programs have them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        letters = b"etaoinshrdlucmfw_"
        words = [bytes(chance.choices(letters, k=chance.randint(2, 11))) + b" " for _ in range(30_000)]
        codes = [chance.randbytes(chance.randint(1, 7)) for _ in range(30_000)]
        self._pools = [self._pool(words), self._pool(codes)]

    def _pool(self, words: list[bytes]) -> bytes:
        """Words in a row, a few of them often and most seldom."""
        return b"".join(words[int(len(words) * self._chance.random() ** 4)] for _ in range(_POOL_WORDS))

    def take(self, size: int) -> bytes:
        pool = self._chance.choice(self._pools)
        parts: list[bytes] = []
        while size > 0:
            piece = min(size, self._chance.randint(2_000, 200_000))
            at = self._chance.randrange(len(pool) - piece)
            parts.append(pool[at : at + piece])
            size -= piece
        return b"".join(parts)


def layers(size: int) -> list[bytes]:
    """Tars with `size` bytes of files in all; the lowest has a shell too."""
    chance = random.Random(size)
    contents = _Contents(chance)
    return [busybox_layer(), *(_layer(chance, contents, n, int(size * s)) for n, s in enumerate(_SHARES))]


def _layer(chance: random.Random, contents: _Contents, number: int, size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        count = 0
        while size > 0:
            # Half of the bytes are in a few large files, the rest in thousands with a median of 5 kB.
            large = chance.random() < 0.004
            wish = chance.randint(2 * MB, 12 * MB) if large else int(chance.lognormvariate(8.5, 1.4))
            data = contents.take(min(size, wish))
            member = tarfile.TarInfo(f"opt/{number}/lib{count % 97}/module-{count}.bin")
            member.size, member.mode, member.mtime = len(data), 0o644, 1_700_000_000 + count
            tar.addfile(member, io.BytesIO(data))
            size -= len(data)
            count += 1
    return out.getvalue()


def write(dest: Path, tars: list[bytes], compress: Any) -> Path:
    """An OCI layout as builders make it: gzip -6 or zstd -3."""
    level = 6 if compress == "gzip" else 3
    return write_layout(dest, tars, {"Cmd": ["/bin/sleep", "600"]}, compress=compress, level=level)


def variant(layout: Path, name: str) -> None:
    """Tag `name`: an image of its own (its config differs by a label) over the layers of `latest`."""
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_bytes())
    config = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
    config["config"]["Labels"] = {"variant": name}
    manifest["config"] |= _put(layout, config)
    entry = {"mediaType": manifest["mediaType"], **_put(layout, manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    index["manifests"].append(entry)
    (layout / "index.json").write_text(json.dumps(index))


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digests.hex_of(digest)


def _put(layout: Path, document: Any) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = digests.of(data)
    _blob(layout, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}
