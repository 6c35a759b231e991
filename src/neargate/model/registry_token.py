"""Tokens that open the registry: a login for docker and skopeo, or one layer's download for who has its URL.

Made by services/ecr and services/cell, checked by gateway/registry. Signed with a key of the daemon; what a
token says can be read by everyone and changed by no one.
"""

import base64
import binascii
import hmac

import msgspec

from neargate.model.record import Scope
from neargate.model.session import Session

USER = "AWS"
LOGIN_SECONDS = 12 * 3600
_PURPOSE = b"neargate registry token 1"
_MAX_LENGTH = 8192


class TokenError(Exception):
    """The token opens nothing: not ours, changed, or (`expired`) too old."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token allows: all of the registry of a scope, or (`blob`) one blob of one repository."""

    account: str
    region: str
    principal: str
    """ARN of who asked for it."""
    expires_at: int
    blob: str = ""
    """`<repository name>@<digest>`."""
    session: Session | None = None
    """Of who asked with a role's credentials: what the role may do is asked at each use."""

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


def ends(now: float, seconds: int, session: Session | None) -> int:
    """When a token given now expires: never after the credentials by which it was asked for."""
    return int(min(now + seconds, session.expires_at if session is not None else now + seconds))


def mint(key: bytes, grant: Grant) -> str:
    body = base64.urlsafe_b64encode(msgspec.json.encode(grant)).rstrip(b"=")
    return f"{body.decode()}.{_signature(key, body)}"


def read(key: bytes, token: str, now: float) -> Grant:
    """What the token grants at `now` (epoch seconds). Raise TokenError."""
    body, dot, signature = token.partition(".")
    if len(token) > _MAX_LENGTH or not dot or not token.isascii():
        raise TokenError("not a token of this registry")
    if not hmac.compare_digest(_signature(key, body.encode()), signature):
        raise TokenError("the token's signature does not fit")
    try:
        grant = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Grant)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise TokenError(f"the token cannot be read: {error}") from None
    if now >= grant.expires_at:
        raise TokenError("the token has expired", expired=True)
    return grant


def _signature(key: bytes, body: bytes) -> str:
    own = hmac.digest(key, _PURPOSE, "sha256")  # this key signs other things elsewhere
    return base64.urlsafe_b64encode(hmac.digest(own, body, "sha256")).rstrip(b"=").decode()
