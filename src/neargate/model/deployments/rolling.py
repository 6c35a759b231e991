"""Which tasks of a service start and stop now: rolling updates, replacement, scaling, rebalancing. Pure.

Called by control/services with what is there at the moment; it remembers nothing, so that it goes on from
wherever the world is. Of a strategy that shifts traffic, each deployment is a service of its own here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neargate.model.deployments import spread
from neargate.model.deployments.copies import Copy, Limits


@dataclass(frozen=True, slots=True)
class Wanted:
    desired: int
    limits: Limits
    primary: str
    """Id of the deployment that all tasks are to be of."""
    may_start: frozenset[str]
    """Deployments that may start tasks at this moment."""
    failed: bool = False
    """The primary deployment has failed: it starts nothing, what is there is kept."""
    held: Mapping[str, int] = field(default_factory=dict)
    """How many tasks each older deployment still has to keep; the newest first."""
    zones: Sequence[str] = ()
    rebalance: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    starts: tuple[tuple[str, str], ...] = ()
    """(deployment, zone) of each."""
    stops: tuple[Copy, ...] = ()
    unhealthy: tuple[Copy, ...] = ()
    """Stopped because their health checks failed."""
    held: Mapping[str, int] = field(default_factory=dict)
    """As in Wanted, after this."""


def plan(wanted: Wanted, copies: Sequence[Copy]) -> Decision:
    new = [c for c in copies if c.deployment == wanted.primary]
    old = [c for c in copies if c.deployment != wanted.primary]
    room = max(0, wanted.limits.ceiling - len(copies))
    again = _kept_up(wanted, new, old, room)
    room -= len(again)
    missing = max(0, wanted.desired - _good(new))
    fresh = min(missing, room) if _starts(wanted, wanted.primary) else 0
    short = missing - fresh if _starts(wanted, wanted.primary) else 0
    sick = _sick(wanted, new, old, short)
    gone = {c.arn for c in sick}
    surplus = _surplus(wanted, [c for c in new if c.arn not in gone])
    outdated = _outdated(
        wanted, new, [c for c in old if c.arn not in gone], max(0, short - len(sick)), len(surplus)
    )
    zones = spread.starts(fresh, wanted.zones, new, old)
    moved = _moved(wanted, copies) if not (again or fresh or sick or surplus or outdated) else []
    stops = (*surplus, *outdated)
    return Decision(
        starts=(*again, *((wanted.primary, zone) for zone in (*zones, *moved))),
        stops=stops,
        unhealthy=tuple(sick),
        held=_held(wanted, stops),
    )


def blocked(wanted: Wanted, copies: Sequence[Copy]) -> bool:
    """Whether the limits themselves are in a deployment's way: rounded, they leave no task to stop, and none
    to start."""
    full = len(copies) >= wanted.limits.ceiling and wanted.limits.floor >= wanted.limits.ceiling
    return full and not wanted.failed and any(c.deployment != wanted.primary for c in copies)


def _good(copies: Iterable[Copy]) -> int:
    return sum(1 for c in copies if not c.bad)


def _healthy(copies: Iterable[Copy]) -> int:
    return sum(1 for c in copies if c.healthy)


def _starts(wanted: Wanted, deployment: str) -> bool:
    return deployment in wanted.may_start and not (wanted.failed and deployment == wanted.primary)


def _kept_up(wanted: Wanted, new: Sequence[Copy], old: Sequence[Copy], room: int) -> list[tuple[str, str]]:
    """Older deployments replace what they lost, from their own revision, as far as the floor needs them (or
    all that they hold, when the new one has failed)."""
    reach = wanted.desired if wanted.failed else wanted.limits.floor
    lacking = min(room, reach - _healthy(new) - _good(old))
    starts: list[tuple[str, str]] = []
    for deployment, held in wanted.held.items():
        own = [c for c in old if c.deployment == deployment]
        count = min(lacking - len(starts), held - _good(own))
        if count > 0 and _starts(wanted, deployment):
            starts += [(deployment, z) for z in spread.starts(count, wanted.zones, own, new)]
    return starts


def _sick(wanted: Wanted, new: Sequence[Copy], old: Sequence[Copy], short: int) -> list[Copy]:
    """Unhealthy tasks that stop now. One that never was healthy goes at once; another waits until its
    replacement is healthy, or goes (one at a time) if there is no room to start one first."""
    stoppable = [c for c in (*old, *new) if c.bad and not c.protected]
    sick = [c for c in stoppable if not c.served]
    waiting = [c for c in stoppable if c.served]
    unreplaced = max(0, wanted.desired - _healthy((*new, *old)))
    replaced = max(0, len(waiting) - unreplaced)
    on_the_way = any(not c.bad and not c.healthy for c in new)
    if not replaced and not sick and short and waiting and not on_the_way:
        replaced = 1
    return [*sick, *spread.stops(replaced, waiting, (*new, *old))]


def _surplus(wanted: Wanted, new: Sequence[Copy]) -> list[Copy]:
    """Tasks of the primary deployment above the desired number."""
    good = [c for c in new if not c.bad]
    excess = len(good) - wanted.desired
    if excess == 1 and _moving(wanted, good):
        return []
    return spread.stops(excess, [c for c in good if not c.protected], new)


def _outdated(
    wanted: Wanted, new: Sequence[Copy], old: Sequence[Copy], short: int, stopping: int
) -> list[Copy]:
    """Older tasks that stop now: those that healthy new ones replace, and those in whose room a new one
    starts, as far as the floor allows. stopping -- new ones that stop at the same time."""
    stoppable = [c for c in old if not c.protected]
    if wanted.failed:
        return spread.stops(len(old) - wanted.desired, stoppable, old)
    healthy_new = _healthy(new) - stopping
    if healthy_new >= wanted.desired:
        return stoppable
    healthy = [c for c in stoppable if c.healthy]
    there = healthy_new + _healthy(old)
    makeshift = [c for c in stoppable if not c.healthy]
    first = spread.stops(short, makeshift, old)
    spare = min(max(there - wanted.desired, short - len(first)), there - wanted.limits.floor)
    return [*first, *spread.stops(spare, healthy, old)]


def _held(wanted: Wanted, stops: Iterable[Copy]) -> dict[str, int]:
    """What older deployments keep: what stops here is not replaced."""
    left = dict(wanted.held)
    for copy in stops:
        if copy.deployment in left:
            left[copy.deployment] = max(0, left[copy.deployment] - 1)
    return left


def _moving(wanted: Wanted, good: Sequence[Copy]) -> bool:
    """Whether the one task too many was started to even out the zones, and is not healthy yet."""
    fresh = [c for c in good if not c.healthy]
    if not wanted.rebalance or len(fresh) != 1 or not wanted.zones:
        return False
    counts = spread.held((c for c in good if c is not fresh[0]), wanted.zones)
    return spread.uneven(counts, wanted.zones)


def _moved(wanted: Wanted, copies: Sequence[Copy]) -> list[str]:
    """The zone of a task that is started to even out the zones, when nothing else is to do."""
    room = len(copies) < wanted.limits.ceiling
    settled = len(copies) == wanted.desired == _healthy(copies)
    if not (wanted.rebalance and room and settled and _starts(wanted, wanted.primary)):
        return []
    if any(c.deployment != wanted.primary for c in copies):
        return []
    counts = spread.held(copies, wanted.zones)
    if not wanted.zones or not spread.uneven(counts, wanted.zones):
        return []
    fullest = max(counts, key=lambda z: counts[z])
    if all(c.protected for c in copies if c.zone == fullest):
        return []
    return spread.starts(1, wanted.zones, copies)
