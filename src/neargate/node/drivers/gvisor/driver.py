"""The gVisor tier: which platform runsc runs on here, and what its sandboxes are held to.

Called by node/runner through drivers/base. All else it does is node/shimmed's.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from neargate.model.sandbox import SandboxSpec, has_router
from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.gvisor import runsc, verdict
from neargate.node.drivers.gvisor.sandbox import GvisorSandbox, memory_of, sole_of
from neargate.node.shimmed import ShimDriver

log = logging.getLogger(__name__)

_MIB = 1 << 20
_SANDBOX_BYTES, _CONTAINER_BYTES = 64 * _MIB, 24 * _MIB
"""What the sandbox itself takes, on top of its task's memory (27 MiB idle, 19 for each file server)."""
_PROBE_SECONDS = 8.0
"""Some machines have a /dev/kvm on which a guest hangs."""
_SANDBOX_THREADS = 512
"""Threads of the sandbox itself, on top of its task's processes."""


class GvisorDriver(ShimDriver):
    name = "gvisor"
    zygote = "neargate.node.drivers.gvisor.zygote"
    sandbox = GvisorSandbox
    own_disks = True

    def __init__(
        self,
        root: Path,
        instance: str,
        vpc_cidr: str,
        *,
        platform: str | None = None,
        verdict: Path | None = None,
        retry: bool = True,
    ) -> None:
        """platform -- systrap, kvm or ptrace; None takes the first that works.
        verdict -- where it is kept which one that was; None keeps it in the driver's directory.
        retry -- try again where an earlier start found that none works."""
        super().__init__(root, instance, vpc_cidr)
        self._wish = platform
        self._platform = ""
        self._verdict = verdict or root / "verdict.json"
        self._retry = retry

    def check_tools(self) -> None:
        runsc.check_tools()

    async def choose(self) -> None:
        self._runtime = "runsc"
        await asyncio.to_thread(self._make_pause_root)
        key = verdict.key(await asyncio.to_thread(runsc.version))
        known = verdict.read(self._verdict, key)
        if known is None or self._wish or (self._retry and not known.platform):
            known = await self._try()
            if not self._wish:
                verdict.write(self._verdict, key, known)
        if not known.platform:
            raise DriverUnavailable(f"gvisor tier: runsc runs no sandbox here: {known.cause}")
        self._platform = known.platform

    async def _try(self) -> verdict.Verdict:
        """Run a sandbox for real, on each platform until it does."""
        causes = []
        for platform in await asyncio.to_thread(runsc.platforms, self._wish):
            self._platform = platform
            cause = await self.probe(_PROBE_SECONDS)
            if cause is None:
                return verdict.Verdict(platform)
            log.info("gvisor tier: platform %s does not work: %s", platform, cause)
            causes.append(f"{platform}: {cause}")
        return verdict.Verdict("", "; ".join(causes) or "it has none of the platforms known")

    def _make_pause_root(self) -> None:
        """The root file system of the container that holds a sandbox open: a shell, in an empty directory."""
        target = self._pause_root / "busybox"
        if not target.exists():
            self._pause_root.mkdir(parents=True, exist_ok=True, mode=0o755)
            draft = target.with_suffix(".new")
            shutil.copy(runsc.BUSYBOX, draft)
            draft.replace(target)

    @property
    def _pause_root(self) -> Path:
        return self._root.resolve() / "pause"

    def setup(self, spec: SandboxSpec) -> dict[str, object]:
        memory = memory_of(spec)
        overhead = _SANDBOX_BYTES + _CONTAINER_BYTES * (1 + len(spec.containers))
        return {
            "runtime": runsc.command(self._platform, sockets=has_router(spec)),
            "memory": memory + overhead,
            "pids": spec.pids + _SANDBOX_THREADS,
            "checks_modes": True,
            "sentry": {"root": str(self._pause_root), "memory": memory, "sole": sole_of(spec)},
        }
