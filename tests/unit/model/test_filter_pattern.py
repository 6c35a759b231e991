"""Filter patterns: the examples of AWS's page, malformed ones, and properties on any text."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.filter_pattern import PatternError, compile_pattern
from neargate.model.filter_pattern_fields import split_message
from neargate.model.filter_pattern_values import wildcard

TRAIL = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "cluster.name": "c",
        "user": {"email": "John.Stiles@example.com", "id": 7, "admin": True, "ratio": 1.5},
    }
)
ACCESS = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "message", "matches"),
    [
        ("", "anything", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("ERROR", "[error 400] BAD REQUEST", False),
        ("ERROR ARGUMENTS", "[ERROR] NO ARGUMENTS", True),
        ("ERROR ARGUMENTS", "[ERROR] NO", False),
        ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "INTERNAL ERROR SERVER", False),
        ("?ERROR ?WARN", "a WARN b", True),
        ("?ERROR ?WARN", "a INFO b", False),
        ("?REQUEST ERROR 401", "[ERROR 401] UNAUTHORIZED", True),
        ("ERROR -ARGUMENTS", "[ERROR] x", True),
        ("ERROR -ARGUMENTS", "[ERROR] ARGUMENTS", False),
        ('ERROR -"a b"', "ERROR a b", False),
        ("%AUTHORIZED%", "[ERROR 401] UNAUTHORIZED", True),
        (r"%^\d{3}$%", "404", True),
        (r"%^\d{3}$%", "4040", False),
        (r'"say \"hi\""', 'they say "hi"', True),
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ('{ $.eventType = "Update*" }', TRAIL, True),
        ('{ $.eventType != "UpdateTrail" }', TRAIL, False),
        ('{ $.missing != "x" }', TRAIL, False),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{ $.sourceIPAddress = %111.111.% }", TRAIL, True),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ('{ $.arrayKey[1] = "value" }', TRAIL, False),
        ('{ $.arrayKey[*] = "another value" }', TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id > 1 }", TRAIL, True),
        ("{ $.objectList[*].id > 2 }", TRAIL, False),
        ("{ $.user.* = 7 }", TRAIL, True),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
        ("{ $.eventType NOT EXISTS }", TRAIL, False),
        ("{ $.user.admin IS TRUE }", TRAIL, True),
        ("{ $.user.admin is false }", TRAIL, False),
        ("{ $.user.ratio >= 1.5e0 }", TRAIL, True),
        ("{ $.user.admin > 0 }", TRAIL, False),
        ("{ $.['cluster.name'] = c }", TRAIL, True),
        ('{ ($.user.id = 1) && ($.eventType = "x") || ($.user.id = 7) }', TRAIL, True),
        ('{ $.user.id = 7 && ($.user.id = 1 || $.eventType = "x") }', TRAIL, False),
        ("{ $[0].a = 1 }", '[{"a": 1}]', True),
        ("{ $.a NOT EXISTS }", "no json", False),
        ("{ $.a = 1 }", '{"a": 1} tail', False),
        ("[ip, server, user, timestamp, request, status=4*, bytes>1000]", ACCESS, True),
        ("[ip, server, user, timestamp, request =*.html*, status = 4*, bytes]", ACCESS, True),
        ("[ip, server, user, timestamp, request, status=4*, bytes>9999]", ACCESS, False),
        ("[ip, server, user]", ACCESS, False),
        ("[..., status=404 || status=410, bytes]", ACCESS, True),
        ("[ip=127.0.0.1, ...]", ACCESS, True),
        ("[ip!=127.0.0.1, ...]", ACCESS, False),
        ("[w1=ERROR && w1!=%WARN%, w2]", "ERROR x", True),
        ("[a=%^12%, ...]", ACCESS, True),
        ('[a, ..., c="1534"]', ACCESS, True),
        ("[..., status=404, bytes]", "x", False),
    ],
)
def test_patterns(pattern: str, message: str, matches: bool) -> None:
    assert compile_pattern(pattern)(message) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        *('"open', 'a"b', "{", "{}", "{ $.a }", "{ $.a = }", "{ a = 1 }", "{ $.a = 1 && }", "{ ($.a = 1 }"),
        *("{ $.a = 1 ) }", "{ $.a > x }", '{ $.a = "x }', "{ $.a IS MAYBE }", "{ $.a = 1 $.b = 2 }", "{ $.a"),
        *("[", "[]", "[a,,b]", "[a=]", "[a=1 b]", "[..., a, ...]", "[a>x]", "[a=1 &&]", "[a", "[a]]"),
        *("%a", "%(a)%", "%a{2%x{%", "%*%", "%[%", "%a{1001}%", "ERROR:", "a|b", "%é%"),
        "{ $.a = %x% && $.b = %y% && $.c = %z% }",
        "{" + "(" * 400 + "$.a = 1" + ")" * 400 + "}",
    ],
)
def test_malformed(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_compiles_or_is_refused(pattern: str, message: str) -> None:
    try:
        matches = compile_pattern(pattern)
    except PatternError:
        return
    assert matches(message) in (True, False)


SYNTAX = st.lists(
    st.sampled_from('{ } [ ] $.a $ .b = != > 1 x* "q" %r% && || ( ) ... , IS NULL NOT EXISTS - ? w'.split()),  # noqa: SIM905
    max_size=14,
).map(" ".join)


@given(SYNTAX | SYNTAX.map(lambda s: "{" + s + "}") | SYNTAX.map(lambda s: "[" + s + "]"))
def test_any_syntax_compiles_or_is_refused(pattern: str) -> None:
    try:
        matches = compile_pattern(pattern)
    except PatternError:
        return
    for message in ('{"a": {"b": [1, "x", null]}}', "[]", "a b c", ""):
        assert matches(message) in (True, False)


@given(st.text("ab*", max_size=12), st.text("ab", max_size=14))
def test_wildcards_are_what_a_regex_would_say(pattern: str, text: str) -> None:
    import re

    assert wildcard(pattern)(text) == bool(re.fullmatch(pattern.replace("*", ".*"), text))


@given(st.lists(st.text("abc", min_size=1), max_size=8))
def test_words_are_fields(words: list[str]) -> None:
    assert split_message("  ".join(words)) == words
    assert split_message(" ".join(f'"{w} {w}"' for w in words)) == [f"{w} {w}" for w in words]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%[ab]*[ab]*[ab]*[ab]*[ab]*c%", "ab" * 100_000),
        ("[a, ...]", "[" * 200_000),
        ('[a, ..., b="' + "*a" * 100 + '*"]', "x " + "ab" * 100_000),
        ("{ $.a = 1 }", "[" * 200_000),
        ("{ $.a = 1 }", '{"a":' * 100_000),
    ],
)
def test_no_message_is_slow(pattern: str, message: str) -> None:
    matches = compile_pattern(pattern)
    began = time.process_time()
    matches(message)
    assert time.process_time() - began < 1.0
