"""Health checks counted as Docker counts them, by table and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.health import Condition, after_check, command
from neargate.model.sandbox import HealthCheck

CHECK = HealthCheck(command=("CMD", "x"), retries=3, start_period=100.0)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("", "UNKNOWN"),
        ("+", "HEALTHY"),
        ("--", "UNKNOWN"),
        ("---", "UNHEALTHY"),
        ("---+", "HEALTHY"),
        ("+--", "HEALTHY"),
        ("+---", "UNHEALTHY"),
        ("--+--", "HEALTHY"),
    ],
)
def test_after_the_start_period(results: str, expected: str) -> None:
    condition = Condition()
    for result in results:
        condition = after_check(CHECK, condition, result == "+", 100.0)
    assert condition.status == expected


@pytest.mark.parametrize(
    ("results", "expected"),
    [("----------", "UNKNOWN"), ("-----+", "HEALTHY"), ("+---", "UNHEALTHY"), ("----+--", "HEALTHY")],
)
def test_inside_the_start_period_failures_count_only_after_a_success(results: str, expected: str) -> None:
    condition = Condition()
    for result in results:
        condition = after_check(CHECK, condition, result == "+", 99.9)
    assert condition.status == expected


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 200))), st.integers(1, 10), st.floats(0, 300))
def test_unhealthy_means_that_many_failures_in_a_row(
    results: list[tuple[bool, float]], retries: int, start_period: float
) -> None:
    check = HealthCheck(command=("CMD", "x"), retries=retries, start_period=start_period)
    condition = Condition()
    for passed, age in results:
        before = condition
        condition = after_check(check, before, passed, age)
        if passed:
            assert condition == Condition("HEALTHY")
        elif before.status != "UNKNOWN":
            assert condition.status != "UNKNOWN", "what was measured once is never unknown again"
    last = [passed for passed, _ in results][-retries:]
    if condition.status == "UNHEALTHY":
        assert len(last) == retries and not any(last)


@pytest.mark.parametrize(
    ("said", "run"),
    [
        (("CMD-SHELL", "curl -f localhost || exit 1"), ("/bin/sh", "-c", "curl -f localhost || exit 1")),
        (("CMD", "/probe", "a b"), ("/probe", "a b")),
        (("/probe",), ("/probe",)),
    ],
)
def test_command(said: tuple[str, ...], run: tuple[str, ...]) -> None:
    assert command(HealthCheck(command=said)) == run
