"""What S3's requests hold: buckets, keys, conditions; what is refused because it is not built.

Used by the other modules of services/s3 only.
"""

import asyncio
import hashlib
from collections.abc import Mapping

from neargate.kit.errors import ApiError
from neargate.model import bucket as model
from neargate.model.bucket import Bucket, Object
from neargate.services.call import Call, Params
from neargate.state import objects
from neargate.state.store import Tx

_NOT_BUILT: Mapping[str, str] = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
    "CopySourceSSECustomerAlgorithm": "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockEventHold": "x-amz-object-lock-event-hold",
    "ObjectLockEnabledForBucket": "x-amz-bucket-object-lock-enabled",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
    "Tagging": "x-amz-tagging",
    "WriteOffsetBytes": "x-amz-write-offset-bytes",
    "MFA": "x-amz-mfa",
}
_GRANTS = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP")
_IN_LINE = 64 * 1024
"""Bytes that are hashed at once; more are on a thread."""
_ACLS = (None, "private", "bucket-owner-full-control")


def refuse_not_built(params: Params) -> None:
    """Raise NotImplemented, AccessControlListNotSupported."""
    for member, header in _NOT_BUILT.items():
        if params.get(member):
            message = f"The header {header} is not built into neargate."
            raise ApiError("NotImplemented", message, status=501)
    if params.get("ACL") not in _ACLS or any(params.get(grant) for grant in _GRANTS):
        raise ApiError("AccessControlListNotSupported", "The bucket does not allow ACLs", status=400)
    if params.get("VersionId") not in (None, "null"):
        raise ApiError("NoSuchVersion", "The specified version does not exist.", status=404)


def key_of(params: Params) -> str:
    """Raise KeyTooLongError."""
    key: str = params["Key"]
    if len(key.encode()) > model.MAX_KEY:
        raise ApiError("KeyTooLongError", "Your key is too long", status=400)
    return key


def need_bucket(tx: Tx, call: Call, params: Params) -> Bucket:
    """Raise NoSuchBucket, AccessDenied (also where the request expects another owner)."""
    found = objects.need_bucket(tx, call.scope, params["Bucket"])
    if params.get("ExpectedBucketOwner") not in (None, found.account):
        raise ApiError("AccessDenied", "Access Denied", status=403)
    return found


def need_object(tx: Tx, call: Call, params: Params) -> Object:
    need_bucket(tx, call, params)
    return objects.need(tx, call.scope, params["Bucket"], params["Key"])


def precondition(name: str) -> ApiError:
    message = "At least one of the pre-conditions you specified did not hold"
    return ApiError("PreconditionFailed", message, status=412, fields={"Condition": name})


def check_write(tx: Tx, params: Params) -> None:
    """Conditions on the object that is to be replaced. Raise PreconditionFailed, NoSuchKey."""
    match, none_match = params.get("IfMatch"), params.get("IfNoneMatch")
    if match is None and none_match is None:
        return
    old = objects.find(tx, params["Bucket"], params["Key"])
    if match is not None:
        if old is None:
            raise objects.no_key(params["Key"])
        if not model.etag_fits(match, old.etag):
            raise precondition("If-Match")
    if none_match is not None and old is not None and model.etag_fits(none_match, old.etag):
        raise precondition("If-None-Match")


def owner(account: str) -> dict[str, str]:
    """The canonical user that an account is in S3's lists."""
    return {"ID": hashlib.sha256(account.encode()).hexdigest(), "DisplayName": account}


def quoted(etag: str) -> str:
    return f'"{etag}"'


async def md5(data: bytes) -> str:
    if len(data) <= _IN_LINE:
        return _md5(data)
    return await asyncio.to_thread(_md5, data)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def file_name(call: Call) -> str:
    return call.ids.hex(32)
