"""Images of this machine: pulled, made into one read-only EROFS file each, and collected when unused.

Called by node/images with a Source (client.RegistryClient); unpacking happens in a child process, builder.py.
Layout under the root: `images/<hex>.erofs` and `.json` by manifest digest, `cache/` (a ContentStore with the
blobs of foreign registries; pushed ones are in the registry's own and are not copied), `scratch/` (thrown
away at start).
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from neargate.oci import digest as digests
from neargate.oci.content import ContentError, ContentStore
from neargate.oci.errors import ImageError, Interrupted
from neargate.oci.manifest import (
    MAX_CONFIG,
    Descriptor,
    ImageConfig,
    Manifest,
    ManifestError,
    choose,
    host_architecture,
    parse,
    parse_config,
)
from neargate.oci.reference import Reference
from neargate.oci.shelf import Image, Shelf

__all__ = ["Image", "ImageError", "ImageStore", "Source"]

_PARALLEL = 4
_BUILDS = 2
_ATTEMPTS = 5
_PROGRESS = 1024 * 1024
"""Bytes that a broken connection must have brought to not count as a failed attempt."""
_NESTED = 3
_LAYER_SUFFIXES = (".tar", ".tar+gzip", ".tar+zstd", ".tar.gzip", ".tar.zstd")
Progress = Callable[[int, int], None]


class Source(Protocol):
    """Where an image comes from. Implemented by client.RegistryClient."""

    async def manifest(self, ref: Reference) -> tuple[bytes, str, str]:
        """(bytes, media type, digest). Raise ImageError."""
        ...

    def blob(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        """Bytes from `offset` to the end. Raise Interrupted if going on later may help, else ImageError."""
        ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An image on its way: its manifest and what names it."""

    digest: str
    manifest: Manifest
    alias: str | None
    """Digest of the index that it was chosen from."""


