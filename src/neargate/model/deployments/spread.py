"""In which zone a service's next task starts and its next one stops. Pure.

Called by rolling.py. AWS: starts go to the zone with the fewest tasks, stops to the one with the most.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from neargate.model.deployments.copies import Copy


def held(copies: Iterable[Copy], zones: Sequence[str]) -> Counter[str]:
    """How many copies each zone has; those of other zones count as well."""
    counts = Counter({zone: 0 for zone in zones})
    counts.update(copy.zone for copy in copies)
    return counts


def starts(count: int, zones: Sequence[str], own: Iterable[Copy], others: Iterable[Copy] = ()) -> list[str]:
    """The zones of so many new copies. own -- of the same deployment: spread among themselves first."""
    if not zones:
        return [""] * count
    mine, all_ = held(own, zones), held(others, zones)
    chosen = []
    for _ in range(count):
        zone = min(zones, key=lambda z: (mine[z], mine[z] + all_[z], zones.index(z)))
        mine[zone] += 1
        chosen.append(zone)
    return chosen


def stops(count: int, candidates: Sequence[Copy], live: Iterable[Copy]) -> list[Copy]:
    """Which of the candidates stop: pending before running before healthy; then in the fullest zone; then
    the newest."""
    counts = Counter(copy.zone for copy in live)
    left = list(candidates)
    chosen: list[Copy] = []
    while left and len(chosen) < count:
        copy = min(left, key=lambda c: (_worth(c), -counts[c.zone], -c.created_at, c.arn))
        left.remove(copy)
        counts[copy.zone] -= 1
        chosen.append(copy)
    return chosen


def _worth(copy: Copy) -> int:
    return 2 if copy.healthy else int(copy.running)


def uneven(counts: Mapping[str, int], zones: Sequence[str]) -> bool:
    """Whether moving a copy from the fullest of the zones to the emptiest would help."""
    return len(zones) > 1 and max(counts[z] for z in zones) - min(counts[z] for z in zones) > 1
