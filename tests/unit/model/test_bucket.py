"""Names of buckets, ranges of bytes, conditions on ETags and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.bucket import etag_fits, failed_condition, is_bucket_name, span


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("abc", True), ("a-b.c", True), ("1bucket2", True), ("a" * 63, True), ("1.2.3.4.5", True),
        ("ab", False), ("a" * 64, False), ("Abc", False), ("a_b", False), ("-ab", False), ("ab-", False),
        (".ab", False), ("a..b", False), ("1.2.3.4", False), ("a b", False), ("", False), ("abc\n", False),
    ],
)  # fmt: skip
def test_names_of_buckets(name: str, good: bool) -> None:
    assert is_bucket_name(name) is good


@pytest.mark.parametrize(
    ("text", "size", "found"),
    [
        (None, 10, None), ("bytes=0-0", 10, (0, 1)), ("bytes=0-99", 10, (0, 10)), ("bytes=9-", 10, (9, 1)),
        ("bytes=-1", 10, (9, 1)), ("bytes=-99", 10, (0, 10)), (" bytes=1-2 ", 10, (1, 2)),
        ("bytes=-", 10, None), ("bytes=2-1", 10, None), ("bytes=a-b", 10, None), ("items=0-1", 10, None),
        ("bytes=0-1,2-3", 10, None), ("bytes=" + "9" * 30 + "-", 10, None),
    ],
)  # fmt: skip
def test_ranges(text: str | None, size: int, found: tuple[int, int] | None) -> None:
    assert span(text, size) == found


@pytest.mark.parametrize(
    ("text", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 10), ("bytes=-1", 0)]
)
def test_ranges_beyond_the_end(text: str, size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        span(text, size)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_a_range_is_what_slicing_says(first: int, last: int, size: int) -> None:
    if first > last or first >= size:
        return
    start, length = span(f"bytes={first}-{last}", size) or (0, 0)
    assert range(size)[start : start + length] == range(size)[first : last + 1]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("*", True),
        ('"a"', True),
        ("a", True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b"', False),
        ("", False),
    ],
)
def test_etags(wanted: str, fits: bool) -> None:
    assert etag_fits(wanted, "a") is fits


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ""),
        ({"match": '"a"'}, ""),
        ({"match": '"b"'}, "precondition"),
        ({"none_match": '"a"'}, "not modified"),
        ({"none_match": '"b"'}, ""),
        ({"since": 99.0}, ""),
        ({"since": 100.0}, "not modified"),
        ({"not_since": 100.0}, ""),
        ({"not_since": 99.0}, "precondition"),
        ({"match": '"a"', "not_since": 99.0}, ""),
        ({"none_match": '"b"', "since": 200.0}, ""),
        ({"match": '"b"', "none_match": '"a"'}, "precondition"),
    ],
)
def test_conditions(given: dict[str, object], found: str) -> None:
    assert failed_condition("a", 100.5, **given) == found  # type: ignore[arg-type]