class ImageStore:
    def __init__(
        self,
        root: Path,
        content: ContentStore,
        limit_bytes: int,
        *,
        unpacked_limit: int = 100 * 1024**3,
        backoff: float = 0.5,
    ) -> None:
        """content -- the built-in registry's blobs. limit_bytes -- size that `collect` goes down to.

        unpacked_limit -- bytes of one image when unpacked. backoff -- seconds before the first retry.
        """
        self._content = content
        self._cache = ContentStore(root / "cache")
        self._shelf = Shelf(root)
        self._limit = limit_bytes
        self._unpacked_limit = unpacked_limit
        self._backoff = backoff
        self._flights: dict[str, asyncio.Future[None]] = {}
        self._busy: dict[str, int] = {}
        self._fetching: dict[str, asyncio.Lock] = {}
        self._builds = asyncio.Semaphore(_BUILDS)

    def cached(self, manifest_digest: str) -> Image | None:
        """The image of a manifest's (or an index's) digest, if it is built."""
        return self._shelf.get(manifest_digest)

    def pin(self, image: Image, holder: str) -> None:
        """Keep the image until `unpin(holder)`. Call it right after `ensure`, with no await between."""
        self._shelf.pin(image.digest, holder)

    def unpin(self, holder: str) -> None:
        self._shelf.unpin(holder)

    async def ensure(self, ref: Reference, source: Source, *, progress: Progress | None = None) -> Image:
        """The image of `ref`, pulled and built if need be; many callers of one image share the work.

        progress -- called with (bytes done, bytes of all layers). Raise ImageError.
        """
        if ref.digest and (image := self._shelf.use(ref.digest)):
            return image
        wanted = await self._resolve(ref, source)
        while True:
            if image := self._shelf.use(wanted.digest, wanted.alias):
                return image
            flight = self._flights.get(wanted.digest)
            if flight is None:
                await self._lead(ref, wanted, source, progress)
                continue
            try:
                await asyncio.shield(flight)
            except asyncio.CancelledError:
                # Only the leader's own end lets a follower go on, with its own source.
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise

    async def _lead(self, ref: Reference, wanted: _Wanted, source: Source, progress: Progress | None) -> None:
        flight = asyncio.get_running_loop().create_future()
        self._flights[wanted.digest] = flight
        try:
            await self._make(ref, wanted, source, progress)
        except ImageError as error:
            flight.set_exception(error)
            flight.exception()  # followers may be none
            raise
        except BaseException:
            flight.cancel()
            raise
        else:
            flight.set_result(None)
        finally:
            del self._flights[wanted.digest]

    async def _resolve(self, ref: Reference, source: Source) -> _Wanted:
        alias: str | None = None
        at = ref
        for _ in range(_NESTED):
            data, media_type, digest = await source.manifest(at)
            try:
                manifest = parse(data, media_type)
            except ManifestError as error:
                raise ImageError(f"failed to resolve ref {ref}: {error}") from None
            if not manifest.is_index:
                return _Wanted(digest, manifest, alias)
            alias = alias or digest
            if image := self._shelf.get(digest):
                return _Wanted(image.digest, manifest, alias)
            chosen = choose(manifest, host_architecture())
            if chosen is None:
                raise ImageError(
                    "image Manifest does not contain descriptor matching platform "
                    f"'linux/{host_architecture()}'"
                )
            at = replace(ref, digest=chosen.digest)
        raise ImageError(f"failed to resolve ref {ref}: indexes are nested more than {_NESTED} deep")

    async def _make(self, ref: Reference, wanted: _Wanted, source: Source, progress: Progress | None) -> None:
        manifest, config = wanted.manifest, wanted.manifest.config
        assert config is not None
        needed = {item.digest: item for item in (config, *manifest.layers)}
        for digest in needed:
            self._busy[digest] = self._busy.get(digest, 0) + 1
        try:
            raw = await self._read_config(config, source)
            try:
                facts, diff_ids, _ = parse_config(raw)
                _check_layers(manifest, diff_ids)
            except ManifestError as error:
                raise ImageError(f"failed to unpack image {ref}: {error}") from None
            await self._fetch_all(manifest.layers, source, progress)
            await self._build(ref, wanted, facts, diff_ids)
        finally:
            for digest in needed:
                self._busy[digest] -= 1
                if not self._busy[digest]:
                    del self._busy[digest]
                    self._fetching.pop(digest, None)

    async def _read_config(self, config: Descriptor, source: Source) -> bytes:
        if config.size > MAX_CONFIG:
            raise ImageError(f"image config of {config.size} bytes: at most {MAX_CONFIG} are accepted")
        await self._fetch(config, source, lambda count: None)
        return self._blob_path(config.digest).read_bytes()

    async def _fetch_all(
        self, layers: tuple[Descriptor, ...], source: Source, progress: Progress | None
    ) -> None:
        distinct = {layer.digest: layer for layer in layers}
        total = sum(layer.size for layer in distinct.values())
        done = 0
        gate = asyncio.Semaphore(_PARALLEL)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        async def one(layer: Descriptor) -> None:
            async with gate:
                await self._fetch(layer, source, advance)

        try:
            async with asyncio.TaskGroup() as group:
                for layer in distinct.values():
                    group.create_task(one(layer))
        except BaseExceptionGroup as errors:
            known = errors.subgroup(ImageError)
            raise (known or errors).exceptions[0] from None

    def _blob_path(self, digest: str) -> Path:
        store = self._content if self._content.size(digest) is not None else self._cache
        return store.path(digest)

    async def _fetch(self, item: Descriptor, source: Source, advance: Callable[[int], None]) -> None:
        """Have a blob here. Images that share it wait for whoever fetches it now."""
        async with self._fetching.setdefault(item.digest, asyncio.Lock()):
            if not self._have(item, advance):
                await self._download(item, source, advance)

    def _have(self, item: Descriptor, advance: Callable[[int], None]) -> bool:
        for store in (self._content, self._cache):
            if (size := store.size(item.digest)) is not None:
                if size != item.size:
                    raise ImageError(f"blob {item.digest} has {size} bytes, the manifest says {item.size}")
                advance(size)
                return True
        return False

    async def _download(self, item: Descriptor, source: Source, advance: Callable[[int], None]) -> None:
        """Go on from where an interrupted fetch stopped; give up after some attempts that brought nothing."""
        counted, attempt, reached = 0, 0, 0
        while True:
            attempt += 1
            try:
                async with self._cache.ingest(item.digest) as writer:
                    if writer.offset > item.size:
                        await writer.discard()
                        raise Interrupted("a partial blob was too long")
                    advance(writer.offset - counted)
                    counted = writer.offset
                    if writer.offset < item.size or not item.size:
                        async for chunk in source.blob(item.digest, item.size, writer.offset):
                            await writer.write(chunk)
                            advance(len(chunk))
                            counted += len(chunk)
                    if writer.offset != item.size:
                        raise Interrupted(f"only {writer.offset} of {item.size} bytes came")
                    await writer.commit(item.digest)
                    return
            except (Interrupted, ContentError) as error:
                if isinstance(error, Interrupted) and counted - reached >= _PROGRESS:
                    attempt, reached = 1, counted
                if attempt >= _ATTEMPTS:
                    raise ImageError(f"failed to copy layer {item.digest}: {error}") from None
            except OSError as error:
                raise ImageError(
                    f"failed to write {item.digest}: {(error.strerror or str(error)).lower()}"
                ) from None
            await asyncio.sleep(self._backoff * 2 ** (attempt - 1))

    async def _build(
        self, ref: Reference, wanted: _Wanted, facts: ImageConfig, diff_ids: tuple[str, ...]
    ) -> None:
        assert wanted.manifest.config is not None
        layers = wanted.manifest.layers
        scratch = self._shelf.scratch / f"{digests.hex_of(wanted.digest)}.{secrets.token_hex(4)}"
        job = {
            "layers": [[str(self._blob_path(x.digest)), d] for x, d in zip(layers, diff_ids, strict=True)],
            "target": str(scratch),
            "limit": self._unpacked_limit,
        }
        try:
            async with self._builds:
                answer = await run_builder(job)
            if "error" in answer:
                raise ImageError(f"failed to register layer: {answer['error']}")
            self._shelf.add(
                Image(
                    digest=wanted.digest,
                    config_digest=wanted.manifest.config.digest,
                    path=scratch,
                    size=int(answer["size"]),
                    config=facts,
                    compressed_size=sum(layer.size for layer in layers),
                ),
                wanted.alias,
            )
        finally:
            scratch.unlink(missing_ok=True)

    async def collect(self) -> list[str]:
        """Remove what is unused, longest unused first, until images and cached blobs fit the limit.

        Returns the digests removed. Also makes new images durable and drops fetches given up a day ago.
        """
        await self._shelf.sync()
        self._cache.sweep(time.time() - 86400)
        blobs = sorted((s.st_mtime, d, s.st_size) for d, s in self._cache.blobs() if d not in self._busy)
        total = self._shelf.total + sum(s.st_size for _, s in self._cache.blobs())
        removed: list[str] = []
        for _, digest, size in blobs:  # built images need their blobs no more
            if total <= self._limit:
                return removed
            if digest not in self._busy and await asyncio.to_thread(self._cache.delete, digest):
                total -= size
                removed.append(digest)
        for image in self._shelf.unused():
            if total <= self._limit:
                break
            if await self._shelf.remove(image):
                total -= image.size
                removed.append(image.digest)
        return removed


def _check_layers(manifest: Manifest, diff_ids: tuple[str, ...]) -> None:
    if len(diff_ids) != len(manifest.layers):
        raise ManifestError(f"{len(manifest.layers)} layers, but the config names {len(diff_ids)}")
    for layer in manifest.layers:
        if not layer.media_type.endswith(_LAYER_SUFFIXES):
            raise ManifestError(f"layer media type {layer.media_type!r} is not supported")


async def run_builder(job: dict[str, Any]) -> dict[str, Any]:
    """Run the child process; its answer, or an `error` if it died."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "neargate.oci.builder",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")},
    )
    try:
        out, err = await process.communicate(json.dumps(job).encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    # The answer counts, not the exit code: the daemon's reaper may have collected the child first.
    try:
        answer = json.loads(out)
    except ValueError:
        return {"error": f"the unpacker died: {err.decode('utf-8', 'replace')[-300:].strip()}"}
    return answer if isinstance(answer, dict) else {"error": "the unpacker gave no answer"}
