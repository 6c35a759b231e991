"""What one sandbox's directory says of it, so that a daemon killed at any moment goes on where it stood.

Owned by a runner; agent.py reads it at start. A line of JSON per entry: the specification, before anything is
made, then where the sandbox stands, before each report. Lines are appended and the last whole one counts: as
safe against kill -9 as a rename, and 300 times cheaper (ext4 flushes a file that is renamed over another). No
fsync: the page cache survives kill -9, and after a crash of the machine the containers are gone too.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from neargate.kit.clock import Clock
from neargate.model import sandbox as model
from neargate.model.sandbox import ContainerStatus, SandboxSpec, SandboxStatus
from neargate.node.drivers.base import ContainerState

log = logging.getLogger(__name__)

_NAME = "journal"
_DOOMED = ".removed-"
_LONGEST = 256 * 1024
"""Bytes; then the journal is begun anew."""
_ORDER = {phase: rank for rank, phase in enumerate(get_args(model.Phase))}
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: SandboxStatus
    """As last reported, or about to be."""
    spools: dict[str, str] = {}
    """Log spool by container: they outlive the driver's sandbox."""
    signalled: dict[str, float] = {}
    """When a container was sent its stop signal: it gets one only, and no more time after a restart."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sandbox's directory as an earlier daemon left it."""

    directory: Path
    spec: SandboxSpec
    kept: Kept | None


def scan(root: Path) -> list[Found]:
    """Every sandbox of an earlier daemon. What has no readable spec never got beyond its first step."""
    found = []
    for directory in root.iterdir():
        if directory.name.startswith(_DOOMED):
            shutil.rmtree(directory, ignore_errors=True)  # a daemon was killed while it did
            continue
        try:
            first, *lines = (directory / _NAME).read_bytes().split(b"\n")
            found.append(Found(directory, model.spec_from_json(first), _last(lines)))
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            with contextlib.suppress(OSError):
                directory.rmdir()
    return found


def remove(directory: Path) -> None:
    """All that a sandbox left. Half of it would be nobody's, so it first gets a name that `scan` knows."""
    doomed = directory.with_name(f"{_DOOMED}{directory.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _last(lines: list[bytes]) -> Kept | None:
    """A line that was being written when the daemon was killed is none."""
    for line in reversed(lines):
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
            return msgspec.json.decode(line, type=Kept)
    return None


class Journal:
    def __init__(
        self,
        spec: SandboxSpec,
        directory: Path,
        kept: Kept | None,
        clock: Clock,
        report: Callable[[SandboxStatus], None],
    ) -> None:
        """report -- hands a status over to be reported; returns at once."""
        self._spec = spec
        self._directory = directory
        self._path = directory / _NAME
        self._size = 0
        self._adopted = kept is not None
        self._clock = clock
        self._report = report
        self._kept = kept or Kept(
            status=SandboxStatus(
                id=spec.id,
                sequence=0,
                phase="ACCEPTED",
                containers=tuple(ContainerStatus(name=c.name) for c in spec.containers),
                accepted_at=clock.now(),
                tier=spec.tier,
            )
        )
        self._containers = {c.name: c for c in self._kept.status.containers}
        self._said: SandboxStatus | None = None

    @property
    def status(self) -> SandboxStatus:
        return self._kept.status

    @property
    def spools(self) -> Mapping[str, str]:
        return self._kept.spools

    @property
    def signalled(self) -> Mapping[str, float]:
        return self._kept.signalled

    @property
    def ending(self) -> bool:
        return _ORDER[self.status.phase] >= _ORDER["STOPPING"]

    @property
    def has_run(self) -> bool:
        return any(c.started_at is not None for c in self._containers.values())

    def container(self, name: str) -> ContainerStatus:
        return self._containers[name]

    def open(self) -> None:
        """Make the directory, with what is needed to find the sandbox again. Raise OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._adopted:
            self._size = _append(self._path, b"\n")  # whatever was cut off ends here
        elif not self._size:
            self._path.unlink(missing_ok=True)
            self._size = _append(self._path, model.as_json(self._spec) + b"\n")

    def change(self, **fields: Any) -> None:
        self._kept = replace(self._kept, status=replace(self.status, **fields))

    def set_once(self, **moments: float) -> None:
        """Moments that never move again."""
        self.change(**{name: at for name, at in moments.items() if getattr(self.status, name) is None})

    def advance(self, phase: model.Phase) -> None:
        """Go on to a phase; never back."""
        if _ORDER[phase] > _ORDER[self.status.phase]:
            self.change(phase=phase)

    def change_container(self, name: str, **fields: Any) -> None:
        self._containers[name] = replace(self._containers[name], **fields)

    def note_spool(self, name: str, spool: Path) -> None:
        self._kept = replace(self._kept, spools={**self.spools, name: str(spool)})

    def note_signal(self, name: str, at: float) -> None:
        self._kept = replace(self._kept, signalled={**self.signalled, name: at})
        self._save()

    def observe(self, state: ContainerState, again: bool) -> None:
        """Take over what the driver knows of a container. `again`: it has ended, but is being restarted."""
        before = self._containers[state.name]
        ended = not state.running and not again
        out_of_memory = OUT_OF_MEMORY if ended and state.oom_killed else None
        self._containers[state.name] = replace(
            before,
            phase="STOPPED" if ended else "RUNNING",
            exit_code=state.exit_code if ended else None,
            reason=out_of_memory or (before.reason if ended else None),
            health=before.health if state.restarts == before.restarts else "UNKNOWN",
            started_at=state.started_at if state.started_at is not None else before.started_at,
            stopped_at=(state.stopped_at or before.stopped_at or self._clock.now()) if ended else None,
            restarts=state.restarts,
            oom_killed=ended and state.oom_killed,
        )

    def publish(self, again: bool = False) -> None:
        """Keep and report where the sandbox stands; nothing if that is said already, unless `again`."""
        self.change(containers=tuple(self._containers[c.name] for c in self._spec.containers))
        if self.status == self._said and not again:
            return
        # From the clock, so that it also grows if this directory was lost; from the last one, so that it also
        # grows if the clock was set back.
        self.change(sequence=max(self.status.sequence + 1, int(self._clock.now() * 1_000_000)))
        self._save()
        self._said = self.status
        self._report(self.status)

    def _save(self) -> None:
        try:
            if self._size > _LONGEST:
                draft = self._path.with_suffix(".new")
                draft.unlink(missing_ok=True)
                _append(draft, model.as_json(self._spec) + b"\n")
                draft.replace(self._path)
            self._size = _append(self._path, msgspec.json.encode(self._kept) + b"\n")
        except OSError as error:  # what happens is reported all the same
            log.error("a journal cannot be written: %s", error, extra={"sandbox": self._spec.id})


def _append(path: Path, data: bytes) -> int:
    """The file's size then. Environments may hold secrets: for root's eyes only."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if os.write(fd, data) != len(data):
            os.ftruncate(fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return size + len(data)
    finally:
        os.close(fd)
