"""Objects: put, get, head, delete. Called by gateway/dispatch.

A write makes the file first and the record after it; a read opens the file that the record names. So there is
no half object after any crash, only a file that nobody names, which `sweep` deletes.
"""

from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import bucket as model
from neargate.model.bucket import Object, Upload
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import described, names
from neargate.state import objects
from neargate.state.object_files import OpenFile
from neargate.state.store import Tx

_IN_LINE = 1024 * 1024
"""Bytes of an object that are read at once; more are streamed."""
_MAX_DELETES = 1000


async def put_object(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    key, data = names.key_of(params), params.get("Body") or b""
    record = Object(
        account=call.scope.account,
        region=call.scope.region,
        bucket=params["Bucket"],
        key=key,
        file=names.file_name(call),
        size=len(data),
        etag=await names.md5(data),
        modified_at=call.now(),
        described=described.read(params),
        checksums=described.given_checksums(params),
    )

    def check(tx: Tx) -> None:
        names.need_bucket(tx, call, params)
        names.check_write(tx, params)

    await call.store.read(check)
    await call.house.objects.write(record.file, data)
    await keep(call, params, record)
    return {"ETag": names.quoted(record.etag), **described.shown_checksums(record)}


async def keep(call: Call, params: Params, record: Object, upload: Upload | None = None) -> None:
    """The record of a file that is written; the upload that it came of ends with that. It takes the file
    away again where it is refused.
    """

    def body(tx: Tx) -> list[str]:
        names.need_bucket(tx, call, params)
        names.check_write(tx, params)
        gone = objects.put(tx, record)
        if upload is not None:
            objects.need_upload(tx, call.scope, upload.bucket, upload.key, upload.id)
            gone += objects.delete_upload(tx, upload)
        return gone

    try:
        gone = await call.store.write(body)
    except ApiError:
        await call.house.objects.delete([record.file])
        raise
    await call.house.objects.delete(gone)


async def get_object(call: Call, params: Params) -> Result:
    while True:
        found = await call.store.read(lambda tx: names.need_object(tx, call, params))
        result, start, length = _answer(found, params)
        file = await call.house.objects.open(found.file, start, length)
        if file is not None:
            return result | {"Body": await _body(file)}
        # Replaced or deleted between the two: look again.


async def _body(file: OpenFile) -> bytes | OpenFile:
    if file.size > _IN_LINE:
        return file
    try:
        return await file.read()
    finally:
        file.close()


async def head_object(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: names.need_object(tx, call, params))
    return _answer(found, params)[0]


def _answer(found: Object, params: Params) -> tuple[dict[str, Any], int, int]:
    """What describes the object or the part of it that is asked for, and where that part is."""
    names.refuse_not_built(params)
    failed = model.failed_condition(
        found.etag,
        found.modified_at,
        match=params.get("IfMatch"),
        none_match=params.get("IfNoneMatch"),
        since=params.get("IfModifiedSince"),
        not_since=params.get("IfUnmodifiedSince"),
    )
    if failed == "precondition":
        raise names.precondition("If-Match" if params.get("IfMatch") else "If-Unmodified-Since")
    if failed:
        raise ApiError("NotModified", "Not Modified", status=304)
    span = _part(found, params) if params.get("PartNumber") is not None else _range(found, params)
    start, length = span or (0, found.size)
    result = described.shown(found, params) | {"ContentLength": length}
    if described.storage_class(found) == "STANDARD":
        result.pop("StorageClass", None)
    if span is not None:
        result["ContentRange"] = f"bytes {start}-{start + length - 1}/{found.size}"
    elif params.get("ChecksumMode") == "ENABLED":
        result |= described.shown_checksums(found)
    if params.get("PartNumber") is not None and found.parts:
        result["PartsCount"] = len(found.parts)
    return result, start, length


def _range(found: Object, params: Params) -> tuple[int, int] | None:
    try:
        return model.span(params.get("Range"), found.size)
    except ValueError:
        message = "The requested range is not satisfiable"
        raise ApiError("InvalidRange", message, status=416) from None


def _part(found: Object, params: Params) -> tuple[int, int] | None:
    if params.get("Range") is not None:
        message = "Cannot specify both Range header and partNumber query parameter"
        raise ApiError("InvalidRequest", message, status=400)
    number, sizes = params["PartNumber"], found.parts or (found.size,)
    if not 1 <= number <= len(sizes):
        message = "The requested partnumber is not satisfiable"
        raise ApiError("InvalidPartNumber", message, status=416)
    return (sum(sizes[: number - 1]), sizes[number - 1]) if found.size else None


async def delete_object(call: Call, params: Params) -> Result:
    """No error if there is none."""
    names.refuse_not_built(params)

    def body(tx: Tx) -> list[str]:
        names.need_bucket(tx, call, params)
        if params.get("IfMatch") is not None:
            names.check_write(tx, params)
        return objects.delete(tx, params["Bucket"], params["Key"])

    await call.house.objects.delete(await call.store.write(body))
    return {}


async def delete_objects(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    wanted, quiet = params["Delete"]["Objects"], bool(params["Delete"].get("Quiet"))
    if not 1 <= len(wanted) <= _MAX_DELETES:
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        raise ApiError("MalformedXML", message, status=400)
    deleted: list[dict[str, str]] = []
    errors: list[dict[str, str]] = []

    def body(tx: Tx) -> list[str]:
        names.need_bucket(tx, call, params)
        gone: list[str] = []
        deleted.clear()
        errors.clear()
        for item in wanted:
            try:
                names.refuse_not_built(item)
                names.check_write(tx, {**item, "Bucket": params["Bucket"], "IfMatch": item.get("ETag")})
                gone += objects.delete(tx, params["Bucket"], item["Key"])
                deleted.append({"Key": item["Key"]})
            except ApiError as error:
                errors.append({"Key": item["Key"], "Code": error.code, "Message": error.message})
        return gone

    await call.house.objects.delete(await call.store.write(body))
    return {"Errors": errors} if quiet else {"Deleted": deleted, "Errors": errors}
