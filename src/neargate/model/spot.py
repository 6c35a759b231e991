"""FARGATE_SPOT: which tasks are interrupted when one on demand finds no room, or somebody asks. Pure.

Called by control/placement and control/spot. The youngest go first; none goes that need not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from neargate.model.capacity import SPOT
from neargate.model.placement import Held, Room, filled, fits
from neargate.model.task import Task

STOP_CODE: Final = "SpotInterruption"


@dataclass(frozen=True, slots=True)
class Resident:
    """A Spot task on a node. CPU units and MiB."""

    arn: str
    node: str
    cpu: float
    memory: float
    begun: float
    leaving: bool
    """It has been interrupted already; its room is free once it is gone."""


@dataclass(frozen=True, slots=True)
class Vacated:
    """A node that will have room."""

    node: str
    victims: tuple[str, ...]
    """ARNs of the tasks to interrupt; none if those that are leaving suffice."""


def is_spot(task: Task) -> bool:
    return task.capacity_provider == SPOT


def vacate(
    cpu: float,
    memory: float,
    architecture: str,
    tier: str,
    among: Iterable[Room],
    residents: Sequence[Resident],
) -> Vacated | None:
    """Where a task that finds no room may have it once Spot tasks are gone; None: nowhere."""
    found: list[Vacated] = []
    for room in among:
        here = sorted((r for r in residents if r.node == room.node), key=lambda r: (-r.begun, r.arn))
        for resident in here:
            if resident.leaving:
                room = _without(room, resident)
        victims: list[Resident] = []
        for resident in (r for r in here if not r.leaving):
            if room.takes(cpu, memory, architecture, tier):
                break
            room = _without(room, resident)
            victims.append(resident)
        if not room.takes(cpu, memory, architecture, tier):
            continue
        for resident in list(victims):
            back = room.with_task(resident.cpu, resident.memory)
            if back.takes(cpu, memory, architecture, tier):
                room = back
                victims.remove(resident)
        found.append(Vacated(room.node, tuple(victim.arn for victim in victims)))
    return min(found, key=lambda it: (len(it.victims), it.node), default=None)


def _without(room: Room, resident: Resident) -> Room:
    return replace(
        room, cpu_used=room.cpu_used - resident.cpu, memory_used=room.memory_used - resident.memory
    )


def replaced(resident: Resident, victims: Sequence[str]) -> Resident:
    """The resident, leaving if it is one of the victims."""
    return replace(resident, leaving=True) if resident.arn in victims else resident


def admitted(
    spots: Sequence[bool],
    cpu: float,
    memory: float,
    architecture: str,
    tier: str,
    among: Sequence[Room],
    held: Sequence[Held],
) -> list[bool]:
    """Which of some equal new tasks find room, each on Spot or on demand; among -- empty rooms.

    Those on demand may have that of Spot tasks.
    """
    on_demand = sum(1 for spot in spots if not spot)
    whole, vacated = filled(among, held), filled(among, [it for it in held if not it.spot])
    taken = fits(cpu, memory, architecture, on_demand, vacated, tier)
    now = fits(cpu, memory, architecture, on_demand, whole, tier)
    rest = fits(cpu, memory, architecture, now + len(spots) - on_demand, whole, tier) - now
    left = {False: taken, True: rest}
    result = []
    for spot in spots:
        result.append(left[spot] > 0)
        left[spot] -= 1
    return result


def youngest(tasks: Iterable[Task], count: int | None) -> list[Task]:
    """Those to interrupt of tasks that may be, at most `count`."""
    found = [task for task in tasks if is_spot(task) and task.desired_status == "RUNNING"]
    return sorted(found, key=lambda task: (-task.created_at, task.arn))[:count]
