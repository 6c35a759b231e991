"""fake: sandboxes in memory, for tests of all that is around them. Containers "run" until told otherwise.

What a container does is said by words in the path or tag of its image, or as the first words of its command:

    exit-3  (exit 3)    ends by itself with that code       nostart   cannot be started
    oom                 is killed for its memory            nopull    its image cannot be pulled
    stubborn            ends by SIGKILL only                sick      its health checks fail
    (echo some text)    writes that to its log spool, in the real format, before anything else

A command at a terminal is typed to a small shell in memory (fake_terminal.py).

Tests that hold the driver may also `end` a container, `lose` a sandbox, or open it anew with `adopt`.
"""

import re
import tempfile
import time
from asyncio import Event, get_running_loop
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import NoReturn, Self

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.drivers.base import ContainerState, DriverError, ExecResult, Storage, Usage
from neargate.node.drivers.fake_terminal import FakeTerminal
from neargate.node.spool import STDOUT, SpoolWriter
from neargate.oci.errors import ImageError
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig

_EXIT = re.compile(r"exit-(\d{1,3})")


def words(container: ContainerSpec) -> frozenset[str]:
    """What the container is to do."""
    name = container.image.partition("@")[0]
    found = set(re.split(r"[/:]", name))
    command = container.command or ()
    if command[:1] == ("exit",):
        found.add(f"exit-{command[1] if len(command) > 1 else 0}")
    elif command:
        found.add(command[0])
    return frozenset(found)


class FakeSandbox:
    def __init__(self, spec: SandboxSpec, directory: Path) -> None:
        self.spec = spec
        self.started: list[str] = []
        """Names, in the order of their starts."""
        self.terminals: list[FakeTerminal] = []
        self.signals: list[tuple[str, int]] = []
        self.router: Callable[[str, bytes, bool], Awaitable[bytes]] | None = None
        """Takes what is sent to sockets: (sender, data, whether on a fresh connection) -> answer."""
        self.destroyed = False
        self._directory = directory
        self._states: dict[str, ContainerState] = {}
        self._specs: dict[str, ContainerSpec] = {}
        self._spools: dict[str, SpoolWriter] = {}
        self._watchers: list[Callable[[], None]] = []
        self._lost = False

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def states(self) -> Mapping[str, ContainerState]:
        return MappingProxyType(self._states)

    @property
    def lost(self) -> bool:
        return self._lost

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    async def start(self, container: ContainerSpec, image: Image) -> None:
        self._alive()
        does = words(container)
        if "nostart" in does:
            raise DriverError('exec: "nostart": executable file not found in $PATH')
        name = container.name
        before = self._states.get(name)
        if before is not None and before.running:
            raise DriverError("it is running already")
        self.started.append(name)
        self._specs[name] = container
        runs = before.restarts + 1 if before is not None else 0
        self._states[name] = ContainerState(
            name, container.runtime_id, True, pid=1, started_at=time.time(), restarts=runs
        )
        self._write(container)
        code = next((int(m[1]) for word in does if (m := _EXIT.fullmatch(word))), None)
        if "oom" in does:
            get_running_loop().call_soon(self._end, name, 137, True)
        elif code is not None or "echo" in does:
            get_running_loop().call_soon(self._end, name, code or 0, False)
        self._tell()

    def _write(self, container: ContainerSpec) -> None:
        sink = container.log
        if sink is None:
            return
        spool = self._spools.get(container.name)
        if spool is None:
            directory = str(self.spool(container.name))
            spool = SpoolWriter(directory, sink.max_buffer_bytes, sink.mode == "blocking")
            self._spools[container.name] = spool
        else:
            spool.reopen()
        if container.command and container.command[0] == "echo":
            spool.feed(STDOUT, " ".join(container.command[1:]).encode() + b"\n")

    async def signal(self, container: str, signal: int) -> None:
        self.signals.append((container, signal))
        state = self._states.get(container)
        if state is not None and state.running and (signal == 9 or not self._does(container, "stubborn")):
            self._end(container, 128 + signal, False)

    async def exec(self, container: str, argv: tuple[str, ...], timeout: float) -> ExecResult:
        if not self._states[container].running:
            raise DriverError("container is not running")
        return ExecResult(1, b"sick\n") if self._does(container, "sick") else ExecResult(0, b"")

    async def attach(self, container: str, argv: tuple[str, ...], columns: int, rows: int) -> FakeTerminal:
        self._alive()
        if not self._states[container].running:
            raise DriverError("container is not running")
        if argv[0] == "nosuch":
            raise DriverError('exec: "nosuch": executable file not found in $PATH')
        terminal = FakeTerminal(argv, columns, rows)
        self.terminals.append(terminal)
        return terminal

    async def post(
        self, sender: str, socket: tuple[str, str], data: bytes, *, fresh: bool, answered: bool
    ) -> bytes:
        self._alive()
        if self.router is None:
            raise DriverError("the router's socket: no such file or directory")
        return await self.router(sender, data, fresh)

    async def usage(self, container: str) -> Usage:
        return Usage(0.0, 0, 0, 1 if self._states[container].running else 0)

    async def storage(self) -> Storage:
        return Storage(0, self.spec.ephemeral_bytes)

    def spool(self, container: str) -> Path:
        return self._directory / "spool" / container

    async def destroy(self) -> None:
        self.destroyed = True
        for name, state in self._states.items():
            if state.running:
                self._states[name] = replace(state, running=False)
        for terminal in self.terminals:
            terminal.close()
        for spool in self._spools.values():
            spool.finish()
            spool.close()
        self._spools.clear()

    # -- what tests do ---------------------------------------------------------------------------------

    def end(self, container: str, code: int = 0) -> None:
        """The container ends by itself."""
        self._end(container, code, False)

    def given(self, container: str) -> ContainerSpec:
        """What the container was started with, the last time."""
        return self._specs[container]

    def lose(self) -> None:
        """As if the sandbox's own process had died."""
        self._lost = True
        for name, state in self._states.items():
            if state.running:
                self._states[name] = replace(state, running=False, exit_code=137)
        self._tell()

    # -- inside ----------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self.destroyed or self._lost:
            raise DriverError("the sandbox is gone")

    def _does(self, container: str, word: str) -> bool:
        return word in words(self._specs[container])

    def _end(self, name: str, code: int, out_of_memory: bool) -> None:
        state = self._states[name]
        if not state.running:
            return
        self._states[name] = replace(
            state,
            running=False,
            pid=None,
            stopped_at=time.time(),
            exit_code=code,
            oom_killed=out_of_memory,
        )
        if name in self._spools:
            self._spools[name].finish()
        self._tell()

    def _tell(self) -> None:
        for changed in self._watchers:
            get_running_loop().call_soon(changed)


