"""Values encrypted at rest: AES-GCM under a key of their own, derived from the daemon's.

Used by model/secret and model/parameter. A sealed value is bound to a context, so that records cannot be
exchanged for one another.
"""

from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
_PURPOSE = b"neargate secret values 1"


class SealError(Exception):
    """A sealed value cannot be opened: the daemon's key is another, or the record was changed."""


def seal(key: bytes, context: bytes, data: bytes, nonce: bytes) -> bytes:
    return nonce + _cipher(key).encrypt(nonce, data, context)


def unseal(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """Raise SealError."""
    try:
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise SealError("it cannot be decrypted with this daemon's key") from None


@lru_cache(maxsize=4)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key))
