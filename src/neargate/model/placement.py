"""Where a task may run: which node has room, which subnet is emptiest. Pure.

Called by control/placement for each waiting task, and by services/ecs to answer RESOURCE:FARGATE at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from neargate.model.capacity import SPOT
from neargate.model.task import Node, Task

NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different availability zone"
)
NO_TIER = "No node offers the isolation tier '{}' that the task demands"
_ARCHITECTURES = {"aarch64": "arm64", "amd64": "x86_64"}


@dataclass(frozen=True, slots=True)
class Room:
    """A node's capacity (overcommitment included) and what is placed on it. CPU units and MiB."""

    node: str
    architecture: str
    cpu: float
    memory: float
    cpu_used: float = 0.0
    memory_used: float = 0.0
    tiers: tuple[str, ...] = ("process",)
    """Isolation tiers; the first is for tasks that demand none."""

    def takes(self, cpu: float, memory: float, architecture: str, tier: str = "") -> bool:
        return (
            (not tier or tier in self.tiers)
            and _architecture(architecture) == _architecture(self.architecture)
            and self.cpu_used + cpu <= self.cpu
            and self.memory_used + memory <= self.memory
        )

    def space(self, cpu: float, memory: float, architecture: str) -> int:
        """How many equal tasks it takes."""
        if not self.takes(cpu, memory, architecture):
            return 0
        return int(min((self.cpu - self.cpu_used) / cpu, (self.memory - self.memory_used) / memory))

    def with_task(self, cpu: float, memory: float) -> "Room":
        return self.with_tasks(cpu, memory, 1)

    def with_tasks(self, cpu: float, memory: float, count: int) -> "Room":
        return replace(
            self, cpu_used=self.cpu_used + cpu * count, memory_used=self.memory_used + memory * count
        )

    @property
    def load(self) -> float:
        """The fuller of the two resources, 0 to 1."""
        return max(self.cpu_used / self.cpu, self.memory_used / self.memory)


def rooms(
    nodes: Iterable[Node],
    used: Mapping[str, tuple[float, float]],
    overcommit_cpu: float,
    overcommit_memory: float,
) -> list[Room]:
    """Rooms of the nodes; `used` is (CPU units, MiB) placed by node id."""
    return [
        Room(
            n.id,
            n.architecture,
            n.cpu_units * overcommit_cpu,
            n.memory_mib * overcommit_memory,
            *used.get(n.id, (0.0, 0.0)),
            n.tiers,
        )
        for n in nodes
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """So many equal tasks on a node, or (with no node) still waiting for one."""

    node: str
    architecture: str
    cpu: float
    memory: float
    count: int
    spot: bool = False
    """They would make room for tasks on demand."""


_SPOT: Final = "/spot"


def size_of(task: Task) -> str | None:
    """Index value by which what is held is counted; None for a task that holds nothing any more."""
    if task.last_status == "STOPPED":
        return None
    size = f"{task.node}/{task.architecture}/{task.cpu}/{task.memory}"
    return size + _SPOT if task.capacity_provider == SPOT else size


def read_size(value: str, count: int) -> Held:
    """What `count` tasks of an index value hold."""
    spot = value.endswith(_SPOT)
    node, architecture, cpu, memory = value.removesuffix(_SPOT).rsplit("/", 3)
    return Held(node, architecture, float(cpu), float(memory), count, spot)


def filled(among: Sequence[Room], held: Iterable[Held]) -> list[Room]:
    """The rooms with all that is held in them. Waiting tasks fill one room after the other: an estimate, at a
    cost that does not grow with their number."""
    left = {room.node: room for room in among}
    for item in sorted(held, key=lambda item: item.node == ""):
        if item.node:
            if item.node in left:
                left[item.node] = left[item.node].with_tasks(item.cpu, item.memory, item.count)
            continue
        waiting = item.count
        for room in list(left.values()):
            taken = min(waiting, room.space(item.cpu, item.memory, item.architecture))
            left[room.node] = room.with_tasks(item.cpu, item.memory, taken)
            waiting -= taken
    return list(left.values())


def choose(
    cpu: float, memory: float, architecture: str, among: Sequence[Room], tier: str = ""
) -> Room | None:
    """The least loaded room that takes the task, or None. tier -- the one it demands, if any."""
    fitting = [room for room in among if room.takes(cpu, memory, architecture, tier)]
    return min(fitting, key=lambda room: (room.load, room.node)) if fitting else None


def fits(
    cpu: float, memory: float, architecture: str, count: int, among: Sequence[Room], tier: str = ""
) -> int:
    """How many of `count` equal tasks find room."""
    left = {room.node: room for room in among}
    for placed in range(count):
        room = choose(cpu, memory, architecture, list(left.values()), tier)
        if room is None:
            return placed
        left[room.node] = room.with_task(cpu, memory)
    return count


def emptiest(candidates: Sequence[str], held: Mapping[str, int], free: Mapping[str, int]) -> str | None:
    """The subnet that holds the fewest interfaces and has an address left; None if all are full."""
    open_ = [subnet for subnet in candidates if free.get(subnet, 0) > 0]
    return min(open_, key=lambda subnet: held.get(subnet, 0)) if open_ else None


def _architecture(name: str) -> str:
    name = name.lower()
    return _ARCHITECTURES.get(name, name)
