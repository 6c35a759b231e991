"""The microvm tier: a virtual machine per task, cloned from a template of its size.

Called by node/runner through drivers/base. What it shares with the tiers of shims is node/shimmed's: a
machine's supervisor (vmm/) is its shim. Here: which VMM runs them (monitors.py), the guest image, templates,
and clones kept ready.
"""

import asyncio
import logging
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from neargate.kit import kvm
from neargate.model.sandbox import SandboxSpec
from neargate.node import ocispec
from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.microvm import guest_image, verdict
from neargate.node.drivers.microvm.monitors import Firecracker, Monitor, Programs, Qemu, programs
from neargate.node.drivers.microvm.ready import ReadyClones, remove_disks
from neargate.node.drivers.microvm.sandbox import MicrovmSandbox
from neargate.node.drivers.microvm.templates import Templates, prune, size_of, uid_of
from neargate.node.linked import LinkedSandbox
from neargate.node.shimmed import ShimDriver, disks
from neargate.node.shimmed.zygote import ZygoteGone

log = logging.getLogger(__name__)

_TUN = Path("/dev/net/tun")
_PROBE_SECONDS = 30.0
_BIRTHS_PER_PROCESSOR = 2
"""More at once would only make each of them late."""


class MicrovmDriver(ShimDriver):
    name = "microvm"
    zygote = "neargate.node.drivers.microvm.vmm.zygote"

    def __init__(
        self,
        root: Path,
        instance: str,
        vpc_cidr: str,
        cache: Path,
        accelerator: str = "auto",
        ready: int = 0,
        vmm: str = "auto",
    ) -> None:
        """cache -- where guest images and templates are kept, for all daemons of the machine.
        accelerator -- kvm, tcg (software emulation), or auto: kvm if it boots a guest here, else tcg.
        ready -- how many clones of each size in use are kept ready.
        vmm -- qemu, firecracker, or auto: firecracker if it is here and boots a guest, else qemu."""
        super().__init__(root, instance, vpc_cidr)
        self._cache = cache
        self._wish = accelerator
        self._vmm_wish = vmm
        self._verdict = cache / "kvm.json"
        self._firecracker_verdict = cache / "firecracker.json"
        self._monitor: Monitor | None = None
        self._templates: Templates | None = None
        self.ready = ReadyClones(ready, root, self._cold_fork)
        self._births = asyncio.Semaphore(_BIRTHS_PER_PROCESSOR * (os.cpu_count() or 1))
        self._made_of: dict[str, dict[str, Any]] = {}

    def check_tools(self) -> None:
        """What can be said before anything that takes time."""
        if not _TUN.exists():
            raise DriverUnavailable(f"microvm tier: this machine has no {_TUN}")
        if self._perhaps_firecracker():
            return
        known = verdict.read(self._verdict, guest_image.fingerprint())
        if known and self._wish == "kvm":
            raise DriverUnavailable(f"microvm tier: KVM boots no guest here: {known}")

    def _perhaps_firecracker(self) -> bool:
        """Is it yet to be tried, or known to work? Raise DriverUnavailable if it is wanted and cannot be."""
        if self._vmm_wish == "qemu":
            return False
        try:
            if self._wish == "tcg":
                raise DriverUnavailable("it emulates nothing in software")
            known = verdict.read(self._firecracker_verdict, programs().fingerprint())
            if known:
                raise DriverUnavailable(f"it boots no guest here: {known}")
        except DriverUnavailable as error:
            if self._vmm_wish == "firecracker":
                raise DriverUnavailable(f"microvm tier: Firecracker is wanted, but {error}") from None
            return False
        return True

    async def choose(self) -> None:
        await asyncio.to_thread(remove_disks, self._root)
        if not (self._perhaps_firecracker() and await self._boots_firecracker(programs())):
            await self._choose_qemu()
        for name in ("guests", "templates"):
            await asyncio.to_thread(prune, self._cache / name)

    async def _boots_firecracker(self, found: Programs) -> bool:
        """Set it up. Raise DriverUnavailable if it is wanted and boots no guest."""
        key = found.fingerprint()
        known = verdict.read(self._firecracker_verdict, key)
        cause = await asyncio.to_thread(kvm.failure) if known is None else known
        if not cause:
            guests = self._cache / "guests"
            image = await asyncio.to_thread(guest_image.prepare_for_firecracker, guests)
            self._use(Firecracker(image, found))
            if known is None and (cause := await self.probe(_PROBE_SECONDS)) and self._templates:
                await self._templates.close()
        if known is None:
            await asyncio.to_thread(verdict.write, self._firecracker_verdict, key, cause or "")
        if cause and self._vmm_wish == "firecracker":
            raise DriverUnavailable(
                f"microvm tier: Firecracker is wanted, but it boots no guest here: {cause}"
            )
        if cause:
            log.warning("Firecracker is here, but boots no guest: %s", cause)
        return not cause

    async def _choose_qemu(self) -> None:
        key = guest_image.fingerprint()
        known = verdict.read(self._verdict, key)
        image = await asyncio.to_thread(guest_image.prepare, self._cache / "guests")
        vmm_root = self._root / "images" / f"vmm-{image.key}"
        if known is None and self._wish != "tcg":
            known = await asyncio.to_thread(kvm.failure)
            if not known:
                self._use(Qemu(image, vmm_root, "kvm"))
                known = await self.probe(_PROBE_SECONDS) or ""
                known += kvm.remark() if known else ""
            await asyncio.to_thread(verdict.write, self._verdict, key, known)
        cause = None if self._wish == "tcg" else known
        if cause and self._wish == "kvm":
            raise DriverUnavailable(f"microvm tier: KVM boots no guest here: {cause}")
        if cause:
            log.warning("microVMs are emulated in software, and slow: KVM boots no guest here: %s", cause)
        self._use(Qemu(image, vmm_root, "tcg" if cause or self._wish == "tcg" else "kvm"))

    def _use(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._templates = Templates(self._cache / "templates", monitor, self._cold_fork, self._disks.of)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ready.close()
        if self._templates:
            await self._templates.close()
        await super().__aexit__(kind, error, trace)

    # -- sandboxes -------------------------------------------------------------------------------------

    async def open(self, spec: SandboxSpec, directory: Path) -> LinkedSandbox:
        template = await self.template(spec)
        own_size = spec.ephemeral_bytes != disks.DEFAULT_BYTES
        scratch = str((await self._disks.of(spec.ephemeral_bytes)).resolve()) if own_size else ""
        self._made_of[spec.id] = {"template": template, "scratch": scratch}
        async with self._births:
            sandbox = await super().open(spec, directory)
        self.ready.fill(template)
        return sandbox

    async def template(self, spec: SandboxSpec) -> dict[str, Any]:
        """What a sandbox's machine is cloned from; made now if there is none of its size."""
        assert self._templates
        return await self._templates.get(size_of(spec))

    def setup(self, spec: SandboxSpec) -> dict[str, object]:
        return {
            **self._made_of.pop(spec.id),
            "hostname": ocispec.hostname_of(spec),
            "networked": spec.interface is not None,
            "uid": uid_of(spec.id),
        }

    def _sandbox(self, spec: SandboxSpec, directory: Path) -> MicrovmSandbox:
        return MicrovmSandbox(spec, directory, self._bury, self._lost, self._later)

    async def _fork(self, setup: dict[str, object]) -> socket.socket:
        template = setup["template"]
        assert isinstance(template, dict)
        waiting = await self.ready.take(template, setup) if setup["networked"] else None
        return waiting or await self._cold_fork(setup)

    async def _cold_fork(self, setup: dict[str, object]) -> socket.socket:
        try:
            return await self._prepared_fork(setup)
        except ZygoteGone as error:
            log.error("%s; starting another", error)
        async with self._restarting:
            if not self._zygote.alive:
                await self._zygote.stop()
                await self._zygote.start()
        return await self._prepared_fork(setup)

    async def _prepared_fork(self, setup: dict[str, Any]) -> socket.socket:
        """A zygote just started has neither QEMU's root mounted nor any template's memory."""
        if isinstance(self._monitor, Qemu):
            await self._zygote.mount(self._monitor.image.vmm_root.resolve(), Path(setup["template"]["root"]))
        if not setup.get("make"):
            about = setup["template"]
            await self._zygote.ask({"op": "hold", "directory": about["directory"], "vmm": about["vmm"]})
        return await self._zygote.fork(setup)
