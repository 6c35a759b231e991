"""The process tier: which OCI runtime, and user namespaces where they work.

Called by node/runner through drivers/base. All else it does is node/shimmed's.
"""

import asyncio
import logging
from pathlib import Path

from neargate.model.sandbox import SandboxSpec
from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.process import machine
from neargate.node.drivers.process.bases import Bases
from neargate.node.linked import LinkedSandbox
from neargate.node.shimmed import ShimDriver

log = logging.getLogger(__name__)


class ProcessDriver(ShimDriver):
    name = "process"
    own_disks = True

    def __init__(
        self,
        root: Path,
        instance: str,
        vpc_cidr: str,
        runtime: str | None = None,
        user_namespaces: bool | None = None,
    ) -> None:
        """runtime -- crun or runc; None takes the first that works.
        user_namespaces -- None uses them where they work."""
        super().__init__(root, instance, vpc_cidr)
        self._wishes = (runtime, user_namespaces)
        self._user_namespaces = False
        self._bases = Bases(root / "shims")

    def check_tools(self) -> None:
        machine.candidates(*self._wishes)

    async def choose(self) -> None:
        await asyncio.to_thread(self._bases.find)
        cause: str | None = ""
        for runtime, mapped in machine.candidates(*self._wishes):
            self._runtime, self._user_namespaces = runtime, mapped
            cause = await self.probe()
            if cause is None:
                return
            users = "with" if mapped else "without"
            log.warning("process tier: %s %s user namespaces does not work: %s", runtime, users, cause)
        raise DriverUnavailable(f"process tier: no container can be run here: {cause}")

    async def open(self, spec: SandboxSpec, directory: Path) -> LinkedSandbox:
        try:
            return await super().open(spec, directory)
        finally:
            self._bases.settle(spec.id)

    def setup(self, spec: SandboxSpec) -> dict[str, object]:
        return {
            "runtime": machine.command(self._runtime),
            "uid_base": self._bases.take(spec.id) if self._user_namespaces else 0,
        }
