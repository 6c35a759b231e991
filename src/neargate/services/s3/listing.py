"""ListObjects and ListObjectsV2: keys by prefix, rolled up at a delimiter, in pages.

Called by gateway/dispatch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from neargate.kit.errors import ApiError
from neargate.model.bucket import Object
from neargate.services import paging
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import described, names
from neargate.state import objects
from neargate.state.store import Tx

MAX_KEYS = 1000


@dataclass(slots=True)
class Page:
    contents: list[Object] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""
    """The last key or prefix: what the next page is behind."""


def page_of(tx: Tx, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
    page = Page()
    rows = objects.keys(tx, bucket, prefix, after)
    rolled = ""
    for row in rows if limit else ():
        cut = row.key.find(delimiter, len(prefix)) if delimiter else -1
        common = row.key[: cut + len(delimiter)] if cut >= 0 else ""
        if common and common in (rolled, after):
            rows.skip(common)
            continue
        if len(page.contents) + len(page.prefixes) == limit:
            page.truncated = True
            break
        if common:
            rolled = page.last = common
            page.prefixes.append(common)
            rows.skip(common)
        else:
            page.last = row.key
            page.contents.append(row)
    return page


async def list_objects_v2(call: Call, params: Params) -> Result:
    token = params.get("ContinuationToken")
    after = paging.place(token, _bad_token) if token is not None else params.get("StartAfter") or ""
    page, result = await _list(call, params, after, owner=bool(params.get("FetchOwner")))
    result["KeyCount"] = len(page.contents) + len(page.prefixes)
    if token is not None:
        result["ContinuationToken"] = token
    if params.get("StartAfter"):
        result["StartAfter"] = written_by(params)(params["StartAfter"])
    if page.truncated:
        result["NextContinuationToken"] = paging.token(page.last)
    return result


async def list_objects(call: Call, params: Params) -> Result:
    marker = params.get("Marker") or ""
    page, result = await _list(call, params, marker, owner=True)
    result["Marker"] = written_by(params)(marker)
    if page.truncated and params.get("Delimiter"):
        result["NextMarker"] = written_by(params)(page.last)
    return result


async def _list(call: Call, params: Params, after: str, *, owner: bool) -> tuple[Page, Result]:
    prefix, delimiter = params.get("Prefix") or "", params.get("Delimiter") or ""
    limit, written = limit_of(params, "MaxKeys"), written_by(params)

    def body(tx: Tx) -> Page:
        bucket = names.need_bucket(tx, call, params)
        return page_of(tx, bucket.name, prefix, delimiter, after, limit)

    page = await call.store.scan(body)
    result: Result = {
        "Name": params["Bucket"],
        "Prefix": written(prefix),
        "MaxKeys": limit,
        "IsTruncated": page.truncated,
        "Contents": [_shown(row, written, owner) for row in page.contents],
        "CommonPrefixes": [{"Prefix": written(common)} for common in page.prefixes],
    }
    if delimiter:
        result["Delimiter"] = written(delimiter)
    if params.get("EncodingType"):
        result["EncodingType"] = params["EncodingType"]
    return page, result


def limit_of(params: Params, member: str) -> int:
    limit: int = params.get(member, MAX_KEYS)
    if limit < 0:
        message = "Argument max-keys must be an integer between 0 and 2147483647"
        raise ApiError("InvalidArgument", message, status=400)
    return min(limit, MAX_KEYS)


def _shown(row: Object, written: Callable[[str], str], owner: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Key": written(row.key),
        "LastModified": row.modified_at,
        "ETag": names.quoted(row.etag),
        "Size": row.size,
        "StorageClass": described.storage_class(row),
    }
    if row.checksums:
        shown |= {"ChecksumAlgorithm": list(row.checksums), "ChecksumType": row.checksum_type}
    return shown | ({"Owner": names.owner(row.account)} if owner else {})


def written_by(params: Params) -> Callable[[str], str]:
    """How keys are written: percent-encoded where the client asks for it, as XML cannot hold all of them."""
    return quote if params.get("EncodingType") == "url" else str


def _bad_token() -> ApiError:
    return ApiError("InvalidArgument", "The continuation token provided is incorrect", status=400)
