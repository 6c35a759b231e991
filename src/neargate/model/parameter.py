"""Records and pure rules of Parameter Store: parameters, their versions, names and labels.

Written by services/ssm through state/parameters. Every value is sealed, a SecureString's and any other's: one
rule, and nothing to forget.
"""

import re
from typing import Literal

import msgspec

from neargate.model import sealed
from neargate.model.record import Record

Type = Literal["String", "StringList", "SecureString"]
Tier = Literal["Standard", "Advanced"]
LIMITS: dict[Tier, int] = {"Standard": 4096, "Advanced": 8192}
"""Bytes of a value."""
MAX_VERSIONS = 100
MAX_LABELS = 10
_LEVELS = 15
_NAME = re.compile(r"/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_MAX_NAME = 1011
_LABEL = re.compile(r"(?!aws|ssm)[A-Za-z_.-][A-Za-z0-9_.-]{0,99}", re.IGNORECASE)


class Revision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a parameter, with all that PutParameter said of it."""

    number: int
    type: Type
    sealed: bytes
    modified_at: float
    modified_by: str
    data_type: str = "text"
    description: str = ""
    allowed_pattern: str = ""
    key_id: str | None = None
    tier: Tier = "Standard"


class Parameter(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    latest: Revision
    labels: dict[str, int] = {}
    """Label -> version."""
    tags: dict[str, str] = {}

    @property
    def id(self) -> str:
        return parameter_id(self.account, self.region, self.name)


class OldVersion(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A version that is no longer the latest."""

    parameter: str
    """Its record's id."""
    revision: Revision


def parameter_id(account: str, region: str, name: str) -> str:
    """Ids sort as names do, so that a level of a hierarchy is one stretch of them."""
    return f"{account}/{region}:{name}"


def version_id(parameter: str, number: int) -> str:
    return f"{parameter}@{number:012d}"


def seal(key: bytes, parameter: str, number: int, value: str, nonce: bytes) -> bytes:
    return sealed.seal(key, _context(parameter, number), value.encode(), nonce)


def unseal(key: bytes, parameter: str, revision: Revision) -> str:
    """Raise SealError."""
    return sealed.unseal(key, _context(parameter, revision.number), revision.sealed).decode()


def _context(parameter: str, number: int) -> bytes:
    return f"parameter\0{parameter}\0{number}".encode()


def name_problem(name: str) -> tuple[str, str] | None:
    """AWS's (code, message) for a name that no parameter can have; None for a good one."""
    bare = name.removeprefix("/").lower()
    if bare.startswith("aws"):
        return "AccessDeniedException", f"No access to reserved parameter name: {name}."
    if not _NAME.fullmatch(name) or bare.startswith("ssm"):
        return (
            "ValidationException",
            'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can '
            "consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, "
            "numbers and the following 3 symbols .-_",
        )
    if "/" in name and not name.startswith("/"):
        return "ValidationException", "Parameter name must be a fully qualified name."
    if len(name) > _MAX_NAME:
        return "ValidationException", f"Parameter name: can have {_MAX_NAME} characters at most."
    if name.count("/") > _LEVELS:
        return (
            "HierarchyLevelLimitExceededException",
            f"A hierarchy can have a maximum of {_LEVELS} levels. For more information, see Requirements and "
            "constraints for parameter names in the AWS Systems Manager User Guide.",
        )
    return None


def split_selector(text: str) -> tuple[str, str]:
    """(name or ARN, selector) of `name`, `name:3`, `name:label` or an ARN with either behind it.

    Raise ValueError on more colons than that.
    """
    head, colons, tail = text.rpartition(":parameter") if text.startswith("arn:") else ("", "", text)
    name, _, selector = tail.partition(":")
    if ":" in selector:
        raise ValueError(text)
    return head + colons + name, selector


def is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def is_below(name: str, path: str, recursive: bool) -> bool:
    """True if `name` is in the hierarchy of `path` (at its next level, unless recursive)."""
    full = name if name.startswith("/") else f"/{name}"
    above = path.rstrip("/") + "/"
    return full.startswith(above) and (recursive or "/" not in full[len(above) :])
