"""The driver interface: what every isolation tier does. Each passes tests/contracts/drivers.

Called by node/runner only. Glossary: a *driver* is a tier on this machine; a *sandbox* is one task's boundary
(namespaces or a virtual machine, its interface, its limits); a *container* runs inside one. Legal order:

    open -> (start -> signal* -> [ended])* -> destroy        exec, attach and stats while a container runs

A sandbox outlives the daemon: `adopt` finds it again, with every container's state and exit code.
Whatever a driver makes (processes, mounts, namespaces, cgroups, interfaces) `destroy` removes, and so
does `sweep` for sandboxes that nobody claims.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.model.terminal import Terminal as Terminal
from neargate.model.usage import Usage as Usage
from neargate.oci.images import Image


class DriverError(Exception):
    """The tier could not do it; the message is fit for a container's `reason`, cause included."""


class DriverUnavailable(DriverError):
    """This machine cannot run the tier; the message says what to install or change."""


class RangeTaken(DriverUnavailable):
    """Another daemon or link of this machine has the address range: no tier can run with it."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the sandbox knows of one container, whoever asks and however often the daemon was restarted."""

    name: str
    runtime_id: str
    running: bool
    pid: int | None = None
    started_at: float | None = None
    stopped_at: float | None = None
    exit_code: int | None = None
    """128 + signal when a signal ended it."""
    oom_killed: bool = False
    restarts: int = 0
    """How often `start` was called again on it."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    output: bytes
    """stdout and stderr, the first 4096 bytes."""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A sandbox's ephemeral storage: image layers, what its containers write, scratch volumes."""

    used: int
    reserved: int
    """Both in bytes."""


class Sandbox(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def states(self) -> Mapping[str, ContainerState]:
        """By container name; those never started are absent. Always current: `watch` tells of changes."""
        ...

    @property
    def lost(self) -> bool:
        """The boundary itself is gone (its shim or VM died); its containers have been killed."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` (on the loop) after each change of `states` or `lost`."""
        ...

    async def start(self, container: ContainerSpec, image: Image) -> None:
        """Create and start a container (again: fresh root, restarts + 1). Raise DriverError."""
        ...

    async def signal(self, container: str, signal: int) -> None:
        """Send to the container's first process (SIGKILL: to all of it). No error if it has ended."""
        ...

    async def exec(self, container: str, argv: tuple[str, ...], timeout: float) -> ExecResult:
        """Run a command inside (health checks). Killed at `timeout` seconds."""
        ...

    async def attach(self, container: str, argv: tuple[str, ...], columns: int, rows: int) -> Terminal:
        """Run a command inside as root, at a terminal of its own (ECS Exec). Raise DriverError.

        It ends when the terminal is closed, and with this daemon: it is nothing that is found again.
        """
        ...

    async def post(
        self, sender: str, socket: tuple[str, str], data: bytes, *, fresh: bool, answered: bool
    ) -> bytes:
        """Send to a socket (scratch volume, name) at which a container listens: each sender on a connection
        of its own, which is kept unless it is to be `fresh`. `answered` -- wait for what comes back, and
        return its first bytes. Raise DriverError if the other side does not take it.
        """
        ...

    async def usage(self, container: str) -> Usage: ...

    async def storage(self) -> Storage:
        """Raise DriverError where the tier cannot tell."""
        ...

    def spool(self, container: str) -> Path:
        """The directory of the container's log spool; see node/spool.py for its format."""
        ...

    async def destroy(self) -> None:
        """Kill what runs and remove all that was made, the log spools excepted. Idempotent."""
        ...


class Driver(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def tiers(self) -> Sequence[str]:
        """What a sandbox's `tier` may be here; the first is what those get that demand none."""
        ...

    async def __aenter__(self) -> Self:
        """Get ready: helpers, cgroups, firewall. Raise DriverUnavailable if this machine cannot."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go without stopping any sandbox."""
        ...

    async def open(self, spec: SandboxSpec, directory: Path) -> Sandbox:
        """Make the boundary: interface up with its address, limits set, no container yet.

        `directory` is the sandbox's own (exists, empty or left by an earlier attempt of the same spec).
        """
        ...

    async def adopt(self, spec: SandboxSpec, directory: Path) -> Sandbox | None:
        """Find a living sandbox again after a restart; None if there is none (open may be called anew)."""
        ...

    async def sweep(self, keep: Collection[str]) -> None:
        """Remove everything of this daemon's sandboxes whose ids are not in `keep` (crash leftovers)."""
        ...

    async def teardown(self) -> None:
        """Remove what the driver made beyond sandboxes (firewall table, cgroup root): `neargate down`."""
        ...
