"""Signature Version 2 in the query of S3's presigned URLs, which boto3 and the aws CLI still make by default.

Called by s3.py. Only there: requests signed in their headers use Version 4 (sigv4.py).
Rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html
"""

import base64
import hmac
from urllib.parse import unquote

from neargate.gateway.auth_errors import S3, Refusal
from neargate.gateway.canonical import query_pairs
from neargate.gateway.credentials import Credential, Credentials
from neargate.kit.errors import ApiError
from neargate.wire.http import Request

_SUBRESOURCES = frozenset(
    (
        "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle",
        "location", "logging", "metrics", "notification", "object-lock", "partNumber", "policy",
        "replication", "requestPayment", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type",
        "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
        "uploadId", "uploads", "versionId", "versioning", "versions", "website",
    )
)  # fmt: skip
_HEADERS = ("content-md5", "content-type")


def is_signed(request: Request) -> bool:
    return "AWSAccessKeyId=" in request.query and "Signature=" in request.query


def verify(request: Request, path: str, credentials: Credentials, now: float) -> Credential:
    """The credential that signed it. `path` -- with the bucket, wherever it was. Raise a Refusal."""
    query = dict(query_pairs(request.query))
    expires, headers = query.get("Expires", ""), signed_headers(request)
    token = headers.get("x-amz-security-token", "")
    credential = credentials.find(query.get("AWSAccessKeyId", ""), token)
    if credential is None:
        raise Refusal.unknown_key(S3)
    if credential.session_token != token:
        raise Refusal.bad_token(S3)
    if not (expires.isascii() and expires.isdigit()):
        message = f"Invalid date (should be seconds since epoch): {expires[:60]}"
        raise ApiError("AccessDenied", message, status=403)
    if int(expires[:18]) < now or (credential.session and credential.session.expires_at <= now):
        raise ApiError("AccessDenied", "Request has expired", status=403)
    lines = [request.method, headers.get("content-md5", ""), headers.get("content-type", ""), expires]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-amz-")]
    text = "\n".join([*lines, _resource(request, path)])
    digest = hmac.digest(credential.secret_access_key.encode(), text.encode(), "sha1")
    if not hmac.compare_digest(base64.b64encode(digest), query.get("Signature", "").encode()):
        raise Refusal.mismatch(S3, "", text)
    return credential


def signed_headers(request: Request) -> dict[str, str]:
    """Headers that count: those of the request, and those that stand in its query instead."""
    found = {name: value for name, value in request.headers.items() if _counts(name)}
    for name, value in query_pairs(request.query):
        if _counts(name.lower()):
            found.setdefault(name.lower(), value)
    return found


def _counts(name: str) -> bool:
    return name in _HEADERS or name.startswith("x-amz-")


def _resource(request: Request, path: str) -> str:
    kept = []
    for part in request.query.split("&"):
        name, equals, value = part.partition("=")
        if name in _SUBRESOURCES:
            kept.append(f"{name}={unquote(value)}" if equals else name)
    return path + (f"?{'&'.join(sorted(kept))}" if kept else "")
