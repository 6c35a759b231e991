"""Templates of sandboxes' disks: a sparse file with an empty ext4, one per size, that each shim copies.

Called by driver.py before it has a shim forked; next: shim/disk.py. Made anew by each daemon (13 ms;
300 KB), so that a machine that went down in between leaves none that is half written.
"""

import asyncio
import os
from pathlib import Path

from neargate.node.drivers.base import DriverError, DriverUnavailable
from neargate.node.shimmed.machine import where

DEFAULT_BYTES = 20 * 1024**3
_TOOL = "mkfs.ext4"
_BYTES_PER_INODE = 32768
_OWN = 1.0085
"""What ext4 takes for itself: an inode of 256 bytes for each 32768, its maps and descriptors..."""
_OWN_BYTES = 8 << 20
"""...and the first directories."""
_OPTIONS = (
    "-q", "-F", "-m", "0", "-i", str(_BYTES_PER_INODE),
    "-O", "^has_journal,^resize_inode,^metadata_csum,uninit_bg",
    "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0",
)  # fmt: skip


def check_tools() -> None:
    """Raise DriverUnavailable with what to install."""
    if not where(_TOOL):
        raise DriverUnavailable(f"{_TOOL} is missing: apt-get install e2fsprogs")
    if not Path("/dev/loop-control").exists():
        raise DriverUnavailable(
            "/dev/loop-control is missing: modprobe loop (ephemeral storage is on loop devices)"
        )


class Templates:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._making: dict[int, asyncio.Task[Path]] = {}

    async def of(self, size: int) -> Path:
        """The template of a disk that holds `size` bytes. Raise DriverError."""
        making = self._making.get(size)
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            making = self._making[size] = asyncio.ensure_future(self._make(size))
        return await asyncio.shield(making)

    async def _make(self, size: int) -> Path:
        path = self._directory / f"{size}.ext4"
        draft = path.with_suffix(".new")
        self._directory.mkdir(exist_ok=True, mode=0o700)
        try:
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.truncate(int(size * _OWN) // 4096 * 4096 + _OWN_BYTES)
            process = await asyncio.create_subprocess_exec(
                where(_TOOL) or _TOOL,
                *_OPTIONS,
                str(draft),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            if process.returncode:
                raise DriverError(
                    f"ephemeral storage: {_TOOL}: {said.decode(errors='replace').strip()[:500]}"
                )
            draft.replace(path)
        except OSError as error:
            raise DriverError(f"ephemeral storage: {error}") from error
        return path
