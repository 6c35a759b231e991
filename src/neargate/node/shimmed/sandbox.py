"""A sandbox that a shim owns, seen from the daemon. Made by driver.py.

Everything that takes a system call of weight happens in the shim (node/shim/main.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import ocispec
from neargate.node.linked import LinkedSandbox
from neargate.oci.images import Image


class ShimSandbox(LinkedSandbox):
    def __init__(
        self,
        spec: SandboxSpec,
        place: ocispec.Place,
        runtime: str,
        mounted: Callable[[Image], Awaitable[Path]],
        bury: Callable[[LinkedSandbox], Coroutine[Any, Any, None]],
        died: Callable[[LinkedSandbox], None],
        later: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """mounted -- where an image is mounted, for all."""
        super().__init__(spec, Path(place.directory), place, runtime, bury, died, later)
        self._mounted = mounted

    async def start(self, container: ContainerSpec, image: Image) -> None:
        lower = await self._mounted(image)
        await self.ask_start(container, image, str(image.path), str(lower))
