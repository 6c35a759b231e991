"""Filter patterns on JSON messages: `{ $.status >= 500 && $.path = "/api/*" }`. Pure.

Called by filter_pattern. Grammar (keywords in any case):

    or        = and { "||" and }          and  = primary { "&&" primary }
    primary   = "(" or ")" | condition
    condition = selector ( operator value | "IS" ("NULL"|"TRUE"|"FALSE") | ["NOT"] "EXISTS" )
    selector  = "$" { "." name | "." "*" | ["."] "[" (index | "*" | quoted) "]" }
    operator  = "=" | "!=" | "<" | "<=" | ">" | ">="
    value     = quoted | %regex% | number | word, where * in a quoted or a word is a wildcard
"""

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from neargate.model.filter_pattern_values import (
    Matcher,
    PatternError,
    compile_regex,
    number,
    unquote,
    wildcard,
)

Node = Callable[[Any], bool]
Step = str | int | None
"""A member, an element, or all of them."""

_DEPTH = 40
_MAX_REGEX = 2
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<selector>\$(?:\.?\[(?:\d+|\*|'[^']*'|"[^"]*")\]|\.[^\s.\[\]=!<>()&|,"'{}%]+)*)
    | (?P<operator>!=|<=|>=|=|<|>)
    | (?P<logic>&&|\|\||\(|\))
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | %(?P<regex>[^%]*)%
    | (?P<word>[^\s()&|=!<>"%$]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_STEP = re.compile(
    r"""\.?\[(?:(?P<index>\d+)|(?P<star>\*)|'(?P<single>[^']*)'|"(?P<double>[^"]*)")\]|\.(?P<name>[^.\[]+)"""
)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_json(text: str) -> Matcher:
    """A matcher of messages that are JSON objects or arrays; others never match. Raises PatternError."""
    if not text.endswith("}") or len(text) < 2:
        raise PatternError("a JSON pattern ends with '}'")
    test = _Parser(text[1:-1]).whole()
    decode = msgspec.json.Decoder().decode

    def matches(message: str) -> bool:
        if not message.lstrip().startswith(("{", "[")):
            return False
        try:
            return test(decode(message))
        except (msgspec.DecodeError, RecursionError):
            return False

    return matches


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._regexes = 0

    def whole(self) -> Node:
        node = self._or(0)
        if self._at < len(self._tokens):
            raise PatternError(f"unexpected '{self._tokens[self._at][1]}'")
        return node

    def _or(self, depth: int) -> Node:
        nodes = [self._and(depth)]
        while self._take("logic", "||"):
            nodes.append(self._and(depth))
        return nodes[0] if len(nodes) == 1 else lambda doc: any(node(doc) for node in nodes)

    def _and(self, depth: int) -> Node:
        nodes = [self._primary(depth)]
        while self._take("logic", "&&"):
            nodes.append(self._primary(depth))
        return nodes[0] if len(nodes) == 1 else lambda doc: all(node(doc) for node in nodes)

    def _primary(self, depth: int) -> Node:
        if depth > _DEPTH:
            raise PatternError("too many parentheses")
        if self._take("logic", "("):
            node = self._or(depth + 1)
            if not self._take("logic", ")"):
                raise PatternError("a ')' is missing")
            return node
        return self._condition()

    def _condition(self) -> Node:
        kind, text = self._next()
        if kind != "selector":
            raise PatternError(f"expected a selector such as $.name, not '{text}'")
        steps = _steps(text)
        kind, text = self._next()
        if kind == "operator":
            return self._comparison(steps, text)
        words = (text.upper(), "" if text.upper() == "EXISTS" else self._next()[1].upper())
        if kind != "word" or words not in _TESTS:
            raise PatternError(f"expected an operator, IS or NOT EXISTS, not '{text}'")
        test = _TESTS[words]
        return lambda doc: test(_select(doc, steps))

    def _comparison(self, steps: list[Step], sign: str) -> Node:
        kind, text = self._next()
        if kind not in ("word", "quoted", "regex"):
            raise PatternError(f"expected a value after '{sign}', not '{text}'")
        if sign in _ORDER:
            bound = number(text) if kind == "word" else None
            if bound is None:
                raise PatternError(f"'{sign}' needs a number, not '{text}'")
            holds, limit = _ORDER[sign], bound
            return lambda doc: any(_is_number(v) and holds(v, limit) for v in _select(doc, steps))
        equal = self._equal(kind, text)
        if sign == "=":
            return lambda doc: any(equal(v) for v in _select(doc, steps))
        return lambda doc: bool(found := _select(doc, steps)) and not any(equal(v) for v in found)

    def _equal(self, kind: str, text: str) -> Node:
        if kind == "regex":
            self._regexes += 1
            if self._regexes > _MAX_REGEX:
                raise PatternError(f"at most {_MAX_REGEX} regular expressions are allowed")
            matches = compile_regex(text)
            return lambda value: (shown := _text(value)) is not None and matches(shown)
        if kind == "quoted":
            same = wildcard(unquote(text))
            return lambda value: isinstance(value, str) and same(value)
        same, wanted = wildcard(text), number(text)

        def equal(value: Any) -> bool:
            if wanted is not None and _is_number(value):
                return bool(value == wanted)
            return (shown := _text(value)) is not None and same(shown)

        return equal

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise PatternError("the pattern ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (kind, text):
            self._at += 1
            return True
        return False


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise PatternError(f"cannot read '{text[at : at + 20].strip()}'")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _steps(selector: str) -> list[Step]:
    steps: list[Step] = []
    at = 1
    while at < len(selector):
        match = _STEP.match(selector, at)
        if match is None:
            raise PatternError(f"cannot read the selector '{selector}'")
        if match["index"] is not None:
            steps.append(int(match["index"][:9]))
        elif match["star"] or match["name"] == "*":
            steps.append(None)
        else:
            name = next(match[g] for g in ("name", "single", "double") if match[g] is not None)
            steps.append(name)
        at = match.end()
    return steps


def _select(document: Any, steps: list[Step]) -> list[Any]:
    """Every value that the steps lead to."""
    values = [document]
    for step in steps:
        found: list[Any] = []
        for value in values:
            if isinstance(value, dict):
                if step is None:
                    found.extend(value.values())
                elif isinstance(step, str) and step in value:
                    found.append(value[step])
            elif isinstance(value, list):
                if step is None:
                    found.extend(value)
                elif isinstance(step, int) and step < len(value):
                    found.append(value[step])
        values = found
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    """A scalar as a pattern writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value) if isinstance(value, int) else None


_TESTS: dict[tuple[str, str], Callable[[list[Any]], bool]] = {
    ("IS", "NULL"): lambda found: any(v is None for v in found),
    ("IS", "TRUE"): lambda found: any(v is True for v in found),
    ("IS", "FALSE"): lambda found: any(v is False for v in found),
    ("NOT", "EXISTS"): lambda found: not found,
    ("EXISTS", ""): lambda found: bool(found),
}
