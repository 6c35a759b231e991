"""How much one request may hold: a body of a few megabytes can stand for millions of values, and decoders
written in C give nobody else a turn before they are through. What is too much is refused before or meanwhile.

Called by the readers of each protocol's bodies. All bounds lie above what the greediest operation takes: a
PutMetricData of 300,000 numbers, a PutLogEvents of 10,000 events, a DeleteObjects of 1,000 long keys.
"""

from neargate.kit.errors import ApiError
from neargate.wire.http import Request

LONG_BYTES = 16 * 1024
"""What is longer is not read in passing: the door reads it on a thread."""
MAX_FORM_BYTES = 4 << 20
MAX_XML_BYTES = 8 << 20
MAX_PARAMETERS = 100_000
MAX_ELEMENTS = 100_000
MAX_CONTAINERS = 100_000
MAX_STRINGS = 250_000
MAX_VALUES = 500_000
MAX_READS = 700_000
"""Of CBOR: one for each value's head, and one for what follows it."""


def takes_long(request: Request) -> bool:
    """Whether reading the body may take so long that others would notice; a packed one may be any size."""
    return len(request.body) > LONG_BYTES or "gzip" in request.headers.get("content-encoding", "").lower()


def too_large(size: int, limit: int) -> ApiError:
    return ApiError("RequestEntityTooLarge", f"Request size {size} exceeded {limit} bytes", status=413)


def too_many(limit: int, what: str) -> ApiError:
    return ApiError("RequestEntityTooLarge", f"A request may hold {limit} {what} at most.", status=413)


def check_json(body: bytes) -> None:
    """Raises ApiError. Exact up to where the body stops being JSON, where its decoder stops too."""
    if len(body) <= MAX_CONTAINERS:
        return
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 2 * MAX_STRINGS:
        raise too_many(MAX_STRINGS, "strings")
    outside = b"".join(bare.split(b'"')[::2])
    if outside.count(b"[") + outside.count(b"{") > MAX_CONTAINERS:
        raise too_many(MAX_CONTAINERS, "lists and structures")
    if outside.count(b",") > MAX_VALUES:
        raise too_many(MAX_VALUES, "values")
