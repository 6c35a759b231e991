"""What one sandbox's directory says of it, so that a daemon killed at any moment goes on where it stood.

Owned by a runner; agent.py reads it at start. `spec.json` is written before anything is made, `journal.json`
before each report. Both by rename and without fsync: the page cache survives kill -9, and what a crash of the
machine could tear is of little use after it, because the containers are gone too.
"""

import contextlib
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

_SPEC, _JOURNAL = "spec.json", "journal.json"
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
        with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
            spec = model.spec_from_json((directory / _SPEC).read_bytes())
            found.append(Found(directory, spec, _read(directory / _JOURNAL)))
    return found


def _read(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Environments may hold secrets: for root's eyes only."""
    draft = path.with_suffix(".new")
    draft.touch(0o600)
    draft.write_bytes(data)
    draft.replace(path)


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
        """Make the directory, with what is needed to find the sandbox again."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self._directory / _SPEC).exists():
            _write(self._directory / _SPEC, model.as_json(self._spec))

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
        _write(self._directory / _JOURNAL, msgspec.json.encode(self._kept))
