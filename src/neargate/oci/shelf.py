"""The shelf of built images: their files, what is known of them, who holds them, when they were last used.

Part of images.py, which alone calls it. An image is on the shelf once its `.json` is there; anything else in
the directory is thrown away at start. An image that may not have reached the disk before the machine itself
went down (its record has the boot in which it was made) is thrown away too, so that no build waits for fsync.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from neargate.oci import digest as digests
from neargate.oci.manifest import ImageConfig


@dataclass(frozen=True)
class Image:
    """digest -- of the manifest; path, size -- the EROFS file; compressed_size -- bytes of the layers."""

    digest: str
    config_digest: str
    path: Path
    size: int
    config: ImageConfig
    compressed_size: int


class _Card(msgspec.Struct):
    """What is kept beside an image file."""

    digest: str
    config_digest: str
    size: int
    config: ImageConfig
    compressed_size: int
    aliases: list[str]
    boot: str | None
    """Boot in which it was made; None once it is surely on disk."""


class Shelf:
    def __init__(self, root: Path) -> None:
        self._images = root / "images"
        self.scratch = root / "scratch"
        self._cards: dict[str, _Card] = {}
        self._aliases: dict[str, str] = {}
        self._pins: dict[str, set[str]] = {}
        self._used: dict[str, float] = {}
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for directory in (self._images, self.scratch):
            directory.mkdir(parents=True, exist_ok=True)
        for leftover in self.scratch.iterdir():
            leftover.unlink()
        self._load()

    def _load(self) -> None:
        for path in list(self._images.glob("*.json")):
            card = _read_card(path)
            if card is None or card.boot not in (None, self._boot) or not self._whole(card):
                path.unlink()
                continue
            self._cards[card.digest] = card
            self._aliases.update(dict.fromkeys(card.aliases, card.digest))
            self._used[card.digest] = path.stat().st_mtime
        for path in list(self._images.iterdir()):
            if f"sha256:{path.name.partition('.')[0]}" not in self._cards or path.suffix not in (
                ".json",
                ".erofs",
            ):
                path.unlink()

    def _whole(self, card: _Card) -> bool:
        with contextlib.suppress(OSError, digests.DigestError):
            return self._file(card.digest, "erofs").stat().st_size == card.size
        return False

    def _file(self, digest: str, suffix: str) -> Path:
        return self._images / f"{digests.hex_of(digest)}.{suffix}"

    @property
    def total(self) -> int:
        """Bytes of all images."""
        return sum(card.size for card in self._cards.values())

    def get(self, digest: str) -> Image | None:
        card = self._cards.get(self._aliases.get(digest, digest))
        if card is None:
            return None
        return Image(
            card.digest,
            card.config_digest,
            self._file(card.digest, "erofs"),
            card.size,
            card.config,
            card.compressed_size,
        )

    def use(self, digest: str, alias: str | None = None) -> Image | None:
        """Like get, and remember that it was wanted just now (and the index that led to it)."""
        image = self.get(digest)
        if image is None:
            return None
        card = self._cards[image.digest]
        if alias and alias not in self._aliases:
            self._aliases[alias] = image.digest
            card.aliases.append(alias)
            self._write(card)
        path = self._file(image.digest, "json")
        os.utime(path)
        self._used[image.digest] = path.stat().st_mtime
        return image

    def add(self, image: Image, alias: str | None) -> None:
        """Take over a built file (moved from image.path)."""
        image.path.chmod(0o444)
        image.path.rename(self._file(image.digest, "erofs"))
        card = _Card(
            image.digest,
            image.config_digest,
            image.size,
            image.config,
            image.compressed_size,
            [alias] if alias else [],
            self._boot,
        )
        self._write(card)
        self._cards[card.digest] = card
        self._aliases.update(dict.fromkeys(card.aliases, card.digest))
        self._used[card.digest] = self._file(card.digest, "json").stat().st_mtime

    def pin(self, digest: str, holder: str) -> None:
        self._pins.setdefault(holder, set()).add(digest)

    def unpin(self, holder: str) -> None:
        self._pins.pop(holder, None)

    def unused(self) -> Iterator[Image]:
        """Images that nobody holds, longest unused first."""
        for digest in sorted(self._cards, key=lambda d: self._used[d]):
            if (image := self.get(digest)) and not self._held(digest):
                yield image

    def _held(self, digest: str) -> bool:
        return any(digest in held for held in self._pins.values())

    async def remove(self, image: Image) -> bool:
        """Forget an image at once and free its file on a thread; False if it is held or gone."""
        card = self._cards.get(image.digest)
        if card is None or self._held(image.digest):
            return False
        del self._cards[image.digest], self._used[image.digest]
        for alias in card.aliases:
            self._aliases.pop(alias, None)
        self._file(image.digest, "json").unlink()
        trash = self.scratch / secrets.token_hex(8)
        image.path.rename(trash)  # freeing the blocks of a large file takes its time
        await asyncio.to_thread(trash.unlink)
        return True

    async def sync(self) -> None:
        """Bring images to disk that were built since the last time."""
        for card in [card for card in self._cards.values() if card.boot is not None]:
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(_fsync, self._file(card.digest, "erofs"))
                if self._cards.get(card.digest) is card:
                    card.boot = None
                    used = self._used[card.digest]
                    self._write(card)
                    os.utime(self._file(card.digest, "json"), (used, used))

    def _write(self, card: _Card) -> None:
        path = self._file(card.digest, "json")
        beside = path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(card))
        beside.rename(path)


def _read_card(path: Path) -> _Card | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Card)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
