"""Content digests, `sha256:<64 hex>`: the only algorithm that neargate stores.

Used everywhere in oci/, services/ecr and gateway/registry; nothing else parses a digest.
"""

import hashlib
import re

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


class DigestError(ValueError):
    """Not a digest that can be used; the message says why."""


def check(digest: str) -> str:
    """The digest itself. Raise DigestError on anything but lower-case sha256."""
    if not _SHA256.fullmatch(digest):
        raise DigestError(f"{digest[:100]!r} is not a sha256 digest (sha256: and 64 lower-case hex digits)")
    return digest


def is_digest(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """The 64 digits: what a file in the content store is called."""
    return check(digest).partition(":")[2]


def of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
