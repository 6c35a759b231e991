"""Tar streams for the tests: ordinary ones by the standard library, hostile ones by hand.

Used by test_tar.py, test_tree.py, test_erofs.py, test_builder.py and test_images.py.
"""

import io
import tarfile
from typing import Any

BLOCK = 512
END = bytes(2 * BLOCK)


def header(
    name: bytes = b"f",
    size: bytes = b"00000000000\0",
    kind: bytes = b"0",
    link: bytes = b"",
    *,
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    mtime: bytes = b"00000000000\0",
    magic: bytes = b"ustar\00000",
    device: bytes = b"0000000\0" * 2,
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block of raw fields, its checksum right unless told otherwise."""
    block = bytearray(BLOCK)
    fields = (
        (0, name), (100, mode), (108, uid), (116, b"0000000\0"), (124, size), (136, mtime), (156, kind),
        (157, link), (257, magic), (329, device), (345, prefix),
    )  # fmt: skip
    for at, value in fields:
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return bytes(block)


def entry(data: bytes = b"", **fields: Any) -> bytes:
    """A header and its data."""
    fields.setdefault("size", b"%011o\0" % len(data))
    return header(**fields) + data + bytes(-len(data) % BLOCK)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return entry(b"".join(record(key, value) for key, value in records), name=b"pax", kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def member(name: str, data: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """For `tar`; directories end in a slash. xattrs={name: bytes}, else attributes of TarInfo."""
    info = tarfile.TarInfo(name.rstrip("/"))
    info.size, info.mode = len(data), 0o644
    if name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    for key, value in attributes.pop("xattrs", {}).items():
        info.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
