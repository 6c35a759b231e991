"""Which node and subnet a task gets."""

from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.placement import Held, Room, choose, emptiest, filled, fits, read_size, rooms
from neargate.model.task import Node


def room(node: str, cpu: float = 2048, memory: float = 4096, used: tuple[float, float] = (0, 0)) -> Room:
    return Room(node, "x86_64", cpu, memory, *used)


def test_the_least_loaded_node_that_takes_it() -> None:
    nodes = [room("a", used=(1024, 0)), room("b", used=(0, 1024)), room("c", used=(0, 4000))]
    found = choose(256, 512, "X86_64", nodes)
    assert found is not None
    assert found.node == "b"
    assert choose(256, 5000, "X86_64", nodes) is None


def test_architectures_are_matched_by_either_name() -> None:
    arm = Room("arm", "aarch64", 1024, 1024)
    assert choose(256, 512, "ARM64", [arm]) is arm
    assert choose(256, 512, "x86_64", [arm]) is None


def test_overcommitment_widens_a_node_and_what_is_placed_narrows_it() -> None:
    node = Node(account="0", region="r", id="n", cpu_units=1024, memory_mib=1024, architecture="x86_64")
    (found,) = rooms([node], {"n": (512.0, 256.0)}, 2.0, 4.0)
    assert (found.cpu, found.memory, found.cpu_used, found.memory_used) == (2048, 4096, 512, 256)
    assert found.load == 0.25


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_fits_never_overfills(count: int, first: int, second: int) -> None:
    nodes = [room("a", cpu=256 * first, memory=1e6), room("b", cpu=256 * second, memory=1e6)]
    assert fits(256, 512, "x86_64", count, nodes) == min(count, first + second)


def test_the_emptiest_subnet_with_an_address_left() -> None:
    held = {"a": 3, "b": 1, "c": 0}
    assert emptiest(["a", "b", "c"], held, {"a": 5, "b": 5, "c": 0}) == "b"
    assert emptiest(["a", "gone"], held, {"a": 0}) is None


def held(node: str, count: int, cpu: float = 256, memory: float = 512) -> Held:
    return Held(node, "x86_64", cpu, memory, count)


def test_what_is_held_narrows_the_nodes_and_what_waits_fills_them() -> None:
    left = filled([room("a"), room("b")], [held("", 7), held("a", 2), held("gone", 9)])
    assert {r.node: (r.cpu_used, r.memory_used) for r in left} == {"a": (2048, 4096), "b": (256, 512)}
    assert filled([room("a", cpu=512)], [held("", 9)])[0].cpu_used == 512


def test_a_size_is_read_back_whatever_the_node_is_called() -> None:
    assert read_size("rack/1/x86_64/256/512", 4) == Held("rack/1", "x86_64", 256.0, 512.0, 4)
    assert read_size("/arm64/1024/2048", 1) == Held("", "arm64", 1024.0, 2048.0, 1)


sizes = st.sampled_from([(256.0, 512.0), (512.0, 1024.0), (1024.0, 4096.0)])
crowds = st.lists(st.tuples(st.sampled_from(["", "a", "b"]), sizes, st.integers(0, 3)), max_size=4)


@given(crowds, sizes, st.integers(1, 10))
def test_what_fits_beside_the_others_is_no_more_than_there_is(
    crowd: list[tuple[str, tuple[float, float], int]], size: tuple[float, float], count: int
) -> None:
    nodes = [room("a"), room("b", cpu=1024)]
    left = filled(nodes, [held(node, n, *taken) for node, taken, n in crowd])
    placed = fits(*size, "x86_64", count, left)
    assert 0 <= placed <= count
    free_cpu = sum(max(0.0, r.cpu - r.cpu_used) for r in left)
    free_memory = sum(max(0.0, r.memory - r.memory_used) for r in left)
    assert placed * size[0] <= free_cpu
    assert placed * size[1] <= free_memory
    assert placed <= fits(*size, "x86_64", count, nodes)
