"""The bytes of objects: files under random names, whole or not there at all. What they are is in the store.

Called by services/s3 and services/cell. A file never changes once it has its name: records of several objects
may share one by hard links. Bytes are written and read on threads; the caller's loop only waits.
"""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from neargate.state import objects
from neargate.state.store import Store, StoreError, Tx

_CHUNK = 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{32}(\.new)?")
_SLICE = 500
T = TypeVar("T")


class OpenFile:
    """A stretch of a file, read piece by piece. It stays readable when the object is replaced meanwhile."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._left = size

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raise StoreError if the file is shorter than it should be."""
        if not self._left:
            return b""
        data = await asyncio.to_thread(self._file.read, min(_CHUNK, self._left))
        if not data:
            raise StoreError(f"the file of an object ends {self._left} bytes early")
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()


class ObjectFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    async def write(self, name: str, data: bytes) -> None:
        await self._make(name, lambda file: file.write(data))

    async def join(self, name: str, parts: Sequence[str]) -> None:
        """Write the files of `parts`, one after another, as a new one."""

        def copy(file: BinaryIO) -> None:
            for part in parts:
                with self._path(part).open("rb") as source:
                    while os.sendfile(file.fileno(), source.fileno(), None, 1 << 30):
                        pass

        await self._make(name, copy)

    async def copy(self, name: str, source: str, start: int, length: int) -> None:
        """Write a stretch of a file as a new one."""

        def fill(file: BinaryIO) -> None:
            with self._path(source).open("rb") as old:
                place, end = start, start + length
                while place < end and (sent := os.sendfile(file.fileno(), old.fileno(), place, end - place)):
                    place += sent

        await self._make(name, fill)

    async def link(self, old: str, new: str) -> None:
        """Let a file have another name, which it keeps when the first is deleted."""

        def make() -> None:
            self._directory(new)
            os.utime(self._path(old))  # a sweep under way takes no name that is younger than it
            os.link(self._path(old), self._path(new))

        await _on_thread(make)

    async def _make(self, name: str, fill: Callable[[BinaryIO], object]) -> None:
        def make() -> None:
            directory = self._directory(name)
            draft = directory / f"{name}.new"
            try:
                with draft.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(self._path(name))
                _sync(directory)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise

        await _on_thread(make)

    def _directory(self, name: str) -> Path:
        directory = self._path(name).parent
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return directory

    async def open(self, name: str, start: int, length: int) -> OpenFile | None:
        """None if there is no such file (any more)."""

        def work() -> BinaryIO | None:
            try:
                file = self._path(name).open("rb")
            except FileNotFoundError:
                return None
            file.seek(start)
            return file

        file = await _on_thread(work)
        return OpenFile(file, length) if file is not None else None

    async def read(self, name: str, limit: int) -> bytes | None:
        """At most the first `limit` bytes; None if there is no such file."""
        try:
            return await _on_thread(lambda: _head(self._path(name), limit))
        except FileNotFoundError:
            return None

    def chunks(self, name: str) -> Iterator[bytes]:
        """For threads."""
        with self._path(name).open("rb") as file:
            while data := file.read(_CHUNK):
                yield data

    async def md5(self, name: str) -> str:
        def work() -> str:
            sum = hashlib.md5(usedforsecurity=False)
            for chunk in self.chunks(name):
                sum.update(chunk)
            return sum.hexdigest()

        return await _on_thread(work)

    async def delete(self, names: Collection[str]) -> None:
        def work() -> None:
            for name in names:
                self._path(name).unlink(missing_ok=True)

        if names:
            await _on_thread(work)

    async def sweep(self, store: Store, before: float) -> int:
        """Delete the files of no record that were there before that moment (epoch seconds); how many.

        A daemon that is killed between a file and its record leaves one.
        """
        gone = 0
        found = await _on_thread(lambda: list(self._older(before)))
        for start in range(0, len(found), _SLICE):
            strays = await store.read(partial(_strays, found[start : start + _SLICE]))
            await self.delete(strays)
            gone += len(strays)
        return gone

    def _older(self, before: float) -> Iterator[str]:
        for directory in self._root.glob("[0-9a-f][0-9a-f]"):
            for entry in os.scandir(directory):
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        if entry.stat().st_mtime < before:
                            yield entry.name


async def _on_thread(work: Callable[[], T]) -> T:
    """Run it to its end, even if the caller is cancelled. Raise StoreError, as a full disk is no bug."""
    try:
        return await asyncio.shield(asyncio.to_thread(work))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"the bytes of an object: {error}") from error


def _strays(names: Sequence[str], tx: Tx) -> list[str]:
    return [name for name in names if not objects.has_file(tx, name)]


def _head(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
