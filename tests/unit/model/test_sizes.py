"""Fargate's sizes and how they are spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model import sizes

COMBINATIONS = [(cpu, memory) for cpu, memories in sizes.SIZES.items() for memory in memories]


def test_there_are_as_many_sizes_as_aws_has() -> None:
    assert [len(memories) for memories in sizes.SIZES.values()] == [3, 4, 7, 13, 23, 12, 12]
    assert len(COMBINATIONS) == 74


@given(st.integers(0, 40_000), st.integers(0, 300_000))
def test_a_pair_is_right_only_if_it_is_in_the_table(cpu: int, memory: int) -> None:
    if (cpu, memory) in COMBINATIONS:
        sizes.check_fargate(cpu, memory)
        return
    with pytest.raises(ApiError, match=r"No Fargate configuration exists for given values\."):
        sizes.check_fargate(cpu, memory)


@given(st.sampled_from(COMBINATIONS), st.sampled_from([-1, 1]))
def test_one_mib_off_is_refused(size: tuple[int, int], off: int) -> None:
    sizes.check_fargate(*size)
    with pytest.raises(ApiError, match="No Fargate configuration"):
        sizes.check_fargate(size[0], size[1] + off)


def test_large_sizes_are_a_switch() -> None:
    for memory in (61440, 122880, 249856):
        sizes.check_fargate(32768, memory, large=True)
        with pytest.raises(ApiError):
            sizes.check_fargate(32768, memory)
    with pytest.raises(ApiError):
        sizes.check_fargate(32768, 65536, large=True)


@pytest.mark.parametrize("cpu", [256, 512, 8192, 16384])
def test_windows_has_the_middle_sizes(cpu: int) -> None:
    with pytest.raises(ApiError, match="No Fargate configuration"):
        sizes.check_fargate(cpu, sizes.SIZES[cpu][0], windows=True)
    sizes.check_fargate(1024, 2048, windows=True)


@pytest.mark.parametrize(("cpu", "memory", "name"), [(None, 512, "cpu"), (256, None, "memory")])
def test_both_are_needed(cpu: int | None, memory: int | None, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        sizes.check_fargate(cpu, memory)
    assert caught.value.message == f"Fargate requires that '{name}' be defined at the task level."


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("256", 256),
        (".25 vCPU", 256),
        ("0.25vcpu", 256),
        ("1 vcpu", 1024),
        ("1 vCPU", 1024),
        ("16VCPU", 16384),
    ],
)
def test_cpu_spellings(text: str, units: int) -> None:
    assert sizes.parse_cpu(text) == units


@pytest.mark.parametrize(
    ("text", "mib"),
    [("512", 512), ("1GB", 1024), ("1 GB", 1024), (".5 gb", 512), ("0.5GB", 512), ("30 GB", 30720)],
)
def test_memory_spellings(text: str, mib: int) -> None:
    assert sizes.parse_memory(text) == mib


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "x", "1.5", "1 cpu", "vcpu", ". vcpu", "0.0001 vcpu", "9" * 40, "NaN", "٣", "1e3"]
)
def test_what_is_no_cpu(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        sizes.parse_cpu(text)
    assert caught.value.code == "ClientException"
    assert caught.value.message == (
        "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the"
        " Amazon ECS"
        " Developer Guide."
    )


@given(st.text(max_size=20))
def test_any_text_is_a_positive_size_or_an_error(text: str) -> None:
    for parse in (sizes.parse_cpu, sizes.parse_memory):
        try:
            assert parse(text) > 0
        except ApiError as error:
            assert error.code == "ClientException"


@given(st.sampled_from([256, 512, 1024, 2048, 4096, 8192, 16384]))
def test_vcpus_and_units_are_the_same(units: int) -> None:
    assert sizes.parse_cpu(f"{units / 1024} vCPU") == sizes.parse_cpu(str(units)) == units


def test_ephemeral_storage() -> None:
    for gib in (21, 200):
        sizes.check_storage(gib)
    with pytest.raises(ApiError, match="EphemeralStorage size should be at least 21"):
        sizes.check_storage(20)
    with pytest.raises(ApiError, match="EphemeralStorage size should be at most 200"):
        sizes.check_storage(201)
