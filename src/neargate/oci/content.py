"""The content store: blobs as files named by their digest, checked while they are written, never half there.

Called by services/ecr and gateway/registry (pushes) and by images.py (pulls). Layout under the root:

    blobs/sha256/<hex>     whole blobs, moved here by an atomic rename after fsync
    ingest/<hex>           the beginning of a blob that is being fetched; a later writer goes on from its end
    uploads/<id>           an upload session's bytes (with <id>.json beside it: whose it is)

Bytes are written and hashed on threads; the caller's loop only waits.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Self

from neargate.oci import digest as digests

_FLUSH = 1024 * 1024
_READ = 1024 * 1024


class ContentError(Exception):
    """The bytes are not what they should be; the message says how."""


class Writer:
    """An open file that is hashed as it grows. Made by ContentStore; use as an async context manager."""

    def __init__(self, path: Path, blobs: Path) -> None:
        self.path = path
        self._blobs = blobs
        self._sum = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.offset = 0
        """Bytes taken so far; a resumed writer begins beyond 0."""
        self._fd = -1

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            if self._fd >= 0:
                await self.flush()
        finally:
            self.close()

    async def write(self, chunk: bytes) -> None:
        self._buffer.append(chunk)
        self._buffered += len(chunk)
        self.offset += len(chunk)
        if self._buffered >= _FLUSH:
            await self.flush()

    async def flush(self) -> None:
        data, self._buffer, self._buffered = self._buffer, [], 0
        if data:
            await asyncio.to_thread(self._append, data)

    async def commit(self, digest: str) -> int:
        """Make the bytes the blob `digest`; their count. Raise ContentError if their digest is another.

        The file is gone afterwards either way.
        """
        digests.check(digest)
        await self.flush()
        return await asyncio.to_thread(self._commit, digest)

    async def discard(self) -> None:
        self._buffer, self._buffered = [], 0
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = _lock(self.path)
        if self._fd < 0:  # somebody else is writing this blob: go on beside, the rename settles it
            self.path = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}")
            self._fd = _lock(self.path)
        while block := os.read(self._fd, _READ):
            self._sum.update(block)
            self.offset += len(block)

    def _append(self, data: list[bytes]) -> None:
        for piece in data:
            self._sum.update(piece)
        view = memoryview(b"".join(data))
        while view:
            view = view[os.write(self._fd, view) :]

    def _commit(self, digest: str) -> int:
        found = f"sha256:{self._sum.hexdigest()}"
        if found != digest:
            self.path.unlink(missing_ok=True)
            self.close()
            raise ContentError(f"digest is {found}, not {digest}")
        os.fsync(self._fd)
        self.path.rename(self._blobs / digests.hex_of(digest))
        self.close()
        _sync_directory(self._blobs)
        return self.offset


def _lock(path: Path) -> int:
    """An exclusive descriptor of the file that has this name; -1 if another writer has it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return -1
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        os.close(fd)  # renamed between open and lock: that file is a blob now


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ContentStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        self.uploads = root / "uploads"
        for directory in (self._blobs, self._ingest, self.uploads):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, if it is here."""
        return self._blobs / digests.hex_of(digest)

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def ingest(self, digest: str) -> Writer:
        """A writer for a blob to be fetched. It begins where an interrupted one stopped (see `offset`)."""
        return Writer(self._ingest / digests.hex_of(digest), self._blobs)

    def upload(self, name: str) -> Writer:
        """A writer for the upload session `name`, beginning after the bytes that it has."""
        return Writer(self.uploads / name, self._blobs)

    async def put(self, data: bytes) -> str:
        """Store a small blob; its digest."""
        digest = digests.of(data)
        if self.size(digest) != len(data):
            async with Writer(
                self._ingest / f"{digests.hex_of(digest)}.{secrets.token_hex(8)}", self._blobs
            ) as w:
                await w.write(data)
                await w.commit(digest)
        return digest

    async def get(self, digest: str, limit: int) -> bytes:
        """A small blob whole. Raise ContentError if it is not here or larger than `limit`."""
        size = self.size(digest)
        if size is None:
            raise ContentError(f"blob {digest} is not in the store")
        if size > limit:
            raise ContentError(f"blob {digest} has {size} bytes: at most {limit} were expected")
        return await asyncio.to_thread(self.path(digest).read_bytes)

    async def read(self, digest: str, start: int, count: int) -> AsyncIterator[bytes]:
        """`count` bytes from `start`, in pieces read on a thread as the caller takes them."""
        file = await asyncio.to_thread(self.path(digest).open, "rb", 0)
        try:
            file.seek(start)
            while count > 0 and (chunk := await asyncio.to_thread(file.read, min(_READ, count))):
                count -= len(chunk)
                yield chunk
        finally:
            file.close()

    def delete(self, digest: str) -> bool:
        try:
            self.path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def blobs(self) -> Iterator[tuple[str, os.stat_result]]:
        """(digest, status) of every blob."""
        for entry in os.scandir(self._blobs):
            with contextlib.suppress(FileNotFoundError):
                yield f"sha256:{entry.name}", entry.stat()

    def sweep(self, before: float) -> int:
        """Remove what fetches left unfinished before that moment (epoch seconds); how many files."""
        removed = 0
        for entry in os.scandir(self._ingest):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    Path(entry.path).unlink()
                    removed += 1
        return removed
