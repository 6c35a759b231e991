"""The next moments of many things, and a clock that somebody sets."""

import pytest

from neargate.control.due import Due
from neargate.kit.clock import passed

NOON = 1_800_000_000.0


def test_moments_come_in_order_and_once() -> None:
    due = Due()
    for name, at in (("b", NOON + 2), ("a", NOON + 1), ("c", NOON + 3), ("a", NOON + 5)):
        due.remind(name, at)
    due.remind("c", None)
    assert due.next() == NOON + 2, "the newest word counts"
    assert due.take(NOON + 2) == {"b"} and due.take(NOON + 4) == set()
    assert due.take(NOON + 5) == {"a"} and due.next() is None


def test_all_are_looked_at_when_the_clock_was_set_back() -> None:
    due = Due()
    due.take(NOON)
    due.remind("a", NOON + 1)
    due.remind("b", NOON + 7200)
    assert due.take(NOON - 1) == set(), "a moment that is slewed is no reason"
    assert due.take(NOON - 3600) == {"a", "b"} and due.next() is None
    due.remind("a", NOON - 3599)
    assert due.take(NOON - 3599.5) == set() and due.take(NOON - 3599) == {"a"}


@pytest.mark.parametrize(
    ("since", "expected"),
    [(-10.0, True), (-9.9, False), (0.0, False), (59.0, False), (61.0, True), (3600.0, True)],
)
def test_ten_seconds_have_passed_or_the_clock_was_set_back(since: float, expected: bool) -> None:
    assert passed(NOON + since, 10.0, NOON) is expected
