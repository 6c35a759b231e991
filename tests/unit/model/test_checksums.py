"""Checksums by the check values that their specifications publish."""

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model import checksums

CHECK = b"123456789"


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("CRC32", "cbf43926"),
        ("CRC32C", "e3069283"),
        ("CRC64NVME", "ae8b14860a799888"),
        ("SHA1", hashlib.sha1(CHECK).hexdigest()),
        ("SHA256", hashlib.sha256(CHECK).hexdigest()),
    ],
)
def test_check_values(algorithm: str, value: str) -> None:
    assert checksums.digest(algorithm, [CHECK]).hex() == value
    assert checksums.digest(algorithm, [CHECK[:4], b"", CHECK[4:]]).hex() == value


@given(st.lists(st.binary()))
def test_pieces_make_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for algorithm in checksums.ALGORITHMS:
        assert checksums.digest(algorithm, pieces) == checksums.digest(algorithm, [whole])
    assert checksums.digest("CRC32", pieces) == zlib.crc32(whole).to_bytes(4, "big")


def test_a_composite_is_the_checksum_of_checksums() -> None:
    parts = [hashlib.sha256(data).digest() for data in (b"a", b"b")]
    expected = base64.b64encode(hashlib.sha256(b"".join(parts)).digest()).decode()
    assert checksums.composite("SHA256", [checksums.text(part) for part in parts]) == f"{expected}-2"


@pytest.mark.parametrize("text", ["", "NhCmhg==", "x", "NhCmhg", "é", "NhC mhg=="])
def test_base64_that_is_none(text: str) -> None:
    found = checksums.parsed(text)
    assert found == {"": b"", "NhCmhg==": bytes.fromhex("3610a686")}.get(text)
