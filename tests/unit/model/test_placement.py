"""Which node and subnet a task gets."""

from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.placement import Room, choose, emptiest, fits, rooms
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
