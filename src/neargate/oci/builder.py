"""Layers in, one EROFS file out: the child process that reads everything an image's author controls.

Started by images.py as `python -m neargate.oci.builder`, a job as JSON on its input; answers one JSON line.
A process of its own, so that a hostile layer can neither stall the daemon's loop nor grow its memory.

    blob --decompress thread--> chunks --hash thread (diff_id)
                                      \\--layer thread: tar -> data blocks, changes --> tree -> metadata
"""

import hashlib
import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from isal import igzip_lib
from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor

from neargate.oci import erofs, tree
from neargate.oci.erofs_format import BLOCK
from neargate.oci.tar import Reader, Stream, TarError

_CHUNK = 1024 * 1024
_INPUT = 256 * 1024
_QUEUE = 6
_ENTRIES_MAX = 2_000_000
_MEMORY_MAX = 4 * 1024**3
_WINDOW_MAX = 128 * 1024 * 1024
"""Largest zstd window, as the zstd command line accepts without being told."""
_GzipError = cast("type[Exception]", igzip_lib.IsalError)


class BuildError(Exception):
    """The image cannot be built; the message is for people."""


def decompress(file: BinaryIO) -> Iterator[bytes]:
    """The tar inside a layer, told by its first bytes: gzip (any number of members), zstd, or as it is."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return _gunzip(file)
    if magic == b"\x28\xb5\x2f\xfd" or (magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50):
        return _unzstd(file)
    return iter(lambda: file.read(_CHUNK), b"")


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    inflate = IgzipDecompressor(flag=DECOMP_GZIP)
    data = b""
    started = False
    try:
        while True:
            if inflate.eof:
                data = inflate.unused_data or file.read(_INPUT)
                if not data.strip(b"\0"):  # padding after the last member
                    return
                inflate = IgzipDecompressor(flag=DECOMP_GZIP)
            elif inflate.needs_input or not started:
                data = file.read(_INPUT)
                if not data:
                    raise BuildError("unexpected end of a gzip layer")
            else:
                data = b""
            started = True
            if out := inflate.decompress(data, _CHUNK):
                yield out
    except _GzipError as error:
        raise BuildError(f"invalid gzip layer: {error}") from None


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(
        file, read_across_frames=True
    )
    try:
        while out := reader.read(_CHUNK):
            yield out
    except zstandard.ZstdError as error:
        raise BuildError(f"invalid zstd layer: {error}") from None


class _Pump:
    """Runs an iterator on its own thread, hashes what it gives on another, and hands it on."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._out: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUE)
        self._hash: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._sum = hashlib.sha256()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._produce), threading.Thread(target=self._digest)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            item = self._out.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item

    def close(self) -> str:
        """The digest of all that passed. Also ends the threads when the reader gave up early."""
        self._stop.set()
        while self._threads[0].is_alive():
            try:
                self._out.get(timeout=0.01)
            except queue.Empty:
                continue
        for thread in self._threads:
            thread.join()
        return f"sha256:{self._sum.hexdigest()}"

    def _produce(self) -> None:
        total = 0
        try:
            for chunk in self._chunks:
                total += len(chunk)
                if total > self._limit:
                    raise BuildError(f"a layer is larger than {self._limit} bytes when decompressed")
                if self._stop.is_set():
                    return
                self._hash.put(chunk)
                self._out.put(chunk)
            self._out.put(None)
        except BaseException as error:
            self._out.put(error)
        finally:
            self._hash.put(None)

    def _digest(self) -> None:
        while (chunk := self._hash.get()) is not None:
            self._sum.update(chunk)


def read_layer(path: Path, diff_id: str, space: erofs.Space, limit: int) -> list[tree.Change]:
    """Write the files of one layer to their blocks; the changes that it makes to the tree."""
    with path.open("rb") as file:
        pump = _Pump(decompress(file), limit)
        try:
            changes = _changes(Reader(Stream(iter(pump))), space)
        finally:
            digest = pump.close()
    if digest != diff_id:
        raise BuildError(f"layer {path.name}: its content is {digest}, the image config says {diff_id}")
    return changes


def _changes(reader: Reader, space: erofs.Space) -> list[tree.Change]:
    arena = erofs.Arena(space)
    changes: list[tree.Change] = []
    while (entry := reader.next()) is not None:
        block = 0
        if entry.size > erofs.SMALL:
            block = space.reserve(-(-entry.size // BLOCK))
            offset = block * BLOCK

            def write(view: memoryview) -> None:
                nonlocal offset
                erofs.write_at(space.fd, view, offset)
                offset += len(view)

            reader.data(write)
        elif entry.size:
            parts: list[bytes] = []
            reader.data(lambda view, parts=parts: parts.append(bytes(view)))  # type: ignore[misc]
            block = arena.add(b"".join(parts))
        changes.append(tree.Change(entry, block))
        if len(changes) > _ENTRIES_MAX:
            raise BuildError(f"a layer has more than {_ENTRIES_MAX} files")
    arena.flush()
    return changes


def build(layers: list[tuple[Path, str]], target: Path, limit: int, *, mount_points: bool = False) -> int:
    """Make `target` from (blob, diff_id) layers, lowest first; its size in bytes. At most `limit` bytes.
    mount_points -- add those of every container."""
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        space = erofs.Space(fd, limit)
        top = tree.root()
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            jobs = [pool.submit(read_layer, path, diff_id, space, limit) for path, diff_id in layers]
            try:
                for number, job in enumerate(jobs):
                    tree.apply(top, number, job.result())
            finally:
                for job in jobs:
                    job.cancel()
        if mount_points:
            tree.add_mount_points(top)
        return erofs.finish(fd, space.used, top)
    except OverflowError:
        raise BuildError(f"the image is larger than {limit} bytes when unpacked") from None
    except TarError as error:
        raise BuildError(str(error)) from None
    finally:
        os.close(fd)


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
    try:
        layers = [(Path(path), str(diff_id)) for path, diff_id in job["layers"]]
        size = build(layers, Path(job["target"]), int(job["limit"]), mount_points=True)
        answer: dict[str, Any] = {"size": size}
    except BuildError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"the image needs more than {_MEMORY_MAX} bytes of memory to unpack"}
    except OSError as error:
        answer = {"error": f"failed to write the image: {(error.strerror or str(error)).lower()}"}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
