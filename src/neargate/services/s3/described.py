"""What clients say of an object (its type, its metadata, its checksums), on its way in and out.

Used by the other modules of services/s3 only.
"""

from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import checksums
from neargate.model.bucket import Described, Object
from neargate.services.call import Params
from neargate.services.s3 import names

_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")
_MAX_METADATA = 2048
_CLASSES = frozenset(
    {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)


def read(params: Params) -> Described:
    """Raise MetadataTooLarge, InvalidStorageClass."""
    metadata: dict[str, str] = dict(params.get("Metadata") or {})
    if sum(len(k.encode()) + len(v.encode("utf-8", "replace")) for k, v in metadata.items()) > _MAX_METADATA:
        message = "Your metadata headers exceed the maximum allowed metadata size"
        raise ApiError("MetadataTooLarge", message, status=400)
    headers = {name: params[name] for name in _HEADERS if params.get(name)}
    kind = params.get("StorageClass") or "STANDARD"
    if kind not in _CLASSES:
        message = "The storage class you specified is not valid"
        raise ApiError("InvalidStorageClass", message, status=400)
    if kind != "STANDARD":
        headers["StorageClass"] = kind
    return Described(headers=headers, expires=params.get("Expires"), metadata=metadata)


def shown(found: Object, params: Params) -> dict[str, Any]:
    """The members by which GetObject and HeadObject describe an object, less its length and checksums."""
    described = found.described
    result: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": found.modified_at,
        "ETag": names.quoted(found.etag),
        "ContentType": "binary/octet-stream",
        **described.headers,
        "Metadata": described.metadata,
    }
    if described.expires is not None:
        result["Expires"] = described.expires
    for name in (*_HEADERS, "Expires"):
        wanted = params.get(f"Response{name}")
        if wanted is not None:
            result[name] = wanted
    return result


def storage_class(found: Object) -> str:
    return found.described.headers.get("StorageClass", "STANDARD")


def given_checksums(params: Params) -> dict[str, str]:
    """Of a body; the door has held them against it."""
    return {name: params[f"Checksum{name}"] for name in checksums.ALGORITHMS if params.get(f"Checksum{name}")}


def shown_checksums(found: Object) -> dict[str, str]:
    if not found.checksums:
        return {}
    members = {f"Checksum{name}": value for name, value in found.checksums.items()}
    return {**members, "ChecksumType": found.checksum_type}
