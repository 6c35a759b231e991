"""A sandbox of the gVisor tier, seen from the daemon: says what of a container's settings has no effect here.

Made by node/shimmed for driver.py.
"""

import logging
from collections.abc import Iterator

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.shimmed import ShimSandbox
from neargate.oci.images import Image

log = logging.getLogger(__name__)


class GvisorSandbox(ShimSandbox):
    async def start(self, container: ContainerSpec, image: Image) -> None:
        for note in notes(self._spec, container):
            log.warning("container %s: %s", container.name, note, extra={"sandbox": self.id})
        await super().start(container, image)


def notes(task: SandboxSpec, container: ContainerSpec) -> Iterator[str]:
    if container.sysctls:
        names = ", ".join(name for name, _ in container.sysctls)
        yield f"the gvisor tier has no settable kernel parameters: {names} stays as it is"
    if container.memory and memory_of(task) != container.memory:
        yield "the gvisor tier holds the containers of a task to one memory limit, that of all together"


def memory_of(task: SandboxSpec) -> int:
    """What the sandbox is held to: the task's memory, or less if all containers together have less."""
    limits = [container.memory for container in task.containers]
    if not limits or not all(limits):
        return task.memory
    return min(task.memory, sum(limit or 0 for limit in limits))


def sole_of(task: SandboxSpec) -> str:
    """Name of the container that the sandbox is there for alone, if there is one: it need not outlive it."""
    return task.containers[0].name if len(task.containers) == 1 and not task.shared_pid else ""
