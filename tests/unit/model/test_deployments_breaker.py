"""When a deployment has failed, and how long starts wait."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.deployments import breaker


@pytest.mark.parametrize(
    ("desired", "expected"), [(0, 3), (1, 3), (5, 3), (6, 3), (7, 4), (25, 13), (400, 200), (5000, 200)]
)
def test_half_the_desired_count_but_3_to_200(desired: int, expected: int) -> None:
    assert breaker.threshold(desired, {"enable": True}) == expected


@pytest.mark.parametrize(
    ("kind", "value", "desired", "expected"),
    [
        ("COUNT", 1, 100, 1),
        ("COUNT", 500, 2, 500),
        ("BOUNDED_PERCENT", 10, 100, 10),
        ("BOUNDED_PERCENT", 10, 10, 3),
        ("BOUNDED_PERCENT", 100, 1000, 200),
        ("UNBOUNDED_PERCENT", 10, 10, 1),
        ("UNBOUNDED_PERCENT", 100, 1000, 1000),
        ("UNBOUNDED_PERCENT", 33, 10, 4),
        ("UNBOUNDED_PERCENT", 50, 0, 1),
    ],
)
def test_as_configured(kind: str, value: int, desired: int, expected: int) -> None:
    given: dict[str, Any] = {"thresholdConfiguration": {"type": kind, "value": value}}
    assert breaker.threshold(desired, given) == expected


def test_a_healthy_task_resets_the_count_unless_refused() -> None:
    assert breaker.resets({})
    assert breaker.resets({"resetOnHealthyTask": True})
    assert not breaker.resets({"resetOnHealthyTask": False})


def test_starts_wait_longer_and_longer_up_to_a_quarter_of_an_hour() -> None:
    waits = [breaker.wait(n, 1) for n in range(1, 15)]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert [breaker.wait(n, 10) for n in (10, 12, 13, 22, 23)] == [1, 1, 2, 2, 4]
    assert breaker.wait(40, 1, for_room=True) == 30


@given(st.integers(0, 10_000), st.integers(0, 5000), st.booleans())
def test_a_wait_never_shrinks_with_more_failures(failed: int, desired: int, for_room: bool) -> None:
    before = breaker.wait(failed, desired, for_room=for_room)
    assert 0 <= before <= breaker.wait(failed + 1, desired, for_room=for_room) <= 900


def test_a_task_that_exits_at_once_is_not_started_several_times_a_second_for_ever() -> None:
    assert [breaker.pause(n, 1) for n in (0, 9, 10, 11, 12, 13, 14, 500)] == [0, 0, 1, 2, 4, 8, 10, 10]
    assert [breaker.pause(n, 40) for n in (9, 10, 49, 50, 90, 1000)] == [0, 1, 1, 2, 4, 40]
    assert breaker.pause(10**6, 5000) == breaker.LONGEST_PAUSE and breaker.pause(10**6, 0) == 10
