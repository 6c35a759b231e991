"""Filter patterns on space-delimited messages: `[ip, user, ..., status=4*, bytes>1000]`. Pure.

Called by filter_pattern. A message's fields are its words; text in double quotes or brackets is one field.
`...` stands for any number of fields; without it the message has exactly as many as the pattern names.
"""

import operator
import re
from collections.abc import Callable

from neargate.model.filter_pattern_values import (
    Matcher,
    PatternError,
    compile_regex,
    number,
    unquote,
    wildcard,
)

_MAX_REGEX = 2
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<comma>,)
    | (?P<dots>\.\.\.)
    | (?P<operator>!=|<=|>=|=|<|>)
    | (?P<logic>&&|\|\|)
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | %(?P<regex>[^%]*)%
    | (?P<word>[^\s,=!<>&|"%\[\]]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Token = tuple[str, str]


def compile_fields(text: str) -> Matcher:
    """Raises PatternError."""
    if not text.endswith("]") or len(text) < 2:
        raise PatternError("a space-delimited pattern ends with ']'")
    parts = _split(_tokens(text[1:-1]))
    if sum(kind == "regex" for part in parts for kind, _ in part) > _MAX_REGEX:
        raise PatternError(f"at most {_MAX_REGEX} regular expressions are allowed")
    gaps = [i for i, part in enumerate(parts) if part == [("dots", "...")]]
    if len(gaps) > 1:
        raise PatternError("'...' may be there once")
    if not gaps:
        tests = [_field(part) for part in parts]
        return lambda message: len(found := split_message(message)) == len(tests) and _hold(tests, found)
    head = [_field(part) for part in parts[: gaps[0]]]
    tail = [_field(part) for part in parts[gaps[0] + 1 :]]

    def matches(message: str) -> bool:
        found = split_message(message)
        if len(found) < len(head) + len(tail):
            return False
        return _hold(head, found[: len(head)]) and _hold(tail, found[len(found) - len(tail) :])

    return matches


def _hold(tests: list[Matcher], fields: list[str]) -> bool:
    return all(test(field) for test, field in zip(tests, fields, strict=True))


def split_message(message: str) -> list[str]:
    """The fields of a message."""
    fields: list[str] = []
    ends = {"[": "]", '"': '"'}
    at, size = 0, len(message)
    while at < size:
        first = message[at]
        if first.isspace():
            at += 1
            continue
        if first in ends:
            end = message.find(ends[first], at + 1)
            if end >= 0:
                fields.append(message[at + 1 : end])
                at = end + 1
                continue
            del ends[first]  # none closes any more: not searched for again
        end = at
        while end < size and not message[end].isspace():
            end += 1
        fields.append(message[at:end])
        at = end
    return fields


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise PatternError(f"cannot read '{text[at : at + 20].strip()}'")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _split(tokens: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token[0] == "comma":
            parts.append([])
        else:
            parts[-1].append(token)
    if not all(parts):
        raise PatternError("a field has no name")
    return parts


def _field(part: list[Token]) -> Matcher:
    """`name`, or conditions on it joined by && and ||, && binding tighter."""
    if len(part) == 1 and part[0][0] in ("word", "quoted"):
        return lambda field: True
    either: list[list[Matcher]] = [[]]
    at = 0
    while True:
        if at < len(part) and part[at][0] == "word":
            at += 1
        if [kind for kind, _ in part[at : at + 2]][:1] != ["operator"] or len(part) < at + 2:
            raise PatternError(f"cannot read the field '{' '.join(text for _, text in part)}'")
        either[-1].append(_condition(part[at][1], part[at + 1]))
        at += 2
        if at == len(part):
            break
        if part[at][0] != "logic":
            raise PatternError(f"expected && or ||, not '{part[at][1]}'")
        if part[at][1] == "||":
            either.append([])
        at += 1
    return lambda field: any(all(test(field) for test in tests) for tests in either)


def _condition(sign: str, value: Token) -> Matcher:
    kind, text = value
    if sign in _ORDER:
        bound = number(text) if kind == "word" else None
        if bound is None:
            raise PatternError(f"'{sign}' needs a number, not '{text}'")
        holds, limit = _ORDER[sign], bound
        return lambda field: (n := number(field)) is not None and holds(n, limit)
    if kind == "regex":
        same = compile_regex(text)
    elif kind in ("word", "quoted"):
        same = wildcard(unquote(text) if kind == "quoted" else text)
    else:
        raise PatternError(f"expected a value after '{sign}', not '{text}'")
    return same if sign == "=" else lambda field: not same(field)
