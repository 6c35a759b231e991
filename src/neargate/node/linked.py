"""A sandbox seen from the daemon: a link to the process that owns it, and the states which that one told.

Base of the sandboxes of every tier whose owner outlives the daemon (node/shim, the supervisor of a virtual
machine) and speaks the protocol of node/shim/main.py. A tier adds how an image reaches a container.
"""

import abc
import asyncio
import base64
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.model.usage import Network
from neargate.node import cgroup, ocispec, seccomp
from neargate.node.drivers.base import ContainerState, DriverError, ExecResult, Storage, Usage
from neargate.node.link import Link, ShimGone, connect
from neargate.node.linked_terminal import LinkedTerminal
from neargate.oci.images import Image

log = logging.getLogger(__name__)

_COUNTS = ("memory_bytes", "memory_peak_bytes", "pids", "read_bytes", "write_bytes", "reads", "writes")
_ANSWER_SECONDS = 10.0
"""Who answers may be a guest, so hostile: what it is asked at a task's end must end without it, too."""
_ATTACH_SECONDS = 30.0
"""An emulated machine that has much to do takes its time."""
_NETWORK = tuple(field.name for field in dataclasses.fields(Network))


class LinkedSandbox(abc.ABC):
    def __init__(
        self,
        spec: SandboxSpec,
        directory: Path,
        place: ocispec.Place,
        runtime: str,
        bury: Callable[["LinkedSandbox"], Coroutine[Any, Any, None]],
        died: Callable[["LinkedSandbox"], None],
        later: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """place -- where its containers are made. bury -- removes what a dead owner left, and forgets the
        sandbox. died -- its connection has ended, so its owner most likely. later -- makes a task that the
        driver owns."""
        self._spec = spec
        self.directory = directory
        self._place = place
        self._shared = frozenset(volume.volume for volume in spec.shared_volumes)
        self._runtime = runtime
        self._bury = bury
        self._died = died
        self._later = later
        self._states: dict[str, ContainerState] = {}
        self._watchers: list[Callable[[], None]] = []
        self._terminals: dict[str, LinkedTerminal] = {}
        self._lost = False
        self._destroyed = False
        self._ending: asyncio.Task[None] | None = None
        self.link = Link(self._told, self._shim_gone)

    @property
    def id(self) -> str:
        return self._spec.id

    @property
    def states(self) -> Mapping[str, ContainerState]:
        return MappingProxyType(self._states)

    @property
    def lost(self) -> bool:
        return self._lost

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    @abc.abstractmethod
    async def start(self, container: ContainerSpec, image: Image) -> None:
        """Bring the image to where the container is made, then `ask_start`."""

    async def ask_start(self, container: ContainerSpec, image: Image, path: str, lower: str) -> None:
        """Have a container started. path -- of the image where it is mounted from; lower -- where to."""
        config, notes = ocispec.config(self._spec, container, image.config, self._place)
        for note in notes:
            log.warning("container %s: %s", container.name, note, extra={"sandbox": self.id})
        if not config["process"]["args"]:
            raise DriverError("no command specified")
        await self._add_seccomp(config, ocispec.capabilities(container))
        sink = container.log
        await self.link.ask(
            "start",
            name=container.name,
            runtime_id=container.runtime_id,
            config=config,
            image=path,
            lower=lower,
            user=container.user if container.user is not None else image.config.user,
            volumes=ocispec.volumes(container, self._place.directory, self._shared),
            image_volumes=image.config.volumes,
            volumes_from=container.volumes_from,
            interactive=container.interactive,
            log=sink and {"max_buffer_bytes": sink.max_buffer_bytes, "blocking": sink.mode == "blocking"},
        )

    async def _add_seccomp(self, config: dict[str, Any], capabilities: frozenset[str]) -> None:
        if capabilities != ocispec.CAPABILITIES:
            await asyncio.to_thread(seccomp.bpf, capabilities)  # compiled once, in 45 ms
        if self._runtime == "crun":
            config["annotations"] = {"run.oci.seccomp_bpf_data": seccomp.bpf(capabilities)}
        else:
            config["linux"]["seccomp"] = seccomp.oci_profile(capabilities)

    async def signal(self, container: str, signal: int) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.link.ask("signal", container=container, signal=signal)
        except ShimGone:
            return
        except TimeoutError:
            raise DriverError(f"no answer within {_ANSWER_SECONDS:g} s") from None

    async def exec(self, container: str, argv: tuple[str, ...], timeout: float) -> ExecResult:
        try:
            async with asyncio.timeout(timeout + _ANSWER_SECONDS):
                answer = await self.link.ask("exec", container=container, argv=argv, timeout=timeout)
        except TimeoutError:
            return ExecResult(-1, b"", timed_out=True)
        return ExecResult(answer["exit_code"], bytes.fromhex(answer["output"]), answer["timed_out"])

    async def attach(self, container: str, argv: tuple[str, ...], columns: int, rows: int) -> LinkedTerminal:
        terminal = LinkedTerminal(self.link, self._terminals)
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                await terminal.start(container, argv, columns, rows)
        except TimeoutError:
            raise DriverError(f"no answer within {_ATTACH_SECONDS:g} s") from None
        return terminal

    async def post(
        self, sender: str, socket: tuple[str, str], data: bytes, *, fresh: bool, answered: bool
    ) -> bytes:
        volume, name = socket
        answer = await self.link.ask(
            "post",
            sender=sender,
            volume=volume,
            socket=name,
            fresh=fresh,
            answered=answered,
            data=base64.b64encode(data).decode(),
        )
        return base64.b64decode(answer["data"])

    async def usage(self, container: str) -> Usage:
        return usage_of(await self.link.ask("usage", container=container))

    async def storage(self) -> Storage:
        answer = await self.link.ask("storage")
        if "used" not in answer:
            raise DriverError("this sandbox does not count its storage")
        return Storage(int(answer["used"]), self._spec.ephemeral_bytes)

    def spool(self, container: str) -> Path:
        return self.directory / "spool" / container

    async def destroy(self) -> None:
        if self._ending is None:
            self._destroyed = True
            self._ending = self._later(self._destroy())
        await asyncio.shield(self._ending)  # a cancelled caller does not leave it half done

    async def _destroy(self) -> None:
        try:
            await self.link.ask("destroy")
        except DriverError as error:
            if not isinstance(error, ShimGone):
                log.error("sandbox %s: %s; removing it from outside", self.id, error)
            await self._bury(self)
        await self.let_go()
        self._mark_stopped(None)

    async def let_go(self) -> None:
        """End the connection: the sandbox lives on, but for the commands at terminals."""
        for terminal in list(self._terminals.values()):
            terminal.lost()
        await self.link.close()

    # -- what the shim tells ---------------------------------------------------------------------------

    def _told(self, message: dict[str, Any]) -> None:
        if "terminal" in message:
            if terminal := self._terminals.get(message["terminal"]):
                terminal.told(message)
            return
        self._states = {name: state_of(state) for name, state in message["states"].items()}
        self._notify()

    def _shim_gone(self) -> None:
        for terminal in list(self._terminals.values()):
            terminal.lost()
        if not self._destroyed:
            self._died(self)

    async def reconnect(self) -> None:
        """The connection ended: go on with a new one. Raise OSError or DriverError if there is no shim
        any more.
        """
        broken, self.link = self.link, Link(self._told, self._shim_gone)
        await broken.close()
        await self.link.open(connect(self.directory))

    def lose(self) -> None:
        """The shim is dead: so are its containers (the driver sees to that)."""
        self._lost = True
        self._mark_stopped(137)
        self._notify()

    def remember(self, states: dict[str, ContainerState]) -> None:
        """Of a sandbox found dead: what its shim wrote down last."""
        self._states = states
        self.lose()

    def _mark_stopped(self, code: int | None) -> None:
        for name, state in self._states.items():
            if state.running:
                self._states[name] = ContainerState(
                    name, state.runtime_id, False, None, state.started_at, None, code, False, state.restarts
                )

    def _notify(self) -> None:
        loop = asyncio.get_running_loop()
        for changed in self._watchers:
            loop.call_soon(changed)


def usage_of(told: Mapping[str, Any]) -> Usage:
    """Shims that an older daemon forked tell less."""
    counts = {name: int(told.get(name, 0)) for name in (*_COUNTS, *_NETWORK)}
    memory = {name: int(told[f"memory.{name}"]) for name in cgroup.MEMORY if f"memory.{name}" in told}
    network = Network(**{name: counts.pop(name) for name in _NETWORK})
    return Usage(
        cpu_seconds=float(told["cpu_seconds"]),
        cpu_user_seconds=float(told.get("cpu_user_seconds", 0.0)),
        cpu_system_seconds=float(told.get("cpu_system_seconds", 0.0)),
        memory=memory,
        network=network if network != Network() else None,
        **counts,
    )


def state_of(told: Mapping[str, Any]) -> ContainerState:
    return ContainerState(
        name=told["name"],
        runtime_id=told["runtime_id"],
        running=told["running"],
        pid=told.get("pid"),
        started_at=told.get("started_at"),
        stopped_at=told.get("stopped_at"),
        exit_code=told.get("exit_code"),
        oom_killed=told.get("oom_killed", False),
        restarts=told["restarts"],
    )
