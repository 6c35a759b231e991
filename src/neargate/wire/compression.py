"""Bodies that clients compress (botocore does for large PutMetricData), made plain again.

Called by the codecs for operations whose model allows it; never for content that is stored as it was sent.
"""

import zlib
from dataclasses import replace

from neargate.wire.http import Request
from neargate.wire.values import Malformed

MAX_PLAIN_BYTES = 16 << 20
"""A few kilobytes may stand for gigabytes; no operation takes as much as this."""


def plain(request: Request) -> Request:
    """The request before its client compressed it; itself where that was not so. Raises Malformed."""
    encodings = [part.strip() for part in request.headers.get("content-encoding", "").split(",")]
    if encodings[-1].lower() != "gzip":
        return request
    rest = ", ".join(encodings[:-1])
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    if rest:
        headers["content-encoding"] = rest
    return replace(request, headers=headers, body=_unzipped(request.body))


def _unzipped(body: bytes) -> bytes:
    if not body:
        return body
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        made = stream.decompress(body, MAX_PLAIN_BYTES + 1)
    except zlib.error as problem:
        raise Malformed(f"The body is not valid gzip: {problem}") from None
    if len(made) > MAX_PLAIN_BYTES:
        raise Malformed(f"The body is larger than {MAX_PLAIN_BYTES} bytes when it is unpacked")
    if not stream.eof:
        raise Malformed("The body is not valid gzip: it ends too early")
    return made
