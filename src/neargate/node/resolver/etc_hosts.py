"""The daemon's own lines in /etc/hosts: by them this machine's programs find load balancers by name.

Called by keeper.py. Each daemon has a block of its own, marked with its instance; the rest of the file is
nobody's business here. Daemons side by side take turns by a lock.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from neargate.model.zones import Host

FILE = Path("/etc/hosts")
_LOCK = "hosts.lock"
# Where the file is a mount of its own, as in a container, another cannot take its place.
_NOT_REPLACED = (errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM)


def _marks(instance: str) -> tuple[str, str]:
    return f"# neargate {instance} begin: kept by this machine's daemon", f"# neargate {instance} end"


def with_block(text: str, instance: str, hosts: Sequence[Host]) -> str:
    """The file with its block as it is to be; without one if there are no hosts."""
    begin, end = _marks(instance)
    kept: list[str] = []
    inside = False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        # A block whose end somebody took away is but its first line.
        inside = inside or (line == begin and end in lines[number:])
        if not inside and line != begin:
            kept.append(line)
        inside = inside and line != end
    if hosts:
        made = [f"{address} {host.name}" for host in hosts for address in host.addresses]
        kept += [begin, *made, end]
    return "".join(f"{line}\n" for line in kept)


def write(instance: str, hosts: Sequence[Host], run_dir: Path, file: Path = FILE) -> None:
    """Have these names, and no others of this daemon's, in the file. Raise OSError."""
    with _turn(run_dir):
        old = file.read_text(errors="surrogateescape") if file.exists() else ""
        new = with_block(old, instance, hosts)
        # Somebody's file without a line feed at its end is left as it is where nothing of it is ours.
        if new != old and (hosts or _marks(instance)[0] in old):
            _replace(file, new)


@contextlib.contextmanager
def _turn(run_dir: Path) -> Iterator[None]:
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.neargate")
    try:
        draft.write_text(text, errors="surrogateescape")
        if file.exists():
            shutil.copymode(file, draft)
            found = file.stat()
            os.chown(draft, found.st_uid, found.st_gid)
        draft.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        if error.errno not in _NOT_REPLACED:
            raise
        file.write_text(text, errors="surrogateescape")
