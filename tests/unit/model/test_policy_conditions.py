"""Condition operators: a table of each, and the laws of IfExists and of sets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.policy_conditions import holds, moment, read
from neargate.model.policy_patterns import Context

ROLE = "arn:aws:iam::111111111111:role/apps/web"


def true(operator: str, said: Any, given: Any, context: dict[str, tuple[str, ...]] | None = None) -> bool:
    """Whether `{operator: {"k:x": said}}` holds where the request has `given` for k:x; None is nothing."""
    values = tuple(said) if isinstance(said, (list, tuple)) else (said,)
    have: Context = dict(context or {})
    if given is not None:
        have = {**have, "k:x": tuple(given) if isinstance(given, (list, tuple)) else (given,)}
    return holds(read(operator, "K:X", values), have, have)


@pytest.mark.parametrize(
    ("operator", "said", "given", "expected"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringEquals", "a", None, False),
        ("StringEquals", [], "a", False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("StringEqualsIgnoreCase", "aB", "Ab", True),
        ("StringNotEqualsIgnoreCase", "aB", "Ab", False),
        ("StringLike", "a*?", "abc", True),
        ("StringLike", "a*", "A", False),
        ("StringNotLike", "a*", "abc", False),
        ("StringNotLike", "a*", "b", True),
        ("NumericEquals", "10", "10.0", True),
        ("NumericNotEquals", "10", "11", True),
        ("NumericLessThan", "10", "9", True),
        ("NumericLessThan", "10", "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", "10", "9", False),
        ("NumericGreaterThan", "9", "10", True),
        ("NumericGreaterThanEquals", "-1", "-1", True),
        ("NumericLessThan", "10", "many", False),
        ("NumericLessThan", "10", None, False),
        ("DateLessThan", "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", True),
        ("DateLessThan", "2026-01-01", "2026-01-01T00:00:00Z", False),
        ("DateLessThanEquals", "2026-01-01", "2026-01-01T00:00:00Z", True),
        ("DateGreaterThan", "1767225600", "2026-01-01T00:00:01Z", True),
        ("DateGreaterThanEquals", "2026-01-01T01:00:00+01:00", "1767225600", True),
        ("DateEquals", "2026-01-01T00:00:00.5Z", "1767225600.5", True),
        ("DateNotEquals", "2026", "2026-01-02", True),
        ("Bool", "true", "TRUE", True),
        ("Bool", "true", "false", False),
        ("Bool", "false", None, False),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", True),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ6", False),
        ("BinaryEquals", "QmluYXJ5", "?", False),
        ("IpAddress", "203.0.113.0/24", "203.0.113.7", True),
        ("IpAddress", "203.0.113.7", "203.0.113.7", True),
        ("IpAddress", "203.0.113.0/24", "203.0.114.7", False),
        ("IpAddress", "2001:db8::/32", "2001:db8::1", True),
        ("IpAddress", "203.0.113.0/24", "2001:db8::1", False),
        ("IpAddress", "203.0.113.0/24", "nowhere", False),
        ("NotIpAddress", "203.0.113.0/24", "203.0.113.7", False),
        ("NotIpAddress", ["203.0.113.0/24", "10.0.0.0/8"], "192.0.2.1", True),
        ("ArnEquals", ROLE, ROLE, True),
        ("ArnLike", "arn:aws:iam::*:role/apps/*", ROLE, True),
        ("ArnEquals", "arn:aws:iam::*:role/apps/*", ROLE, True),
        # Each of the six parts is compared by itself.
        ("ArnLike", "arn:aws:*:role/apps/web", ROLE, False),
        ("ArnLike", "arn:aws:iam::111111111111:*", ROLE, True),
        ("ArnLike", "arn:aws:iam::1*1:role/apps/we?", ROLE, True),
        ("ArnNotLike", "arn:aws:iam::*:role/apps/*", ROLE, False),
        ("ArnNotEquals", "arn:aws:iam::222222222222:role/apps/web", ROLE, True),
        ("Null", "true", None, True),
        ("Null", "true", "x", False),
        ("Null", "false", "x", True),
        ("Null", "false", None, False),
        ("Null", "true", [], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["b", "c"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c"], False),
        ("ForAnyValue:StringEquals", "a", None, False),
        ("ForAllValues:StringEquals", ["a", "b"], ["b", "a"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["b", "c"], False),
        ("ForAllValues:StringEquals", "a", None, True),
        ("ForAllValues:StringNotLike", "a*", ["b", "ab"], False),
        ("ForAnyValue:StringNotLike", "a*", ["b", "ab"], True),
        ("ForAnyValue:StringNotEquals", "a", None, False),
        ("ForAnyValue:StringLikeIfExists", "a*", None, True),
        ("StringEquals", "a", ["b", "a"], True),
        ("StringNotEquals", "a", ["b", "a"], False),
    ],
)
def test_operators(operator: str, said: Any, given: Any, expected: bool) -> None:
    assert true(operator, said, given) is expected


@pytest.mark.parametrize(
    ("operator", "said", "given", "expected"),
    [
        ("StringEquals", "${aws:username}", "a*", True),
        ("StringLike", "${aws:username}b", "axb", False),
        ("StringLike", "${aws:username}?", "a*b", True),
        ("StringEquals", "${aws:none}", "", False),
        ("StringNotEquals", "${aws:none}", "x", True),
        ("StringEquals", "${aws:none, 'x'}", "x", True),
        ("ArnLike", "arn:aws:iam::${aws:account}:role/*", ROLE, True),
        ("ArnLike", "arn:aws:iam::${aws:account}:user/*", ROLE, False),
        ("StringEquals", "${*}", "*", True),
    ],
)
def test_variables(operator: str, said: str, given: str, expected: bool) -> None:
    known = {"aws:username": ("a*",), "aws:account": ("111111111111",)}
    assert true(operator, said, given, known) is expected


@pytest.mark.parametrize("text", ["", "26", "2026-13-01", "2026-01-01T", "2026-01-01T25:00Z", "0000", "now"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError):
        moment(text)


SAMPLES: dict[str, tuple[str, ...]] = {
    "StringEquals": ("a", "b", "A"),
    "StringNotEquals": ("a", "b", "A"),
    "StringNotEqualsIgnoreCase": ("a", "b", "A"),
    "StringLike": ("a*", "b", "abc"),
    "NumericLessThan": ("1", "2.5", "-3"),
    "DateGreaterThan": ("2026-01-01", "1767225600", "2025"),
    "Bool": ("true", "false", "True"),
    "IpAddress": ("10.0.0.1", "10.0.0.0/8", "::1"),
    "NotIpAddress": ("10.0.0.1", "10.0.0.0/8", "::1"),
    "ArnNotLike": (ROLE, "arn:aws:iam::*:role/*", "arn:aws:s3:::b"),
}
cases = st.sampled_from(sorted(SAMPLES)).flatmap(
    lambda operator: st.tuples(
        st.just(operator),
        st.lists(st.sampled_from(SAMPLES[operator]), min_size=1, max_size=3),
        st.lists(st.sampled_from(SAMPLES[operator]), max_size=3),
    )
)


@given(cases)
def test_if_exists_matters_where_nothing_is(case: tuple[str, list[str], list[str]]) -> None:
    operator, said, given = case
    if given:
        assert true(f"{operator}IfExists", said, given) is true(operator, said, given)
    assert true(f"{operator}IfExists", said, None) is True
    assert true(operator, said, None) is ("Not" in operator)


@given(cases)
def test_sets_are_what_their_members_are(case: tuple[str, list[str], list[str]]) -> None:
    operator, said, given = case
    each = [true(operator, said, one) for one in given]
    assert true(f"ForAnyValue:{operator}", said, given) is any(each)
    assert true(f"ForAllValues:{operator}", said, given) is all(each)


@given(cases)
def test_opposites_are_opposite(case: tuple[str, list[str], list[str]]) -> None:
    operator, said, given = case
    stem = operator.replace("Not", "")
    opposite = {"IpAddress": "NotIpAddress"}.get(stem) or next(
        (
            stem.replace(end, f"Not{end}")
            for end in ("EqualsIgnoreCase", "Equals", "Like")
            if stem.endswith(end)
        ),
        None,
    )
    if opposite is not None:
        assert true(stem, said, given) is not true(opposite, said, given)


@given(cases, st.randoms())
def test_the_order_of_values_does_not_matter(case: tuple[str, list[str], list[str]], random: Any) -> None:
    operator, said, given = case
    mixed = random.sample(said, len(said)), random.sample(given, len(given))
    for prefix in ("", "ForAnyValue:", "ForAllValues:"):
        assert true(prefix + operator, *mixed) is true(prefix + operator, said, given)
