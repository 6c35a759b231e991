"""CopyObject and UploadPartCopy. Called by gateway/dispatch. A whole object is copied by a link to its file:
no byte is read.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import bucket as model
from neargate.model import checksums
from neargate.model.bucket import Object
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import described, names
from neargate.services.s3.multipart import keep_part, need_upload
from neargate.services.s3.objects import keep
from neargate.state import objects
from neargate.state.store import Tx

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_MAX_COPY = 5 * 1024**3


async def copy_object(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    key, replaced = names.key_of(params), params.get("MetadataDirective") == "REPLACE"
    while True:
        source = await call.store.read(lambda tx: _source(tx, call, params))
        same = (source.bucket, source.key) == (params["Bucket"], key)
        if same and not replaced and params.get("StorageClass") in (None, described.storage_class(source)):
            message = (
                "This copy request is illegal because it is trying to copy an object to itself without "
                "changing the object's metadata, storage class, website redirect location or encryption "
                "attributes."
            )
            raise ApiError("InvalidRequest", message, status=400)
        file = names.file_name(call)
        try:
            await call.house.objects.link(source.file, file)
            break
        except FileNotFoundError:
            continue  # replaced or deleted meanwhile
    record = await _copied(call, params, source, file)
    await keep(call, params, record)
    result = {"ETag": names.quoted(record.etag), "LastModified": record.modified_at}
    return {"CopyObjectResult": {**result, **described.shown_checksums(record)}}


async def _copied(call: Call, params: Params, source: Object, file: str) -> Object:
    """The record of the copy. It is of one part, whatever its source was of."""
    etag, sums = source.etag, dict(source.checksums)
    wanted = params.get("ChecksumAlgorithm")
    if source.parts:
        etag = await call.house.objects.md5(file)
        wanted = wanted or next(iter(sums), None)
    if wanted is not None and (source.parts or wanted not in sums):
        if wanted not in checksums.ALGORITHMS:
            message = f"The checksum algorithm {wanted} is not built into neargate."
            raise ApiError("NotImplemented", message, status=501)
        chunks = call.house.objects.chunks(file)
        sums = {wanted: checksums.text(await asyncio.to_thread(checksums.digest, wanted, chunks))}
    about = source.described
    if params.get("MetadataDirective") == "REPLACE":
        about = described.read(params)
    elif params.get("StorageClass"):
        kind = described.read({"StorageClass": params["StorageClass"]}).headers
        rest = {name: value for name, value in about.headers.items() if name != "StorageClass"}
        about = replace(about, headers={**rest, **kind})
    return Object(
        account=call.scope.account,
        region=call.scope.region,
        bucket=params["Bucket"],
        key=params["Key"],
        file=file,
        size=source.size,
        etag=etag,
        modified_at=call.now(),
        described=about,
        checksums=sums,
    )


async def upload_part_copy(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)

    def body(tx: Tx) -> Object:
        need_upload(tx, call, params)
        return _source(tx, call, params)

    source = await call.store.read(body)
    start, length = _stretch(params.get("CopySourceRange"), source.size)
    file = names.file_name(call)
    try:
        await call.house.objects.copy(file, source.file, start, length)
    except FileNotFoundError:
        raise objects.no_key(source.key) from None
    etag = await call.house.objects.md5(file)
    part = await keep_part(call, params, file, length, etag, {})
    return {"CopyPartResult": {"ETag": names.quoted(part.etag), "LastModified": part.modified_at}}


def _stretch(text: str | None, size: int) -> tuple[int, int]:
    if text is None:
        return 0, size
    found = _RANGE.fullmatch(text)
    if found is None or not int(found[1]) <= int(found[2]):
        message = (
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are "
            "the zero-based offsets of the first and last bytes to copy"
        )
        raise ApiError("InvalidArgument", message, status=400)
    first, last = int(found[1]), int(found[2])
    if last >= size:
        message = f"Range specified is not valid for source object of size: {size}"
        raise ApiError("InvalidArgument", message, status=400)
    return first, last - first + 1


def _source(tx: Tx, call: Call, params: Params) -> Object:
    """The object to copy, its conditions checked. Raise NoSuchBucket, NoSuchKey, PreconditionFailed."""
    text, _, version = params["CopySource"].partition("?versionId=")
    bucket, _, key = unquote(text).removeprefix("/").partition("/")
    given: Mapping[str, Any] = {
        "Bucket": bucket,
        "Key": key,
        "ExpectedBucketOwner": params.get("ExpectedSourceBucketOwner"),
        "VersionId": version or None,
    }
    names.refuse_not_built(given)
    names.need_bucket(tx, call, params)
    found = names.need_object(tx, call, given)
    failed = model.failed_condition(
        found.etag,
        found.modified_at,
        match=params.get("CopySourceIfMatch"),
        none_match=params.get("CopySourceIfNoneMatch"),
        since=params.get("CopySourceIfModifiedSince"),
        not_since=params.get("CopySourceIfUnmodifiedSince"),
    )
    if failed:
        raise names.precondition("x-amz-copy-source-If-...")
    if found.size > _MAX_COPY:
        message = (
            "The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{_MAX_COPY}"
        )
        raise ApiError("InvalidRequest", message, status=400)
    return found
