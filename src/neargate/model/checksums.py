"""Checksums that S3's clients send with a body, by S3's names for them. Pure.

Called by the door, which holds bodies against them, and by services/s3 for objects put together of parts.
CRC-32C and CRC-64/NVME are not in Python's libraries: a table each, at some 10 MB/s.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache


def _table(polynomial: int) -> tuple[int, ...]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        made.append(byte)
    return tuple(made)


@cache
def _crc_table(bits: int) -> tuple[int, ...]:
    return _table({32: 0x82F63B78, 64: 0x9A6C9329AC4BC9B5}[bits])


class _Crc:
    """A reflected CRC that begins and ends with all bits turned, with hashlib's methods."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._mask = (1 << bits) - 1
        self._value = self._mask

    def update(self, data: bytes) -> None:
        table, value = _crc_table(self._bits), self._value
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ value >> 8
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._mask).to_bytes(self._bits // 8, "big")


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_MAKERS: Mapping[str, Callable[[], "_Crc | _Crc32 | hashlib._Hash"]] = {
    "CRC32": _Crc32,
    "CRC32C": lambda: _Crc(32),
    "CRC64NVME": lambda: _Crc(64),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
ALGORITHMS = tuple(_MAKERS)
FULL_OBJECT_ONLY = frozenset({"CRC64NVME"})
"""Those of a multipart upload that are always the whole object's."""
COMPOSITE_ONLY = frozenset({"SHA1", "SHA256"})


def digest(algorithm: str, chunks: Iterable[bytes]) -> bytes:
    """Raise KeyError on an algorithm that is not in ALGORITHMS."""
    sum = _MAKERS[algorithm]()
    for chunk in chunks:
        sum.update(chunk)
    return sum.digest()


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def parsed(value: str) -> bytes | None:
    """The bytes of a checksum's Base64; None if it is none."""
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return None


def composite(algorithm: str, parts: Iterable[str]) -> str:
    """The checksum of parts' checksums: theirs one after another, and how many."""
    all_parts = [base64.b64decode(part) for part in parts]
    return f"{text(digest(algorithm, all_parts))}-{len(all_parts)}"
