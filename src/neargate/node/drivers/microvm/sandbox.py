"""A sandbox of the microvm tier, seen from the daemon. Made by driver.py.

What a container needs is made inside the machine, by the guest's agent; paths are the guest's.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import ocispec
from neargate.node.guest import places
from neargate.node.linked import LinkedSandbox
from neargate.oci.images import Image

PLACE = ocispec.Place(
    directory=places.DIRECTORY,
    cgroup=places.CGROUP,
    limits={"RLIMIT_NOFILE": 1 << 20},
    init="/usr/bin/tini-static",
    etc=places.ETC,
)
"""In every guest alike (node/guest/agent.py)."""


class MicrovmSandbox(LinkedSandbox):
    def __init__(
        self,
        spec: SandboxSpec,
        directory: Path,
        bury: Callable[[LinkedSandbox], Coroutine[Any, Any, None]],
        died: Callable[[LinkedSandbox], None],
        later: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        super().__init__(spec, directory, PLACE, "crun", bury, died, later)

    async def start(self, container: ContainerSpec, image: Image) -> None:
        await self.ask_start(container, image, str(image.path.resolve()), "")
