"""The data of file systems: a directory each, under one root that may be any mounted file system.

Called by services/efs and services/admin. Trees belong to tasks, so they are hostile: as deep and as wide as
somebody liked, full of links. They are measured and removed by `du` and `rm`, which follow none.
"""

import asyncio
import contextlib
from pathlib import Path

from neargate.state.store import StoreError

_DELETED = ".deleted-"
_MODE = 0o755


class FileTrees:
    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, id: str) -> None:
        """Raise StoreError."""
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._root / id).mkdir(exist_ok=True)
            (self._root / id).chmod(_MODE)
        except OSError as error:
            raise StoreError(f"the directory of file system {id} cannot be made: {error}") from error

    def discard(self, id: str) -> None:
        """Out of sight at once; `sweep` removes it. One that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            (self._root / id).rename(self._root / f"{_DELETED}{id}")

    async def sweep(self) -> None:
        """Remove what was discarded, whenever that was."""
        found = [str(path) for path in self._root.glob(f"{_DELETED}*")] if self._root.is_dir() else []
        for path in found:
            await _run("rm", "-rf", "--one-file-system", "--", path)

    async def measure(self, id: str) -> int | None:
        """Bytes that it takes; None if it is not there. Takes as long as the tree is large."""
        told = await _run("du", "-s", "--block-size=1", "--one-file-system", "--", str(self._root / id))
        number = told.partition(b"\t")[0]
        return int(number) if number.isdigit() else None


async def _run(*command: str) -> bytes:
    """What it says. It does not outlive its caller."""
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=null, stdout=asyncio.subprocess.PIPE, stderr=null
    )
    try:
        return (await process.communicate())[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
