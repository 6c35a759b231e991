"""Multipart uploads: create, parts, complete, abort. Called by gateway/dispatch.

CreateMultipartUpload -> UploadPart* -> CompleteMultipartUpload (or Abort)
                         a file each     one file of them all
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import bucket as model
from neargate.model import checksums
from neargate.model.bucket import ChecksumType, Object, Part, Upload
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import described, names
from neargate.services.s3.objects import keep
from neargate.state import objects
from neargate.state.catalog import PART, UPLOAD
from neargate.state.store import Tx

_MAX_PARTS = 10_000


async def create_multipart_upload(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    algorithm, kind = params.get("ChecksumAlgorithm") or "", params.get("ChecksumType")
    if algorithm and algorithm not in checksums.ALGORITHMS:
        message = f"The checksum algorithm {algorithm} is not built into neargate."
        raise ApiError("NotImplemented", message, status=501)
    record = Upload(
        account=call.scope.account,
        region=call.scope.region,
        id=call.ids.hex(64),
        bucket=params["Bucket"],
        key=names.key_of(params),
        started_at=call.now(),
        described=described.read(params),
        algorithm=algorithm,
        checksum_type=_checksum_type(algorithm, kind),
    )

    def body(tx: Tx) -> None:
        names.need_bucket(tx, call, params)
        tx.put(UPLOAD, record)

    await call.store.write(body)
    result: Result = {"Bucket": record.bucket, "Key": record.key, "UploadId": record.id}
    if algorithm:
        result |= {"ChecksumAlgorithm": algorithm, "ChecksumType": record.checksum_type}
    return result


def _checksum_type(algorithm: str, asked: ChecksumType | None) -> ChecksumType | None:
    """Raise InvalidRequest on a pair that S3 has not."""
    if not algorithm:
        return None
    default: ChecksumType = "FULL_OBJECT" if algorithm in checksums.FULL_OBJECT_ONLY else "COMPOSITE"
    kind = asked or default
    other = checksums.COMPOSITE_ONLY if kind == "FULL_OBJECT" else checksums.FULL_OBJECT_ONLY
    if algorithm in other:
        message = f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        raise ApiError("InvalidRequest", message, status=400)
    return kind


async def upload_part(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    data: bytes = params.get("Body") or b""
    file = names.file_name(call)
    await call.store.read(lambda tx: need_upload(tx, call, params))
    await call.house.objects.write(file, data)
    etag = await names.md5(data)
    part = await keep_part(call, params, file, len(data), etag, described.given_checksums(params))
    shown = {f"Checksum{name}": value for name, value in part.checksums.items()}
    return {"ETag": names.quoted(part.etag), **shown}


def need_upload(tx: Tx, call: Call, params: Params) -> Upload:
    names.need_bucket(tx, call, params)
    if not 1 <= params.get("PartNumber", 1) <= _MAX_PARTS:
        message = f"Part number must be an integer between 1 and {_MAX_PARTS}, inclusive"
        raise ApiError("InvalidArgument", message, status=400)
    return objects.need_upload(tx, call.scope, params["Bucket"], params["Key"], params["UploadId"])


async def keep_part(
    call: Call, params: Params, file: str, size: int, etag: str, sums: dict[str, str]
) -> Part:
    """The record of a part whose file is written. It takes the file away again where it is refused."""
    record = Part(
        account=call.scope.account,
        region=call.scope.region,
        upload=params["UploadId"],
        number=params["PartNumber"],
        file=file,
        size=size,
        etag=etag,
        modified_at=call.now(),
        checksums=sums,
    )

    def body(tx: Tx) -> list[str]:
        need_upload(tx, call, params)
        old = tx.get(PART, PART.id(record))
        tx.put(PART, record)
        return [old.file] if old is not None else []

    try:
        gone = await call.store.write(body)
    except ApiError:
        await call.house.objects.delete([file])
        raise
    await call.house.objects.delete(gone)
    return record


async def complete_multipart_upload(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    listed: Sequence[dict[str, Any]] = (params.get("MultipartUpload") or {}).get("Parts") or ()
    done = await call.store.read(lambda tx: _done_before(tx, call, params))
    if done is not None:
        return _completed(call, done)

    def body(tx: Tx) -> tuple[Upload, list[Part]]:
        upload = need_upload(tx, call, params)
        names.check_write(tx, params)
        return upload, _chosen(listed, objects.parts(tx, upload.id))

    upload, parts = await call.store.read(body)
    size = sum(part.size for part in parts)
    if params.get("MpuObjectSize") not in (None, size):
        message = "The provided 'x-amz-mp-object-size' header does not match what was computed."
        raise ApiError("InvalidRequest", message, status=400)
    file = names.file_name(call)
    try:
        await call.house.objects.join(file, [part.file for part in parts])
    except FileNotFoundError:  # a part was sent again meanwhile
        raise _invalid_part() from None
    try:
        sums = await _sums(call, upload, parts, file, params)
    except ApiError:
        await call.house.objects.delete([file])
        raise
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    record = Object(
        account=call.scope.account,
        region=call.scope.region,
        bucket=upload.bucket,
        key=upload.key,
        file=file,
        size=size,
        etag=etag,
        modified_at=call.now(),
        described=upload.described,
        checksums=sums,
        checksum_type=upload.checksum_type or "FULL_OBJECT",
        parts=tuple(part.size for part in parts),
        upload=upload.id,
    )
    await keep(call, params, record, upload)
    return _completed(call, record)


def _done_before(tx: Tx, call: Call, params: Params) -> Object | None:
    """The object, if the same call has made it: its answer may have been lost on the way."""
    names.need_bucket(tx, call, params)
    found = objects.find(tx, params["Bucket"], params["Key"])
    return found if found is not None and found.upload == params["UploadId"] else None


def _completed(call: Call, record: Object) -> Result:
    return {
        "Location": f"{call.house.endpoint}/{record.bucket}/{record.key}",
        "Bucket": record.bucket,
        "Key": record.key,
        "ETag": names.quoted(record.etag),
        **described.shown_checksums(record),
    }


def _chosen(listed: Sequence[dict[str, Any]], parts: Sequence[Part]) -> list[Part]:
    """The parts that the object is to be of. Raise MalformedXML, InvalidPartOrder, InvalidPart,
    EntityTooSmall.
    """
    if not listed or any("PartNumber" not in item or "ETag" not in item for item in listed):
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        raise ApiError("MalformedXML", message, status=400)
    numbers = [item["PartNumber"] for item in listed]
    if numbers != sorted(set(numbers)):
        message = (
            "The list of parts was not in ascending order. The parts list must be specified in order by part "
            "number."
        )
        raise ApiError("InvalidPartOrder", message, status=400)
    by_number = {part.number: part for part in parts}
    chosen = []
    for item in listed:
        part = by_number.get(item["PartNumber"])
        if part is None or item["ETag"].strip('"') != part.etag or not _same_sums(item, part):
            raise _invalid_part()
        chosen.append(part)
    if any(part.size < model.MIN_PART for part in chosen[:-1]):
        message = "Your proposed upload is smaller than the minimum allowed size"
        raise ApiError("EntityTooSmall", message, status=400)
    return chosen


def _invalid_part() -> ApiError:
    message = (
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
        "specified entity tag may not match the part's entity tag."
    )
    return ApiError("InvalidPart", message, status=400)


def _same_sums(item: dict[str, Any], part: Part) -> bool:
    given = described.given_checksums(item)
    return all(part.checksums.get(name, value) == value for name, value in given.items())


async def _sums(
    call: Call, upload: Upload, parts: Sequence[Part], file: str, params: Params
) -> dict[str, str]:
    """The checksum of the whole, held against the one in the request. Raise InvalidRequest, BadDigest."""
    algorithm = upload.algorithm
    if not algorithm:
        return {}
    if upload.checksum_type == "FULL_OBJECT":
        chunks = call.house.objects.chunks(file)
        found = checksums.text(await asyncio.to_thread(checksums.digest, algorithm, chunks))
    elif any(algorithm not in part.checksums for part in parts):
        message = (
            f"The upload was created using a {algorithm.lower()} checksum. The complete request must include "
            "the checksum for each part."
        )
        raise ApiError("InvalidRequest", message, status=400)
    else:
        found = checksums.composite(algorithm, [part.checksums[algorithm] for part in parts])
    told = params.get(f"Checksum{algorithm}")
    if told is not None and told.partition("-")[0] != found.partition("-")[0]:
        message = f"The {algorithm} you specified did not match the calculated checksum."
        raise ApiError("BadDigest", message, status=400)
    return {algorithm: found}


async def abort_multipart_upload(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> list[str]:
        return objects.delete_upload(tx, need_upload(tx, call, params))

    await call.house.objects.delete(await call.store.write(body))
    return {}
