"""ListMultipartUploads and ListParts. Called by gateway/dispatch."""

from collections.abc import Sequence
from typing import Any

from neargate.model.bucket import Part, Upload
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import names
from neargate.services.s3.listing import limit_of, written_by
from neargate.services.s3.multipart import need_upload
from neargate.state import objects
from neargate.state.store import Tx


async def list_multipart_uploads(call: Call, params: Params) -> Result:
    prefix, delimiter = params.get("Prefix") or "", params.get("Delimiter") or ""
    marker, id_marker = params.get("KeyMarker") or "", params.get("UploadIdMarker") or ""
    limit, written = limit_of(params, "MaxUploads"), written_by(params)

    def body(tx: Tx) -> list[Upload]:
        return objects.uploads(tx, names.need_bucket(tx, call, params).name)

    found = [upload for upload in await call.store.read(body) if upload.key.startswith(prefix)]
    rows = _behind(found, marker, id_marker) if marker else found
    shown: list[Upload] = []
    common: list[str] = []
    truncated = False
    for upload in rows:
        cut = upload.key.find(delimiter, len(prefix)) if delimiter else -1
        rolled = upload.key[: cut + len(delimiter)] if cut >= 0 else ""
        if rolled and (rolled == marker or rolled in common[-1:]):
            continue
        if len(shown) + len(common) >= limit:
            truncated = True
            break
        if rolled:
            common.append(rolled)
        else:
            shown.append(upload)
    result: Result = {
        "Bucket": params["Bucket"],
        "KeyMarker": written(marker),
        "UploadIdMarker": id_marker,
        "Prefix": written(prefix),
        "MaxUploads": limit,
        "IsTruncated": truncated,
        "Uploads": [_upload(upload) | {"Key": written(upload.key)} for upload in shown],
        "CommonPrefixes": [{"Prefix": written(text)} for text in common],
    }
    if truncated:
        last = shown[-1] if shown and (not common or shown[-1].key > common[-1]) else None
        result["NextKeyMarker"] = written(last.key if last is not None else common[-1] if common else marker)
        result["NextUploadIdMarker"] = last.id if last is not None else ""
    if delimiter:
        result["Delimiter"] = written(delimiter)
    if params.get("EncodingType"):
        result["EncodingType"] = params["EncodingType"]
    return result


def _behind(rows: Sequence[Upload], key: str, id: str) -> list[Upload]:
    """Those behind the upload of these markers; with a key alone, behind all of that key."""
    same = [upload.id for upload in rows if upload.key == key]
    passed = same[: same.index(id) + 1] if id in same else same
    return [upload for upload in rows if upload.key > key or (upload.key == key and upload.id not in passed)]


def _upload(upload: Upload) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "UploadId": upload.id,
        "Initiated": upload.started_at,
        "StorageClass": upload.described.headers.get("StorageClass", "STANDARD"),
        "Owner": names.owner(upload.account),
        "Initiator": names.owner(upload.account),
    }
    if upload.algorithm:
        shown |= {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.checksum_type}
    return shown


async def list_parts(call: Call, params: Params) -> Result:
    limit, after = limit_of(params, "MaxParts"), params.get("PartNumberMarker") or 0

    def body(tx: Tx) -> tuple[Upload, list[Part]]:
        upload = need_upload(tx, call, params)
        return upload, [part for part in objects.parts(tx, upload.id) if part.number > after]

    upload, rows = await call.store.read(body)
    page = rows[:limit]
    result: Result = {
        "Bucket": upload.bucket,
        "Key": upload.key,
        "PartNumberMarker": after,
        "MaxParts": limit,
        "IsTruncated": len(rows) > limit,
        "Parts": [_part(part) for part in page],
        **{name: value for name, value in _upload(upload).items() if name != "Initiated"},
    }
    return result | ({"NextPartNumberMarker": page[-1].number} if page else {})


def _part(part: Part) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": part.modified_at,
        "ETag": names.quoted(part.etag),
        "Size": part.size,
        **{f"Checksum{name}": value for name, value in part.checksums.items()},
    }
