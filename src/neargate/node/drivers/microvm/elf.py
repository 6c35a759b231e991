"""The kernel as Firecracker wants it: the ELF file that Debian's vmlinuz has compressed inside.

Called by guest_image.py when a guest image for Firecracker is made. Where in the file it is, its own header
says (Linux's boot protocol, 2.08 and later).
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator

import lz4.block
import zstandard

_MAGIC, _MAGIC_AT, _VERSION_AT, _SECTORS_AT, _PAYLOAD_AT = b"HdrS", 0x202, 0x206, 0x1F1, 0x248
_WITH_PAYLOAD = 0x208
_ELF = b"\x7fELF\x02\x01"
_LZ4, _LZ4_BLOCK = b"\x02\x21\x4c\x18", 8 << 20
_LARGEST = 512 << 20


class KernelError(ValueError):
    """Not a kernel that this can unpack; the message says what is wrong."""


def unpack(image: bytes) -> bytes:
    """The uncompressed kernel of a bzImage. Raise KernelError."""
    payload = _payload(image)
    decompress = next((way for magic, way in _WAYS.items() if payload.startswith(magic)), None)
    if decompress is None:
        raise KernelError(f"the kernel is compressed in a way that is not known: {payload[:4].hex()}")
    try:
        found = decompress(payload)
    except (OSError, EOFError, ValueError, struct.error, *_ERRORS) as error:
        raise KernelError(f"the kernel cannot be decompressed: {error}") from None
    if not found.startswith(_ELF):
        raise KernelError("what the kernel's file has inside is no 64-bit ELF")
    return found


def _payload(image: bytes) -> bytes:
    if len(image) < _PAYLOAD_AT + 8 or image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise KernelError("not a Linux kernel in a bzImage")
    (version,) = struct.unpack_from("<H", image, _VERSION_AT)
    if version < _WITH_PAYLOAD:
        raise KernelError(f"a kernel of boot protocol {version >> 8}.{version & 0xFF:02}, which is too old")
    begin = ((image[_SECTORS_AT] or 4) + 1) * 512  # the sectors of real mode, and the boot sector
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    if begin + offset + length > len(image):
        raise KernelError("the kernel's file is cut short")
    return image[begin + offset : begin + offset + length]


def _lz4(payload: bytes) -> bytes:
    """Its old format: blocks of 8 MiB, each with its compressed length before it."""
    return b"".join(lz4.block.decompress(b, uncompressed_size=_LZ4_BLOCK) for b in _lz4_blocks(payload))


def _lz4_blocks(payload: bytes) -> Iterator[bytes]:
    at, end = len(_LZ4), len(payload) - 4  # the last four bytes are the whole's length
    while at < end:
        (length,) = struct.unpack_from("<I", payload, at)
        at += 4
        if not 0 < length <= end - at:
            raise ValueError(f"a block of {length} bytes")
        yield payload[at : at + length]
        at += length


def _zstd(payload: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(payload)


def _xz(payload: bytes) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload, _LARGEST)


def _lzma(payload: bytes) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload, _LARGEST)


def _gzip(payload: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS + 16).decompress(payload, _LARGEST)


def _bzip2(payload: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(payload, _LARGEST)


_WAYS: dict[bytes, Callable[[bytes], bytes]] = {
    _LZ4: _lz4,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\xfd7zXZ\x00": _xz,
    b"\x1f\x8b\x08": _gzip,
    b"BZh": _bzip2,
    b"\x5d\x00\x00": _lzma,
}
_ERRORS = (lzma.LZMAError, zlib.error, zstandard.ZstdError, lz4.block.LZ4BlockError)
