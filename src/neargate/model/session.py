"""Temporary credentials: who holds them, how long, and the session token that says so. Pure.

A session is kept nowhere: its token is the record itself, sealed with the daemon's key, and its secret is
derived from that key. So they outlive the daemon, and no secret is ever written down. Minted by services/sts
and services/cell; the door opens the token, and asks the store whether the task that it is bound to runs.
"""

import base64
import functools
import hashlib
import hmac
import re
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_TOKEN_PURPOSE, _SECRET_PURPOSE = b"neargate session tokens 1", b"neargate session secrets 1"
_NONCE_BYTES = 12
_LONGEST_TOKEN = 8192
_ROLE = re.compile(r"arn:(aws[a-z-]{0,20}):iam::([0-9]{12}):role/((?:[!-~]+/)?)([\w+=,.@-]{1,64})", re.ASCII)
KEY_ID = re.compile(r"ASIA[A-Z2-7]{16}")


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`role_arn` is empty for a session of the account's own root (GetSessionToken)."""

    access_key_id: str
    account: str
    expires_at: float
    role_arn: str = ""
    name: str = ""
    task_arn: str = ""
    """The task whose role it is; with its end the session ends too."""
    unique_id: str = ""
    """Of the role, if it was created through the IAM API: one that takes its name later is another."""
    policy: str = ""
    """What the session is restricted to, beside the role's own policies."""
    policy_arns: tuple[str, ...] = ()
    """Managed policies that restrict it likewise."""

    @property
    def principal_arn(self) -> str:
        role = parse_role(self.role_arn)
        if role is None:
            return f"arn:aws:iam::{self.account}:root"
        return f"arn:{role.partition}:sts::{role.account}:assumed-role/{role.name}/{self.name}"

    @property
    def user_id(self) -> str:
        id = self.unique_id or role_id(self.role_arn)
        return f"{id}:{self.name}" if self.role_arn else self.account


@dataclass(frozen=True, slots=True)
class Role:
    partition: str
    account: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    """What the holder is given. Never in a record, never in a log."""

    session: Session
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)


def parse_role(arn: str) -> Role | None:
    """None if it is not a role's ARN."""
    found = _ROLE.fullmatch(arn)
    return Role(found[1], found[2], f"/{found[3]}", found[4]) if found else None


def role_id(arn: str) -> str:
    """The unique id, the same each time, of a role that was not created and so drew none."""
    return "AROA" + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]


def key_id(digits: str) -> str:
    """The id of a temporary key, out of 20 hexadecimal digits."""
    return "ASIA" + base64.b32encode(bytes.fromhex(digits)).decode()


def mint(key: bytes, session: Session, nonce: str) -> SessionCredentials:
    """`nonce` -- 24 hexadecimal digits never used before with this key."""
    start = bytes.fromhex(nonce)
    sealed = start + AESGCM(_derived(key, _TOKEN_PURPOSE)).encrypt(
        start, msgspec.msgpack.encode(session), None
    )
    return SessionCredentials(
        session, secret_of(key, session.access_key_id), base64.b64encode(sealed).decode()
    )


def open_token(key: bytes, access_key_id: str, token: str) -> Session | None:
    """The session of a token, expired or not; None if it is forged, or another key's."""
    if len(token) > _LONGEST_TOKEN or not KEY_ID.fullmatch(access_key_id):
        return None
    try:
        sealed = base64.b64decode(token, validate=True)
        plain = AESGCM(_derived(key, _TOKEN_PURPOSE)).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None
        )
        session = msgspec.msgpack.decode(plain, type=Session)
    except (ValueError, InvalidTag, msgspec.MsgspecError):
        return None
    return session if hmac.compare_digest(session.access_key_id, access_key_id) else None


def secret_of(key: bytes, access_key_id: str) -> str:
    digest = hmac.digest(_derived(key, _SECRET_PURPOSE), access_key_id.encode(), hashlib.sha256)
    return base64.b64encode(digest[:30]).decode()  # 40 digits, as AWS's secrets have


@functools.lru_cache(maxsize=8)
def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
