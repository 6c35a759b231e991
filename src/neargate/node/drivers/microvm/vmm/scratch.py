"""The scratch disk of a machine: a sparse file, without a name until it is known whose it is. Called by
supervisor.py and the kinds of machines.

From then on it is where the other tiers have a sandbox's disk (node/shim/disk.py), and is erased in the
same way: by the supervisor, or by node/shimmed where that was killed.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from neargate.node.shim import disk

READY = ".ready-"
"""Begins the names of disks that must have one in a clone that is nobody's yet, in the driver's directory."""
_SEND = 1 << 30


class Scratch(disk.Disk):
    def __init__(self, setup: dict[str, Any], give: Callable[[str], None]) -> None:
        """give -- gives the file its name, which is in the sandbox's directory. Raise OSError."""
        self._id = setup["id"]
        self._file = f"{setup['directory']}/{disk.FILE}"
        self._device = ""
        give(self._file)

    def end(self) -> None:
        """The VMM, which alone had it open, is dead by now."""


def give_name(fd: int, path: str) -> None:
    """To a file that has none yet. Raise OSError."""
    # follow_symlinks alone is no linkat(AT_SYMLINK_FOLLOW) to Python; the directory is of no account
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def copy(path: str, directory: str) -> int:
    """Descriptor of a copy in `directory`. Raise OSError."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        end = os.fstat(source).st_size
        os.ftruncate(target, end)
        copy_data(source, target, end)
    finally:
        os.close(source)
    return target


def copy_data(source: int, target: int, end: int) -> None:
    """What a sparse file holds, to the same places."""
    at = 0
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                return
            raise
        hole = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < hole:
            at += os.sendfile(target, source, at, min(hole - at, _SEND))
