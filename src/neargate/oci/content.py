"""The content store: blobs as files named by their digest, checked while they are written, never half there.

Called by uploads.py, services/ecr and gateway/registry (pushes) and by images.py (pulls). Under the root:

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
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from neargate.oci import digest as digests

_FLUSH = 1024 * 1024
_READ = 1024 * 1024
_IOV_MAX = 1024
_Result = TypeVar("_Result")
_PROGRESS_KEPT = 1000


class ContentError(Exception):
    """The bytes are not what they should be; the message says how."""


class ContentBusy(Exception):
    """Another writer has the upload open."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far an upload was hashed when its last writer left it."""

    offset: int
    sum: "hashlib._Hash"


class Writer:
    """An open file that is hashed as it grows. Made by ContentStore; use as an async context manager."""

    def __init__(
        self, path: Path, blobs: Path, *, alone: bool = False, progress: _Progress | None = None
    ) -> None:
        """alone -- raise ContentBusy where another writer has the file, instead of beginning one beside it.

        progress -- how far the file was hashed before: so much of it is not read again.
        """
        self.path = path
        self._blobs = blobs
        self._alone = alone
        self._progress = progress
        self._sum = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self.offset = 0
        """Bytes taken so far; a resumed writer begins beyond 0."""
        self._fd = -1

    async def __aenter__(self) -> Self:
        try:
            await _finished(self._open)
        except BaseException:
            self.close()
            raise
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
            await _finished(lambda: self._append(data))

    def progress(self) -> _Progress:
        """What a later writer of the same file may be given. After `flush`."""
        return _Progress(self.offset, self._sum.copy())

    async def commit(self, digest: str) -> int:
        """Make the bytes the blob `digest`; their count. Raise ContentError if their digest is another.

        The file is gone afterwards either way.
        """
        digests.check(digest)
        await self.flush()
        return await _finished(lambda: self._commit(digest))

    async def discard(self) -> None:
        self._buffer, self._buffered = [], 0
        self.path.unlink(missing_ok=True)
        self.close()

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = _lock(self.path)
        if self._fd < 0 and self._alone:
            raise ContentBusy(f"{self.path.name} is being written by another request")
        if self._fd < 0:  # somebody else is writing this blob: go on beside, the rename settles it
            self.path = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}")
            self._fd = _lock(self.path)
        if self._progress is not None and os.fstat(self._fd).st_size == self._progress.offset:
            self.offset, self._sum = self._progress.offset, self._progress.sum.copy()
            os.lseek(self._fd, self.offset, os.SEEK_SET)
        while block := os.read(self._fd, _READ):
            self._sum.update(block)
            self.offset += len(block)

    def _append(self, data: list[bytes]) -> None:
        for piece in data:
            self._sum.update(piece)
        for start in range(0, len(data), _IOV_MAX):
            some = data[start : start + _IOV_MAX]
            written, wanted = os.writev(self._fd, some), sum(map(len, some))
            if written < wanted:
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]

    def _commit(self, digest: str) -> int:
        found = f"sha256:{self._sum.hexdigest()}"
        if found != digest:
            self.path.unlink(missing_ok=True)
            self.close()
            raise ContentError(f"digest is {found}, not {digest}")
        os.utime(self._fd)  # a blob's age counts from now
        os.fsync(self._fd)
        self.path.rename(self._blobs / digests.hex_of(digest))
        self.close()
        _sync_directory(self._blobs)
        return self.offset


async def _finished(work: Callable[[], _Result]) -> _Result:
    """Run on a thread; a cancelled caller waits for its end too, as the thread still uses the descriptor."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


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
        self._progress: dict[str, _Progress] = {}
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

    @contextlib.asynccontextmanager
    async def upload(self, name: str) -> AsyncIterator[Writer]:
        """A writer for the upload session `name`, beginning after the bytes that it has.

        Raise ContentBusy while another writes it. What was hashed is remembered for the next writer.
        """
        writer = Writer(self.uploads / name, self._blobs, alone=True, progress=self._progress.pop(name, None))
        async with writer:
            try:
                yield writer
            finally:
                await writer.flush()
                if writer.is_open:
                    self._progress[name] = writer.progress()
                    while len(self._progress) > _PROGRESS_KEPT:
                        del self._progress[next(iter(self._progress))]

    async def put(self, data: bytes) -> str:
        """Store a small blob; its digest."""
        digest = digests.of(data)
        if not self.touch(digest):
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

    def touch(self, digest: str) -> bool:
        """Make a blob new, so that `collect` leaves it for a while; False if it is not here."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    async def collect(self, digest: str, before: float) -> bool:
        """Remove a blob that was neither written nor touched since that moment (epoch seconds).

        Call it right after finding that nothing names the blob, with no await between: whoever names it
        anew touches it first, and the look at its age and the removal are one step to the caller's loop.
        """
        path = self.path(digest)
        gone = self._ingest / f"{digests.hex_of(digest)}.gone.{secrets.token_hex(8)}"
        try:
            if path.stat().st_mtime >= before:
                return False
            path.rename(gone)
            if gone.stat().st_mtime >= before:  # a commit on a thread came between
                gone.rename(path)
                return False
        except FileNotFoundError:
            return False
        await asyncio.to_thread(gone.unlink)
        return True

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
