"""Rolling updates held by a simulated fleet: never below the floor, never above the ceiling, always over."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.deployments import spread
from neargate.model.deployments.copies import Copy, Limits, configured, limits
from neargate.model.deployments.rolling import Decision, Wanted, blocked, plan

ZONES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "floor", "ceiling"),
    [
        (4, 100, 200, 4, 8),
        (3, 50, 150, 2, 4),
        (3, 100, 125, 3, 3),
        (1, 50, 200, 1, 2),
        (10, 0, 100, 0, 10),
        (0, 100, 200, 0, 0),
        (7, 33, 133, 3, 9),
    ],
)
def test_the_floor_is_rounded_up_and_the_ceiling_down(
    desired: int, minimum: int, maximum: int, floor: int, ceiling: int
) -> None:
    assert limits(desired, minimum, maximum) == Limits(floor, ceiling)
    given = {"minimumHealthyPercent": minimum, "maximumPercent": maximum}
    assert configured(desired, given) == Limits(floor, ceiling)


def test_without_a_configuration_the_limits_are_100_and_200_percent() -> None:
    assert configured(5, {}) == Limits(5, 10)


@dataclass
class Fleet:
    """Tasks that come to run, turn healthy or unhealthy, and end, as chance has it."""

    chance: random.Random
    copies: dict[str, Copy] = field(default_factory=dict)
    stopping: int = 0
    """Healthy tasks that the rules stopped in this step."""
    born: int = 0

    def start(self, deployment: str, zone: str, **state: bool) -> None:
        self.born += 1
        arn = f"t{self.born:05d}"
        self.copies[arn] = Copy(arn=arn, deployment=deployment, zone=zone, created_at=self.born, **state)

    def obey(self, decision: Decision) -> None:
        for deployment, zone in decision.starts:
            self.start(deployment, zone)
        for copy in (*decision.stops, *decision.unhealthy):
            del self.copies[copy.arn]

    def live(self) -> list[Copy]:
        found = list(self.copies.values())
        self.chance.shuffle(found)
        return found

    def pass_time(self, dies: float, sickens: float, broken: frozenset[str] = frozenset()) -> None:
        for arn, copy in list(self.copies.items()):
            luck = self.chance.random()
            if luck < dies:
                del self.copies[arn]
            elif luck < dies + sickens and copy.running:
                self.copies[arn] = replace(copy, healthy=False, bad=True)
            elif self.chance.random() < 0.6:
                self.copies[arn] = self._on(copy, copy.deployment in broken)

    def _on(self, copy: Copy, broken: bool) -> Copy:
        if not copy.running:
            return replace(copy, running=True)
        if broken:
            return replace(copy, healthy=False, bad=True)
        return copy if copy.bad else replace(copy, healthy=True, served=True)


def healthy(copies: list[Copy]) -> int:
    return sum(1 for c in copies if c.healthy)


def step(fleet: Fleet, wanted: Wanted) -> Wanted:
    """One decision, held against the limits; what is wanted after it."""
    before = fleet.live()
    decision = plan(wanted, before)
    stopped = [*decision.stops, *decision.unhealthy]
    assert not any(c.protected for c in stopped), "a protected task was stopped"
    assert len({c.arn for c in stopped}) == len(stopped)
    fleet.obey(decision)
    after = fleet.live()
    assert len(after) <= max(wanted.limits.ceiling, len(before)), "more tasks than the ceiling allows"
    if decision.starts:
        assert len(before) + len(decision.starts) <= wanted.limits.ceiling
    assert healthy(after) >= min(healthy(before), wanted.limits.floor), "fewer than the floor allows"
    return replace(wanted, held=decision.held)


def over(fleet: Fleet, wanted: Wanted) -> bool:
    copies = list(fleet.copies.values())
    return (
        len(copies) == wanted.desired
        and all(c.healthy and c.deployment == wanted.primary for c in copies)
        and plan(wanted, copies) == Decision(held=wanted.held)
    )


@st.composite
def updates(draw: st.DrawFn) -> tuple[Fleet, Wanted]:
    desired = draw(st.integers(0, 12))
    minimum, maximum = draw(st.integers(0, 100)), draw(st.integers(100, 300))
    made = limits(desired, minimum, maximum)
    if made.floor >= made.ceiling:  # AWS's own dead end: no task may start, none may stop
        made = Limits(min(made.floor, max(0, desired - 1)), made.ceiling)
    fleet = Fleet(random.Random(draw(st.integers(0, 2**32))))
    held: dict[str, int] = {}
    for number in range(draw(st.integers(0, 2))):
        held[f"old{number}"] = draw(st.integers(0, 6))
    for deployment, count in held.items():
        for _ in range(count):
            if len(fleet.copies) < made.ceiling:
                fleet.start(deployment, draw(st.sampled_from(ZONES)), running=True, healthy=True, served=True)
    names = frozenset(("new", *held))
    return fleet, Wanted(
        desired=desired,
        limits=made,
        primary="new",
        may_start=names,
        held=held,
        zones=draw(st.sampled_from((ZONES, ZONES[:2], ()))),
        rebalance=draw(st.booleans()),
    )


@settings(max_examples=400, deadline=None)
@given(updates(), st.floats(0, 0.15), st.floats(0, 0.15))
def test_an_update_keeps_its_limits_and_ends(
    start: tuple[Fleet, Wanted], dies: float, sickens: float
) -> None:
    """Whatever dies and sickens for a while: when that ends, the update comes to its end, and stays there."""
    fleet, wanted = start
    for _ in range(30):
        wanted = step(fleet, wanted)
        fleet.pass_time(dies, sickens)
    for _ in range(400):
        if over(fleet, wanted):
            break
        wanted = step(fleet, wanted)
        fleet.pass_time(0.0, 0.0)
    assert over(fleet, wanted), f"not over: {fleet.live()} {wanted}"


@settings(max_examples=200, deadline=None)
@given(updates(), st.integers(0, 12), st.integers(0, 5))
def test_scaling_in_the_middle_of_it_ends_as_well(
    start: tuple[Fleet, Wanted], desired: int, steps: int
) -> None:
    fleet, wanted = start
    for _ in range(steps):
        wanted = step(fleet, wanted)
        fleet.pass_time(0.05, 0.05)
    wanted = replace(wanted, desired=desired, limits=limits(desired, 50, 200))
    for _ in range(400):
        if over(fleet, wanted):
            break
        wanted = step(fleet, wanted)
        fleet.pass_time(0.0, 0.0)
    assert over(fleet, wanted)


@settings(max_examples=200, deadline=None)
@given(updates(), st.sets(st.integers(1, 12)))
def test_protected_tasks_are_never_stopped_and_all_else_is_done_around_them(
    start: tuple[Fleet, Wanted], numbers: set[int]
) -> None:
    fleet, wanted = start
    for number in numbers:
        arn = f"t{number:05d}"
        if arn in fleet.copies:
            fleet.copies[arn] = replace(fleet.copies[arn], protected=True)
    guarded = {c.arn for c in fleet.live() if c.protected}
    for _ in range(60):
        wanted = step(fleet, wanted)
        fleet.pass_time(0.0, 0.05)
    kept = {c.arn for c in fleet.live() if c.protected}
    assert kept == guarded
    fleet.copies = {arn: replace(c, protected=False) for arn, c in fleet.copies.items()}
    for _ in range(200):
        wanted = step(fleet, wanted)
        fleet.pass_time(0.0, 0.0)
    assert over(fleet, wanted)
    assert kept.isdisjoint(fleet.copies)


@settings(max_examples=200, deadline=None)
@given(updates())
def test_a_revision_that_never_turns_healthy_never_takes_the_old_ones_place(
    start: tuple[Fleet, Wanted],
) -> None:
    fleet, wanted = start
    served = min(healthy(fleet.live()), wanted.limits.floor)
    for _ in range(60):
        wanted = step(fleet, wanted)
        fleet.pass_time(0.0, 0.0, broken=frozenset(("new",)))
        assert healthy(fleet.live()) >= served


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32), st.floats(0, 0.2))
def test_a_failed_deployment_starts_nothing_and_what_is_there_is_kept(
    count: int, seed: int, dies: float
) -> None:
    fleet = Fleet(random.Random(seed))
    for _ in range(count):
        fleet.start("old", "a", running=True, healthy=True, served=True)
    wanted = Wanted(
        desired=count,
        limits=limits(count, 100, 200),
        primary="new",
        may_start=frozenset(("new", "old")),
        failed=True,
        held={"old": count},
    )
    for _ in range(40):
        wanted = step(fleet, wanted)
        assert all(c.deployment == "old" for c in fleet.live())
        assert len(fleet.copies) == count
        fleet.pass_time(dies, 0.0)


def test_an_unhealthy_task_waits_for_its_replacement_where_there_is_room() -> None:
    sick = Copy("a", "new", running=True, bad=True, served=True)
    well = Copy("b", "new", running=True, healthy=True, served=True)
    wanted = Wanted(2, limits(2, 100, 200), "new", frozenset(("new",)))
    decision = plan(wanted, [sick, well])
    assert (len(decision.starts), decision.unhealthy) == (1, ())
    coming = Copy("c", "new", running=True)
    assert plan(wanted, [sick, well, coming]) == Decision()
    there = replace(coming, healthy=True)
    assert plan(wanted, [sick, well, there]).unhealthy == (sick,)


def test_without_room_unhealthy_tasks_go_one_at_a_time() -> None:
    sick = [Copy(f"s{n}", "new", running=True, bad=True, served=True) for n in range(3)]
    wanted = Wanted(3, Limits(2, 3), "new", frozenset(("new",)))
    decision = plan(wanted, sick)
    assert (len(decision.starts), len(decision.unhealthy)) == (0, 1)
    left = [c for c in sick if c not in decision.unhealthy]
    assert len(plan(wanted, left).starts) == 1
    assert plan(wanted, [*left, Copy("n", "new")]) == Decision()


@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "expected"),
    [
        (1, 50, 150, True),
        (1, 100, 199, True),
        (2, 75, 125, True),
        (3, 100, 125, True),
        (1, 100, 200, False),
        (1, 0, 100, False),
        (4, 75, 100, False),
        (4, 100, 125, False),
        (0, 50, 150, False),
    ],
)
def test_limits_that_meet_after_rounding_block_an_update(
    desired: int, minimum: int, maximum: int, expected: bool
) -> None:
    old = [Copy(f"o{n}", "old", running=True, healthy=True, served=True) for n in range(desired)]
    wanted = Wanted(desired, limits(desired, minimum, maximum), "new", frozenset(("new", "old")))
    decision = plan(wanted, old)
    assert blocked(wanted, old) == expected
    assert bool(decision.starts or decision.stops) == (not expected and desired > 0)
    rest = [replace(c, deployment="new") for c in old]
    assert not blocked(wanted, rest), "at rest nothing is in the way of anything"


def test_scaled_in_the_unprotected_in_the_fullest_zone_pending_first_then_the_newest() -> None:
    def copy(arn: str, zone: str, at: float, **state: bool) -> Copy:
        state = {"running": True, "healthy": True, **state}
        return Copy(arn, "d", zone=zone, created_at=at, **state)

    copies = [
        copy("old-a", "a", 1),
        copy("new-a", "a", 2),
        copy("guarded-a", "a", 3, protected=True),
        copy("old-b", "b", 4),
        copy("pending-c", "c", 5, running=False, healthy=False),
        copy("warming-c", "c", 6, healthy=False),
    ]
    order = []
    while len(copies) > 1:
        wanted = Wanted(len(copies) - 1, limits(len(copies) - 1, 100, 200), "d", frozenset("d"), zones=ZONES)
        (stopped,) = plan(wanted, copies).stops
        order.append(stopped.arn)
        copies.remove(stopped)
    assert order == ["pending-c", "warming-c", "new-a", "old-a", "old-b"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ZONES), min_size=1, max_size=12), st.integers(0, 2**32))
def test_an_uneven_service_is_evened_out_one_task_at_a_time_and_then_rests(
    zones: list[str], seed: int
) -> None:
    fleet = Fleet(random.Random(seed))
    for zone in zones:
        fleet.start("d", zone, running=True, healthy=True, served=True)
    count = len(zones)
    wanted = Wanted(count, limits(count, 100, 200), "d", frozenset("d"), zones=ZONES, rebalance=True)
    for _ in range(30 * count):
        wanted = step(fleet, wanted)
        assert count <= len(fleet.copies) <= count + 1
        fleet.pass_time(0.0, 0.0)
    assert over(fleet, wanted)
    counts = spread.held(fleet.live(), ZONES)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.integers(0, 30), st.lists(st.sampled_from(ZONES), max_size=10))
def test_starts_even_out_the_zones(count: int, held: list[str]) -> None:
    own = [Copy(f"t{n}", "d", zone=zone) for n, zone in enumerate(held)]
    chosen = spread.starts(count, ZONES, own)
    totals = Counter(dict.fromkeys(ZONES, 0)) + Counter(held)
    before = max((Counter(held)[z] for z in ZONES), default=0)
    totals = Counter(held) + Counter(chosen)
    assert len(chosen) == count
    assert max(totals[z] for z in ZONES) <= max(before, min(totals[z] for z in ZONES) + 1)
