"""What patterns and code lists mean, by table and by property, in the engine that the data plane uses."""

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.balancer_rules import (
    codes,
    default_rule_arn,
    listener_arn_of,
    matches,
    pattern_regex,
    quoted,
    wildcards,
)


def fits(pattern: str, text: str, *, flags: str = "s", escapes: bool = False) -> bool:
    return re2.fullmatch(f"(?{flags}:{pattern_regex(pattern, escapes=escapes)})", text) is not None


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("/img/*", "/img/picture.png", True),
        ("/img/*", "/img/", True),
        ("/img/*", "/img", False),
        ("/img/*", "/IMG/a", False),
        ("/img/*/pics", "/img/a/b/pics", True),
        ("/img/*/pics", "/img/pics", False),
        ("/a?c", "/abc", True),
        ("/a?c", "/ac", False),
        ("/a?c", "/abbc", False),
        ("/a?c", "/a/c", True),
        ("*", "", True),
        ("/a.c", "/abc", False),
        ("/a+(b)[c]", "/a+(b)[c]", True),
        ("/$~\"'@:+&", "/$~\"'@:+&", True),
    ],
)
def test_paths(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*.example.com", "api.Example.COM", True),
        ("*.example.com", "example.com", False),
        ("www.example.???", "www.example.org", True),
        ("www.example.???", "www.example.info", False),
    ],
)
def test_hosts(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text, flags="is") is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\?b", "a?b", True),
        (r"a\?b", "axb", False),
        (r"a\\*", "a\\xyz", True),
        ("a\\", "a", True),
    ],
)
def test_escapes_in_query_strings(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text, escapes=True) is expected


def test_any_character_may_be_another() -> None:
    assert re2.fullmatch(pattern_regex("a*?", "[^&]"), "abc") is not None
    assert re2.fullmatch(pattern_regex("a*?", "[^&]"), "ab&") is None


def test_elsewhere_a_backslash_is_a_character() -> None:
    assert fits("a\\*", "a\\xyz") and not fits("a\\*", "a*")
    assert fits("a\\", "a\\")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(TEXTS)
def test_quoted_text_matches_itself_and_nothing_else(text: str) -> None:
    assert re2.fullmatch(f"(?s:{quoted(text)})", text) is not None
    assert re2.fullmatch(f"(?s:{quoted(text)})", text + "x") is None


def by_hand(pattern: str, text: str) -> bool:
    """The same by the book: one character after the other."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(by_hand(pattern[1:], text[place:]) for place in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and by_hand(pattern[1:], text[1:])


SHORT = st.text("ab/.", max_size=7)


@given(st.text("ab/.*?\\", max_size=6), SHORT)
def test_a_pattern_matches_what_it_says(pattern: str, text: str) -> None:
    assert fits(pattern, text) is by_hand(pattern, text)


@given(TEXTS, TEXTS, TEXTS)
def test_a_star_is_any_text(before: str, middle: str, after: str) -> None:
    literal = "".join(f"\\{c}" if c in "*?\\" else c for c in before)
    assert fits(f"{literal}*", before + middle + after, escapes=True)


@given(st.text("ab*?\\", max_size=10))
def test_wildcards_are_counted(pattern: str) -> None:
    assert wildcards(pattern) == pattern.count("*") + pattern.count("?")


@pytest.mark.parametrize(
    ("matcher", "good", "bad"),
    [("200", (200,), (199, 201)), ("200-299,404", (200, 250, 299, 404), (300, 403)), ("0,12", (0, 12), (1,))],
)
def test_codes(matcher: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    assert all(matches(matcher, code) for code in good)
    assert not any(matches(matcher, code) for code in bad)


@pytest.mark.parametrize("matcher", ["", "a", "200-", "-200", "299-200", "200,,201", "2000", "²00"])
def test_what_is_no_list_of_codes(matcher: str) -> None:
    with pytest.raises(ValueError):
        codes(matcher)


def test_a_default_rule_leads_back_to_its_listener() -> None:
    listener = "arn:aws:elasticloadbalancing:us-east-1:1:listener/app/web/0123456789abcdef/0123456789abcdef"
    rule = default_rule_arn(listener)
    assert ":listener-rule/app/web/0123456789abcdef/0123456789abcdef/" in rule
    assert listener_arn_of(rule) == listener
