"""A blob comes in: in one request, in chunks, as a stream, or mounted from another repository.

Called by registry.py. Sessions are oci/uploads', so that a push goes on after the daemon was restarted.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neargate.gateway.registry_http import Answer, RegistryError
from neargate.gateway.registry_visit import Visit
from neargate.model.record import Scope
from neargate.model.registry import Link, Repository, repository_arn
from neargate.oci import digest as digests
from neargate.oci import reference
from neargate.oci.manifest import MAX_LAYER
from neargate.oci.uploads import ContentBusy, ContentError, NoUpload, Upload, Uploads
from neargate.state import registry
from neargate.state.catalog import REPOSITORY
from neargate.state.store import Tx

_RANGE = re.compile(r"(?:bytes[= ])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?")


async def begin(visit: Visit, _: str) -> Answer:
    await visit.repository()
    query = visit.incoming.query
    if "mount" in query and await _mount(visit, digests.check(query["mount"]), query.get("from", "")):
        return visit.created(query["mount"])
    whole = digests.check(query["digest"]) if "digest" in query else ""
    uploads = Uploads(visit.house.blobs)
    id = visit.house.ids.uuid()
    uploads.begin(id, visit.arn)
    if not whole:
        return _progress(visit, id, 0, 202)
    async with uploads.open(id, visit.arn) as upload:
        try:
            await _take(visit, upload)
        except BaseException:
            await upload.cancel()  # its id was never told to anyone
            raise
        return await _finish(visit, upload, whole)


async def _mount(visit: Visit, digest: str, source: str) -> bool:
    """Link a blob that another repository (any, if none is named) of the same registry has."""
    now = visit.house.clock.now()

    def find(tx: Tx) -> Link | None:
        if not source:
            return registry.find_anywhere(tx, visit.scope, digest)
        other = _other(tx, visit.scope, source)
        return registry.find_link(tx, other, digest) if other is not None else None

    def body(tx: Tx) -> bool:
        link = find(tx)
        if link is None:
            return False
        repository = registry.need_repository(tx, visit.scope, visit.name)
        registry.add_link(tx, repository, digest, link.size, now)
        return True

    return await visit.house.store.write(body)


def _other(tx: Tx, scope: Scope, name: str) -> Repository | None:
    arn = repository_arn(scope, name)
    return tx.get(REPOSITORY, arn) if reference.check_repository(name) else None


async def status(visit: Visit, id: str) -> Answer:
    try:
        size = Uploads(visit.house.blobs).size(id, visit.arn)
    except NoUpload:
        raise _unknown(id) from None
    return _progress(visit, id, size, 204)


async def add(visit: Visit, id: str) -> Answer:
    async with _opened(visit, id) as upload:
        await _take(visit, upload)
        await upload.writer.flush()
        return _progress(visit, id, upload.writer.offset, 202)


async def finish(visit: Visit, id: str) -> Answer:
    digest = visit.incoming.query.get("digest")
    if digest is None:
        raise RegistryError(400, "DIGEST_INVALID", "the parameter `digest` is missing")
    digests.check(digest)
    async with _opened(visit, id) as upload:
        await _take(visit, upload)
        return await _finish(visit, upload, digest)


async def cancel(visit: Visit, id: str) -> Answer:
    async with _opened(visit, id) as upload:
        await upload.cancel()
    return Answer(204)


@asynccontextmanager
async def _opened(visit: Visit, id: str) -> AsyncIterator[Upload]:
    try:
        async with Uploads(visit.house.blobs).open(id, visit.arn) as upload:
            yield upload
    except NoUpload:
        raise _unknown(id) from None
    except ContentBusy:
        raise RegistryError(409, "BLOB_UPLOAD_INVALID", f"upload {id} is being written to") from None


async def _take(visit: Visit, upload: Upload) -> None:
    """Add the request's body; what came before a client went away is kept for its next request."""
    room = _announced(visit, upload)
    async for chunk in visit.incoming.stream():
        if room is not None:
            room -= len(chunk)
            if room < 0:
                raise RegistryError(400, "SIZE_INVALID", "the body is longer than its Content-Range says")
        if upload.writer.offset + len(chunk) > MAX_LAYER:
            raise RegistryError(413, "SIZE_INVALID", f"a blob may have {MAX_LAYER} bytes at most")
        await upload.writer.write(chunk)
    if room:
        raise RegistryError(400, "SIZE_INVALID", f"the body ended {room} bytes short of its Content-Range")


def _announced(visit: Visit, upload: Upload) -> int | None:
    """Bytes that Content-Range says will come, None without one. Raise RegistryError 416 on a gap."""
    text = visit.incoming.headers.get("content-range")
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise RegistryError(400, "BLOB_UPLOAD_INVALID", f"Content-Range {text[:100]!r} is not <first>-<last>")
    start, count = int(match[1]), int(match[2]) - int(match[1]) + 1
    if visit.incoming.length == 0:
        return None  # the last request of a push: nothing comes
    if start != upload.writer.offset:
        raise RegistryError(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the chunk begins at byte {start}, but {upload.writer.offset} bytes are here",
            dict(_progress(visit, upload.id, upload.writer.offset, 416).headers),
        )
    if count < 1 or visit.incoming.length not in (None, count):
        raise RegistryError(400, "SIZE_INVALID", f"Content-Range {text[:100]} does not fit the body's length")
    return count


async def _finish(visit: Visit, upload: Upload, digest: str) -> Answer:
    try:
        size = await upload.finish(digest)
    except ContentError as error:
        raise RegistryError(400, "DIGEST_INVALID", f"the uploaded bytes do not fit: {error}") from None
    return await visit.add_link(digest, size)


def _progress(visit: Visit, id: str, size: int, status: int) -> Answer:
    headers = {
        "location": f"{visit.base}/blobs/uploads/{id}",
        "range": f"0-{max(size - 1, 0)}",
        "docker-upload-uuid": id,
    }
    return Answer(status, headers)


def _unknown(id: str) -> RegistryError:
    return RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"upload {id[:100]} is unknown to this repository")
