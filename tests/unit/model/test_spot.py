"""Who is interrupted for whom: enough, the youngest first, nobody for nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.capacity import falls_back
from neargate.model.placement import Held, Room, read_size, size_of
from neargate.model.spot import Resident, admitted, vacate
from tests.unit.control.house import make_task

ROOM = Room("n1", "x86_64", 1024.0, 4096.0)


def resident(
    name: str, begun: float, cpu: float = 256.0, node: str = "n1", leaving: bool = False
) -> Resident:
    return Resident(name, node, cpu, 512.0, begun, leaving)


def full(*residents: Resident, others: float = 0.0) -> Room:
    """The room with these in it, and other tasks that hold so much CPU."""
    cpu = sum(it.cpu for it in residents) + others
    return replace(ROOM, cpu_used=cpu, memory_used=sum(it.memory for it in residents))


def victims(cpu: float, *residents: Resident, others: float = 0.0) -> tuple[str, ...] | None:
    found = vacate(cpu, 512.0, "x86_64", "", [full(*residents, others=others)], residents)
    return found.victims if found else None


def test_the_youngest_go_and_no_more_than_must() -> None:
    tasks = [resident(name, begun) for begun, name in enumerate("abcd")]
    assert victims(256.0, *tasks) == ("d",)
    assert victims(512.0, *tasks) == ("d", "c")
    assert victims(1024.0, *tasks) == ("d", "c", "b", "a")
    assert victims(1025.0, *tasks) is None
    assert victims(512.0, *tasks[:2], others=512.0) == ("b", "a")
    assert victims(768.0, *tasks[:2], others=512.0) is None
    # The younger small one would not be enough, and with the older large one it need not go.
    assert victims(512.0, resident("large", 1.0, 512.0), resident("small", 2.0), others=256.0) == ("large",)


def test_room_that_will_be_free_is_waited_for() -> None:
    leaving = resident("gone", 5.0, 512.0, leaving=True)
    assert victims(512.0, leaving, resident("a", 1.0, 512.0)) == ()
    assert victims(1024.0, leaving, resident("a", 1.0, 512.0)) == ("a",)


def test_the_node_with_the_fewest_victims_and_what_the_task_demands() -> None:
    one = [resident("a", 1.0, 512.0), resident("b", 2.0, 512.0)]
    two = [resident("c", 1.0, 1024.0, "n2")]
    rooms = [full(*one), replace(full(*two), node="n2")]
    found = vacate(1024.0, 512.0, "x86_64", "", rooms, [*one, *two])
    assert found is not None and (found.node, found.victims) == ("n2", ("c",))
    assert vacate(1024.0, 512.0, "arm64", "", rooms, [*one, *two]) is None
    assert vacate(1024.0, 512.0, "x86_64", "microvm", rooms, [*one, *two]) is None


sizes = st.sampled_from([256.0, 512.0, 1024.0])
spot_tasks = st.lists(
    st.tuples(sizes, st.integers(0, 5), st.booleans(), st.sampled_from(["n1", "n2"])), max_size=8
)


@settings(deadline=None)
@given(spot_tasks, sizes, st.floats(0, 1024))
def test_after_the_victims_have_gone_there_is_room_and_each_was_needed(
    asked: list[tuple[float, int, bool, str]], cpu: float, others: float
) -> None:
    tasks = [
        resident(f"t{number}", begun, size, node, leaving)
        for number, (size, begun, leaving, node) in enumerate(asked)
    ]
    here = {node: [it for it in tasks if it.node == node] for node in ("n1", "n2")}
    rooms = [replace(full(*here[node], others=others), node=node) for node in ("n1", "n2")]
    found = vacate(cpu, 512.0, "x86_64", "", rooms, tasks)

    def fits(gone: set[str], node: str) -> bool:
        left = [it for it in here[node] if it.arn not in gone and not it.leaving]
        return full(*left, others=others).takes(cpu, 512.0, "x86_64")

    everyone = {it.arn for it in tasks}
    if found is None:
        assert not any(fits(everyone, node) for node in here)
        return
    assert fits(set(found.victims), found.node)
    assert not any(fits(set(found.victims) - {victim}, found.node) for victim in found.victims)
    chosen = [it for it in here[found.node] if it.arn in found.victims]
    assert len(chosen) == len(found.victims) and not any(it.leaving for it in chosen)
    if all(it.cpu == cpu for it in tasks):
        spared = [it for it in here[found.node] if it.arn not in found.victims and not it.leaving]
        assert all(victim.begun >= it.begun for victim in chosen for it in spared)


@pytest.mark.parametrize(
    ("spots", "held", "expected"),
    [
        ([False] * 5, [], [True] * 4 + [False]),
        ([True] * 5, [], [True] * 4 + [False]),
        ([False] * 5, [(4, True)], [True] * 4 + [False]),
        ([True], [(4, True)], [False]),
        ([False], [(4, False)], [False]),
        ([False] * 3, [(2, False), (2, True)], [True, True, False]),
        ([True, False, True], [(3, True)], [False, True, False]),
        ([True, False, True], [(2, True)], [True, True, False]),
    ],
)
def test_who_is_admitted(spots: list[bool], held: list[tuple[int, bool]], expected: list[bool]) -> None:
    there = [Held("n1", "x86_64", 256.0, 512.0, count, spot) for count, spot in held]
    assert admitted(spots, 256.0, 512.0, "x86_64", "", [ROOM], there) == expected


def test_what_a_task_holds_says_whether_it_is_on_spot() -> None:
    for provider, spot in (("FARGATE_SPOT", True), ("FARGATE", False), (None, False)):
        size = size_of(make_task(1, (), 0.0, node="n/1", capacity_provider=provider))
        assert size is not None
        assert read_size(size, 3) == Held("n/1", "x86_64", 256.0, 512.0, 3, spot)


def test_falling_back_is_said_by_the_narrowest_tag() -> None:
    yes, no = {"neargate:spot-fallback": "on-demand"}, {"neargate:spot-fallback": "never"}
    assert not falls_back({}, {}, {})
    assert falls_back(yes, {}, {}) and falls_back(no, yes, {}) and falls_back({}, no, yes)
    assert not falls_back(yes, no, {}) and not falls_back(yes, yes, no)
