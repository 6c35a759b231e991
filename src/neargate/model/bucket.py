"""Records and pure rules of the object store: buckets, objects, multipart uploads; names, ranges, conditions.

Written by services/s3 through state/objects; the bytes are files of state/object_files.
"""

import re
from typing import Literal

import msgspec

from neargate.model.record import Record

MIN_PART = 5 * 1024**2
MAX_KEY = 1024
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

ChecksumType = Literal["COMPOSITE", "FULL_OBJECT"]


class Bucket(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    created_at: float


class Described(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client says of an object, by S3's names of the members."""

    headers: dict[str, str] = {}
    """ContentType, CacheControl and so on."""
    expires: float | None = None
    metadata: dict[str, str] = {}


class Object(Record, frozen=True, kw_only=True, omit_defaults=True):
    bucket: str
    key: str
    file: str
    """Name of the file with its bytes."""
    size: int
    etag: str
    """Without quotes: MD5 in hexadecimal digits, or MD5 of the parts' MD5s and their number."""
    modified_at: float
    described: Described = Described()
    checksums: dict[str, str] = {}
    """Algorithm -> Base64."""
    checksum_type: ChecksumType = "FULL_OBJECT"
    parts: tuple[int, ...] = ()
    """Sizes of the parts it was uploaded in."""
    upload: str = ""
    """Id of the multipart upload that made it: completing that one again gives the same answer."""


class Upload(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A multipart upload under way."""

    id: str
    bucket: str
    key: str
    started_at: float
    described: Described = Described()
    algorithm: str = ""
    checksum_type: ChecksumType | None = None


class Part(Record, frozen=True, kw_only=True, omit_defaults=True):
    upload: str
    number: int
    file: str
    size: int
    etag: str
    modified_at: float
    checksums: dict[str, str] = {}


def object_id(bucket: str, key: str) -> str:
    """Ids sort as keys do. A bucket's name has no slash."""
    return f"{bucket}/{key}"


def part_id(upload: str, number: int) -> str:
    return f"{upload}/{number:05d}"


def is_bucket_name(text: str) -> bool:
    return _BUCKET.fullmatch(text) is not None and _ADDRESS.fullmatch(text) is None


def span(text: str | None, size: int) -> tuple[int, int] | None:
    """First byte and number of bytes that a Range header means; None: all of them.

    What is no single range of bytes is ignored, as HTTP says. Raise ValueError if it lies beyond the end.
    """
    found = _RANGE.fullmatch(text.strip()) if text else None
    if (
        found is None
        or found[1] + found[2] == ""
        or (found[1] and found[2] and int(found[1]) > int(found[2]))
    ):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if not length:
            raise ValueError(text)
        return size - length, length
    first = int(found[1])
    if first >= size:
        raise ValueError(text)
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    return first, last - first + 1


def etag_fits(wanted: str, etag: str) -> bool:
    """True if a condition's list of ETags has this one."""
    return any(
        tag == "*" or tag.removeprefix("W/").strip('"') == etag
        for tag in (part.strip() for part in wanted.split(","))
    )


def failed_condition(
    etag: str,
    modified_at: float,
    *,
    match: str | None = None,
    none_match: str | None = None,
    since: float | None = None,
    not_since: float | None = None,
) -> Literal["", "precondition", "not modified"]:
    """Which of HTTP's conditions on a read fails. The one on ETags stands before the one on the time."""
    second = int(modified_at)
    if match is not None:
        if not etag_fits(match, etag):
            return "precondition"
    elif not_since is not None and second > not_since:
        return "precondition"
    if none_match is not None:
        if etag_fits(none_match, etag):
            return "not modified"
    elif since is not None and second <= since:
        return "not modified"
    return ""
