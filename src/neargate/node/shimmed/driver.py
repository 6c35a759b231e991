"""A driver whose sandboxes are shims: gets the machine ready, opens, adopts and sweeps sandboxes.

Base of the process and the gVisor tier; called by node/runner through drivers/base. Next: zygote.py forks a
shim per sandbox, sandbox.py speaks with it. Everything made carries the daemon's instance: cgroup root,
firewall table, interface names, process names.
"""

import abc
import asyncio
import contextlib
import json
import logging
import socket
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from neargate.model.sandbox import VOLUME_FAILED, SandboxSpec, to_builtins
from neargate.node import cgroup, ocispec, seccomp
from neargate.node.drivers.base import DriverError, DriverUnavailable, RangeTaken
from neargate.node.link import ShimGone, connect
from neargate.node.linked import LinkedSandbox, state_of
from neargate.node.network import claims, firewall
from neargate.node.network.interface import host_names
from neargate.node.network.nft import FirewallError
from neargate.node.shimmed import disks, leftovers, machine, probe
from neargate.node.shimmed.sandbox import ShimSandbox
from neargate.node.shimmed.zygote import Zygote, ZygoteGone
from neargate.oci.images import Image

log = logging.getLogger(__name__)


class ShimDriver(abc.ABC):
    name: str
    zygote = "neargate.node.shim.zygote"
    """The module of the process that forks its shims."""
    sandbox: type[ShimSandbox] = ShimSandbox
    own_disks = False
    """Its shims make the sandboxes' disks (shim/disk.py); else the tier does so itself."""
    _up: ClassVar[Counter[str]] = Counter()
    """How many drivers are open, by instance: those of one daemon share claim, firewall and cgroup root."""

    def __init__(self, root: Path, instance: str, vpc_cidr: str) -> None:
        """root -- the driver's own directory. instance -- six hexadecimal digits; other daemons have
        others."""
        self.tiers: Sequence[str] = (self.name,)
        self._root = root
        self._instance = instance
        self._vpc_cidr = vpc_cidr
        self._runtime = ""
        """What runs the containers; `choose` sets it."""
        self._images: dict[str, asyncio.Task[None]] = {}
        self._zygote = Zygote(instance, root / "images", self.zygote)
        self._disks = disks.Templates(root / "disks")
        self._sandboxes: dict[str, LinkedSandbox] = {}
        self._restarting = asyncio.Lock()
        self._removing: dict[str, asyncio.Lock] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._limits = machine.limits()

    # -- what a tier adds ------------------------------------------------------------------------------

    @abc.abstractmethod
    def check_tools(self) -> None:
        """Raise DriverUnavailable with what to install."""

    @abc.abstractmethod
    async def choose(self) -> None:
        """Take the best way of running containers that works here. Raise DriverUnavailable."""

    @abc.abstractmethod
    def setup(self, spec: SandboxSpec) -> dict[str, object]:
        """The tier's own part of what a shim is told at its birth."""

    async def probe(self, seconds: float = 20.0) -> str | None:
        """Why a container cannot be run as things are chosen now; None if it can."""
        return await probe.failure(self, self._root, seconds)

    # -- the machine -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        machine.check_tools()
        self.check_tools()
        if self.own_disks:
            disks.check_tools()
        if taken := claims.take(self._instance, self._vpc_cidr):
            raise RangeTaken(
                f"the VPC range {self._vpc_cidr} overlaps {taken}: choose another (NEARGATE_VPC_CIDR)"
            )
        try:
            for name in ("shims", "trash"):
                (self._root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            await self._zygote.start()
            await asyncio.to_thread(seccomp.bpf, ocispec.CAPABILITIES)
            machine.enable_forwarding()
            await firewall.install(self._instance, self._vpc_cidr)
            await self.choose()
        except (OSError, FirewallError) as error:
            await self._give_up()
            raise DriverUnavailable(f"{self.name} tier: {error}") from error
        except BaseException:
            await self._give_up()
            raise
        self._up[self._instance] += 1
        return self

    async def _give_up(self) -> None:
        """Let go of the machine. Without any task there is nothing to come back for."""
        await self._zygote.stop()
        if not self._up[self._instance] and not leftovers.find(self._root, self._instance):
            await self.teardown()  # else other drivers, or running tasks, still need the rules

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sandbox in self._sandboxes.values():
            await sandbox.let_go()
        self._sandboxes.clear()
        if self._errands:
            await asyncio.wait(self._errands)
        self._up[self._instance] -= 1
        await self._give_up()

    async def teardown(self) -> None:
        claims.release(self._instance, self._vpc_cidr)
        with contextlib.suppress(FirewallError):
            await firewall.remove(self._instance)
        root = cgroup.Group(cgroup.root_name(self._instance))
        for _ in range(200):  # the last shims are on their way out
            if root.remove():
                break
            await asyncio.sleep(0.01)

    # -- sandboxes -------------------------------------------------------------------------------------

    async def open(self, spec: SandboxSpec, directory: Path) -> LinkedSandbox:
        if (self._root / "shims" / spec.id).exists():
            await self._remove(spec.id)
        sandbox = self._sandbox(spec, directory)
        try:
            template = str(await self._disks.of(spec.ephemeral_bytes)) if self.own_disks else ""
            connection = await self._fork(self._setup(spec, directory) | {"disk": template})
            await sandbox.link.open(connection)
        except BaseException as error:
            await asyncio.shield(self._later(self._remove(spec.id)))
            if isinstance(error, DriverError):
                told = str(error)
                known = told.startswith(VOLUME_FAILED)
                raise DriverError(told if known else f"cannot make the sandbox: {told}") from None
            raise
        self._sandboxes[spec.id] = sandbox
        return sandbox

    async def _fork(self, setup: dict[str, object]) -> socket.socket:
        try:
            return await self._zygote.fork(setup)
        except ZygoteGone as error:
            log.error("%s; starting another", error)
        async with self._restarting:
            if not self._zygote.alive:
                await self._zygote.stop()
                self._images.clear()
                await self._zygote.start()
        return await self._zygote.fork(setup)

    async def adopt(self, spec: SandboxSpec, directory: Path) -> LinkedSandbox | None:
        sandbox = self._sandbox(spec, directory)
        try:
            await sandbox.link.open(connect(directory))
        except (OSError, ShimGone):
            return await self._adopt_dead(sandbox)
        self._sandboxes[spec.id] = sandbox
        return sandbox

    async def _adopt_dead(self, sandbox: LinkedSandbox) -> LinkedSandbox | None:
        """A dead shim's sandbox: None if nothing ever ran in it, else a lost one with what was known."""
        try:
            kept = json.loads((sandbox.directory / "states.json").read_text())["states"]
        except (OSError, ValueError, KeyError):
            kept = {}
        await self._remove(sandbox.id)
        if not kept:
            return None
        sandbox.remember({name: state_of(state) for name, state in kept.items()})
        return sandbox

    async def sweep(self, keep: Collection[str]) -> None:
        found = await asyncio.to_thread(leftovers.find, self._root, self._instance)
        for sandbox in found - set(keep):
            live = self._sandboxes.get(sandbox)
            if live:
                await live.destroy()
            await self._remove(sandbox)
        await asyncio.to_thread(
            leftovers.sweep_links, self._instance, {n for k in keep for n in self._names(k)}
        )
        await asyncio.to_thread(leftovers.empty_trash, self._root)
        await self._forget_images()

    def _sandbox(self, spec: SandboxSpec, directory: Path) -> LinkedSandbox:
        place = ocispec.Place(
            directory=str(directory.resolve()),
            cgroup=self._group(spec.id),
            limits=self._limits,
            init=machine.INIT,
        )
        return self.sandbox(spec, place, self._runtime, self._mounted, self._bury, self._lost, self._later)

    def _group(self, sandbox: str) -> str:
        return f"{cgroup.root_name(self._instance)}/{sandbox}"

    def _names(self, sandbox: str) -> list[str]:
        return host_names(self._instance, sandbox)

    def _setup(self, spec: SandboxSpec, directory: Path) -> dict[str, object]:
        interface = spec.interface and {
            "names": self._names(spec.id),
            "mac": spec.interface.mac,
            "address": spec.interface.address,
            "gateway": spec.interface.gateway,
        }
        return {
            "id": spec.id,
            "instance": self._instance,
            "directory": str(directory.resolve()),
            "record": str((self._root / "shims" / spec.id).resolve()),
            "images": str((self._root / "images").resolve()),
            "trash": str((self._root / "trash").resolve()),
            "cgroup": self._group(spec.id),
            "uid_base": 0,
            "stage": machine.stage(self._root),
            "v2": cgroup.is_v2(),
            "memory": spec.memory,
            "cpu": spec.cpu,
            "pids": spec.pids,
            "interface": interface,
            "files": ocispec.files_of(spec),
            "shared_pid": spec.shared_pid,
            "shared": [to_builtins(volume) for volume in spec.shared_volumes],
            **self.setup(spec),
        }

    # -- images ----------------------------------------------------------------------------------------

    async def _mounted(self, image: Image) -> Path:
        """Mount an image for all, once."""
        target = self._root.resolve() / "images" / image.path.stem.replace(":", "-")
        key = str(image.path)
        waiting = self._images.get(key)
        if waiting is None or (waiting.done() and (waiting.cancelled() or waiting.exception())):
            waiting = self._images[key] = asyncio.ensure_future(
                self._zygote.mount(image.path.resolve(), target)
            )
        await asyncio.shield(waiting)
        return target

    async def _forget_images(self) -> None:
        for path in [p for p in self._images if not Path(p).exists()]:
            del self._images[path]
            await self._zygote.unmount(self._root.resolve() / "images" / Path(path).stem.replace(":", "-"))

    # -- ends ------------------------------------------------------------------------------------------

    def _lost(self, sandbox: LinkedSandbox) -> None:
        self._later(self._mourn(sandbox))

    async def _mourn(self, sandbox: LinkedSandbox) -> None:
        """Its connection ended. If the shim is dead, its containers lost their parent, so they go too."""
        with contextlib.suppress(OSError, DriverError):
            await sandbox.reconnect()
            return
        sandbox.lose()
        await self._bury(sandbox)

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that goes on when its caller is cancelled; __aexit__ waits for it."""
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    async def _bury(self, sandbox: LinkedSandbox) -> None:
        await self._remove(sandbox.id)

    async def _remove(self, sandbox: str) -> None:
        self._sandboxes.pop(sandbox, None)
        async with self._removing.setdefault(sandbox, asyncio.Lock()):
            await asyncio.to_thread(leftovers.remove, self._root, self._instance, sandbox)
        self._removing.pop(sandbox, None)
