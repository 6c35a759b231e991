"""Records and pure rules of Secrets Manager: secrets, their versions, and how values are sealed.

Written by services/secretsmanager through state/secrets; a value is in clear only on its way to who asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from neargate.model import sealed
from neargate.model.record import Record
from neargate.model.sealed import NONCE_BYTES as NONCE_BYTES
from neargate.model.sealed import SealError as SealError

CURRENT = "AWSCURRENT"
PREVIOUS = "AWSPREVIOUS"


class Rotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was said of rotation. Nobody rotates: functions are not built."""

    enabled: bool
    function: str
    """ARN."""
    days: int | None = None
    duration: str | None = None
    schedule: str | None = None


class Secret(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    created_at: float
    changed_at: float
    accessed_day: float | None = None
    description: str = ""
    kms_key_id: str | None = None
    type: str | None = None
    tags: dict[str, str] = {}
    stages: dict[str, str] = {}
    """Label -> id of the version that has it."""
    deleted_at: float | None = None
    """When the recovery window ends and the secret is gone; None while it is not deleted."""
    rotation: Rotation | None = None
    policy: str = ""
    """The resource policy as it was put."""


class Version(Record, frozen=True, kw_only=True, omit_defaults=True):
    secret: str
    """ARN."""
    id: str
    created_at: float
    sealed: bytes
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A value in clear. Never in a record, never in a log."""

    data: bytes = field(repr=False)
    binary: bool = False


def version_id(secret: str, id: str) -> str:
    return f"{secret}@{id}"


def seal(key: bytes, secret: str, version: str, value: Value, nonce: bytes) -> bytes:
    """The value for a record: bound to its secret and version."""
    return sealed.seal(key, _context(secret, version, value.binary), value.data, nonce)


def unseal(key: bytes, version: Version) -> Value:
    """Raise SealError."""
    context = _context(version.secret, version.id, version.binary)
    try:
        return Value(sealed.unseal(key, context, version.sealed), version.binary)
    except SealError as error:
        raise SealError(f"the value of {version.secret}: {error}") from None


def _context(secret: str, version: str, binary: bool) -> bytes:
    return f"{secret}\0{version}\0{'binary' if binary else 'string'}".encode()


def moved(stages: Mapping[str, str], version: str, labels: Sequence[str]) -> dict[str, str]:
    """Labels after `version` took some: the version that was current becomes the previous one."""
    after = dict(stages)
    current = stages.get(CURRENT)
    if CURRENT in labels and current is not None and current != version:
        after[PREVIOUS] = current
    for label in labels:
        after[label] = version
    return after


def labels_of(stages: Mapping[str, str], version: str) -> list[str]:
    return sorted(label for label, id in stages.items() if id == version)
