"""A directory tree as the kernel's initramfs: the `newc` form of cpio, all owned by root. Called by
guest_image.py.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

_NODES = (("dev/console", 5, 1), ("dev/null", 1, 3))
"""Character devices that the first process has before it mounts any file system."""


def write(tree: Path, target: BinaryIO) -> None:
    number = 0
    for top, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted([*directories, *names]):
            number += 1
            path = Path(top, name)
            inside = str(path.relative_to(tree))
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                data = os.fsencode(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                data = path.read_bytes()
            else:
                data = b""
            _entry(target, number, inside, status.st_mode, data)
    for inside, major, minor in _NODES:
        number += 1
        _entry(target, number, inside, stat.S_IFCHR | 0o600, b"", (major, minor))
    _entry(target, 0, "TRAILER!!!", 0, b"")


def _entry(
    target: BinaryIO, number: int, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)
) -> None:
    path = os.fsencode(name) + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    target.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))
