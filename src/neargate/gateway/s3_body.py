"""Bodies of S3's requests: taken out of their signed chunks, and held against the digests sent with them.

Called by s3.py once the request's own signature holds. Format of the chunks:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html (and -trailers.html)
"""

import dataclasses
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import NoReturn

from neargate.gateway.auth_errors import S3, Refusal
from neargate.gateway.sigv4 import ALGORITHM, Verified
from neargate.kit.errors import ApiError
from neargate.model import checksums
from neargate.wire.http import Request

_HEADER = "x-amz-checksum-"
_SIGNED = frozenset({"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"})
_KINDS = _SIGNED | {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
_NO_ALGORITHM = frozenset({"type", "mode", "algorithm"})
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
_LONGEST_LINE = 16 * 1024
_EMPTY = hashlib.sha256(b"").hexdigest()


def plain(request: Request, verified: Verified) -> Request:
    """The request without chunks, its trailers among its headers, its body as long and as summed up as it
    says. Raise ApiError.
    """
    kind = request.headers.get("x-amz-content-sha256", "")
    if kind.startswith("STREAMING-"):
        if kind not in _KINDS:
            message = f"A body of the kind {kind[:64]} is not built into neargate."
            raise ApiError("NotImplemented", message, status=501)
        request = _unchunked(request, _Chain(verified) if kind in _SIGNED else None)
    _check_md5(request)
    _check_sum(request)
    return request


class _Chain:
    """Signatures of chunks: each signs the one before it."""

    def __init__(self, verified: Verified) -> None:
        self._key = verified.signing_key
        scope = f"{verified.date[:8]}/{verified.region}/{verified.service}/aws4_request"
        self._place = f"{verified.date}\n{scope}"
        self._last = verified.signature

    def check(self, chunk: bytes, signature: str) -> None:
        self._next("PAYLOAD", f"{_EMPTY}\n{hashlib.sha256(chunk).hexdigest()}", signature)

    def check_trailers(self, lines: str, signature: str) -> None:
        self._next("TRAILER", hashlib.sha256(lines.encode()).hexdigest(), signature)

    def _next(self, kind: str, hashes: str, signature: str) -> None:
        text = f"{ALGORITHM}-{kind}\n{self._place}\n{self._last}\n{hashes}"
        expected = hmac.digest(self._key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Refusal.mismatch(S3, "", text)
        self._last = signature


def _unchunked(request: Request, chain: _Chain | None) -> Request:
    body, place = request.body, 0
    chunks: list[bytes] = []
    while True:
        line, place = _line(body, place)
        found = _CHUNK.fullmatch(line)
        if found is None:
            _incomplete()
        size = int(found[1], 16)
        chunk = body[place : place + size]
        if len(chunk) < size or (size and body[place + size : place + size + 2] != b"\r\n"):
            _incomplete()
        if chain is not None:
            chain.check(chunk, (found[2] or b"").decode())
        if not size:
            break
        chunks.append(chunk)
        place += size + 2
    trailers = _trailers(request, body, place, chain)
    whole = b"".join(chunks)
    told = request.headers.get("x-amz-decoded-content-length", "")
    if not told.isdigit():
        message = "You must provide the Content-Length HTTP header."
        raise ApiError("MissingContentLength", message, status=411)
    if int(told[:18]) != len(whole):
        _incomplete()
    headers = {**request.headers, **trailers, "content-length": str(len(whole))}
    encodings = [part.strip() for part in headers.pop("content-encoding", "").split(",")]
    kept = ",".join(part for part in encodings if part and part != "aws-chunked")
    if kept:
        headers["content-encoding"] = kept
    return dataclasses.replace(request, headers=headers, body=whole)


def _line(body: bytes, place: int) -> tuple[bytes, int]:
    end = body.find(b"\r\n", place, place + _LONGEST_LINE)
    if end < 0:
        _incomplete()
    return body[place:end], end + 2


def _incomplete() -> NoReturn:
    message = "The request body terminated unexpectedly"
    raise ApiError("IncompleteBody", message, status=400)


def _trailers(request: Request, body: bytes, place: int, chain: _Chain | None) -> Mapping[str, str]:
    """What stands behind the last chunk: those headers that the request has announced."""
    announced = {name.strip().lower() for name in request.headers.get("x-amz-trailer", "").split(",")} - {""}
    found: dict[str, str] = {}
    signature = ""
    while place < len(body):
        line, place = _line(body, place)
        if not line:
            break
        name, colon, value = line.decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "x-amz-trailer-signature":
            signature = value
        elif colon and name in announced and name.startswith(_HEADER):
            found[name] = value
        else:
            _malformed_trailer()
    if found.keys() != announced:
        _malformed_trailer()
    if chain is not None and announced:
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(found.items()))
        chain.check_trailers(lines, signature)
    return found


def _malformed_trailer() -> NoReturn:
    message = (
        "The request contained trailing data that was not well-formed or did not conform to our published "
        "schema."
    )
    raise ApiError("MalformedTrailerError", message, status=400)


def _check_md5(request: Request) -> None:
    told = request.headers.get("content-md5")
    if told is None:
        return
    digest = checksums.parsed(told)
    if digest is None or len(digest) != 16:
        raise ApiError("InvalidDigest", "The Content-MD5 you specified was invalid.", status=400)
    if digest != hashlib.md5(request.body, usedforsecurity=False).digest():
        message = "The Content-MD5 you specified did not match what we received."
        raise ApiError("BadDigest", message, status=400)


def _check_sum(request: Request) -> None:
    """The checksum in a header, which is the body's; but of the request that ends a multipart upload."""
    if request.method == "POST" and "uploadId=" in request.query:
        return
    names = [name for name in request.headers if name.startswith(_HEADER)]
    given = {n: request.headers[n] for n in names if n.removeprefix(_HEADER) not in _NO_ALGORITHM}
    if len(given) > 1:
        message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        raise ApiError("InvalidRequest", message, status=400)
    if not given:
        return _check_missing(request)
    ((name, value),) = given.items()
    algorithm = name.removeprefix(_HEADER).upper()
    if algorithm not in checksums.ALGORITHMS:
        message = f"The checksum algorithm {algorithm[:32]} is not built into neargate."
        raise ApiError("NotImplemented", message, status=501)
    told, found = checksums.parsed(value), checksums.digest(algorithm, [request.body])
    if told is None or len(told) != len(found):
        raise ApiError("InvalidRequest", f"Value for {name} header is invalid.", status=400)
    if told != found:
        message = f"The {algorithm} you specified did not match the calculated checksum."
        raise ApiError("BadDigest", message, status=400)


def _check_missing(request: Request) -> None:
    """A request that must have a digest, or says that it has one, and has none."""
    if "x-amz-sdk-checksum-algorithm" in request.headers and request.method == "PUT" and request.body:
        message = (
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
            "headers were found."
        )
        raise ApiError("InvalidRequest", message, status=400)
    names = {part.partition("=")[0] for part in request.query.split("&")}
    if request.method == "POST" and "delete" in names and "content-md5" not in request.headers:
        message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        raise ApiError("InvalidRequest", message, status=400)