class FakeDriver:
    name = "fake"
    tiers = ("fake",)

    def __init__(self) -> None:
        self.sandboxes: dict[str, FakeSandbox] = {}
        self.refuse = ""
        """Why `open` fails from now on, if not empty."""
        self.opened = Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    async def open(self, spec: SandboxSpec, directory: Path) -> FakeSandbox:
        if self.refuse:
            raise DriverError(self.refuse)
        sandbox = self.sandboxes[spec.id] = FakeSandbox(spec, directory)
        return sandbox

    async def adopt(self, spec: SandboxSpec, directory: Path) -> FakeSandbox | None:
        """A daemon started anew on this driver finds its sandboxes; in another process there are none."""
        sandbox = self.sandboxes.get(spec.id)
        return None if sandbox is None or sandbox.destroyed else sandbox

    async def sweep(self, keep: Collection[str]) -> None:
        for id in self.sandboxes.keys() - set(keep):
            await self.sandboxes.pop(id).destroy()

    async def teardown(self) -> None:
        return


class FakeImages:
    """node/images.Images without any registry: each name is an image, and its digest is made of the name."""

    def __init__(self) -> None:
        self.holders: dict[str, set[str]] = {}
        self.asked: list[str] = []
        self.pulls: dict[str, tuple[int, int]] = {}

    async def fetch(self, name: str, account: str, region: str) -> Image:
        return _image(f"sha256:{sha256(name.encode()).hexdigest()}")

    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        self.asked.append(container.image)
        if "nopull" in words(container):
            raise ImageError(
                "pull image manifest has been retried 1 time(s): failed to resolve ref"
                f" {container.image}: {container.image}: not found"
            )
        digest = f"sha256:{sha256(container.image.encode()).hexdigest()}"
        self.holders.setdefault(spec.id, set()).add(digest)
        return _image(digest)

    def held(self, sandbox: str, digest: str) -> Image | None:
        self.holders.setdefault(sandbox, set()).add(digest)
        return _image(digest)

    def release(self, sandbox: str) -> None:
        self.holders.pop(sandbox, None)

    async def run(self) -> NoReturn:
        await Event().wait()
        raise AssertionError("unreachable")


def _image(digest: str) -> Image:
    return Image(digest, digest, Path(tempfile.gettempdir()), 0, ImageConfig(), 0)
