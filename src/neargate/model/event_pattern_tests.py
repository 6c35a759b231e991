"""What may stand in a list of values of an event pattern: texts, numbers, and the objects with one key
(prefix, suffix, anything-but, numeric, exists, cidr, equals-ignore-case, wildcard). Pure.

Used by event_pattern.py.
"""

import ipaddress
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

ABSENT: Final = object()
"""The value of a field that an event does not have."""

Judge = Callable[[Any], bool]
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LIMIT = 5e9


class PatternError(ValueError):
    """A pattern says nothing that could be matched; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Test:
    judge: Judge
    exact: Any = None
    """The value that it compares with, of one that compares."""

    def __call__(self, value: Any) -> bool:
        return self.judge(value)


def read_test(raw: Any) -> Test:
    if isinstance(raw, dict):
        if len(raw) != 1:
            raise PatternError("Only one key allowed in match expression")
        ((name, value),) = raw.items()
        maker = _MAKERS.get(name)
        if maker is None:
            raise PatternError(f"Unrecognized match type {name}")
        return Test(maker(value))
    if isinstance(raw, list):
        raise PatternError("Match value must be String, number, true, false, or null")
    wanted = key(raw)
    return Test(lambda value: key(value) == wanted, raw)


def key(value: Any) -> tuple[str, Any]:
    """Alike for values that are equal as JSON: 1 is 1.0, but true is not 1. Sets of many are looked into."""
    return ("boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else ""), value


def _texts(raw: Any, what: str) -> list[str]:
    """A text, or a list of some."""
    texts = raw if isinstance(raw, list) else [raw]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PatternError(f"{what} match pattern must be a string")
    return texts


def _on_text(judge: Callable[[str], bool]) -> Judge:
    return lambda value: isinstance(value, str) and judge(value)


def _ignoring_case(raw: Any, what: str) -> str:
    if list(raw) != ["equals-ignore-case"] or not isinstance(raw["equals-ignore-case"], str):
        raise PatternError(f"{what} match pattern must be a string")
    return str(raw["equals-ignore-case"]).casefold()


def _prefix(raw: Any) -> Judge:
    if isinstance(raw, dict):
        folded = _ignoring_case(raw, "prefix")
        return _on_text(lambda text: text.casefold().startswith(folded))
    wanted = _one(raw, "prefix")
    return _on_text(lambda text: text.startswith(wanted))


def _suffix(raw: Any) -> Judge:
    if isinstance(raw, dict):
        folded = _ignoring_case(raw, "suffix")
        return _on_text(lambda text: text.casefold().endswith(folded))
    wanted = _one(raw, "suffix")
    return _on_text(lambda text: text.endswith(wanted))


def _one(raw: Any, what: str) -> str:
    if not isinstance(raw, str):
        raise PatternError(f"{what} match pattern must be a string")
    return raw


def _equals_ignore_case(raw: Any) -> Judge:
    folded = _one(raw, "equals-ignore-case").casefold()
    return _on_text(lambda text: text.casefold() == folded)


def _wildcard(raw: Any) -> Judge:
    """Each run but the last ends at the first place where what follows it fits: nothing is tried twice."""
    first, *rest = _literals(_one(raw, "wildcard"))
    if not rest:
        return _on_text(lambda text: text == first)
    *middle, last = rest

    def judge(text: str) -> bool:
        place, end = len(first), len(text) - len(last)
        if place > end or not (text.startswith(first) and text.endswith(last)):
            return False
        for literal in middle:
            found = text.find(literal, place, end)
            if found < 0:
                return False
            place = found + len(literal)
        return True

    return _on_text(judge)


def _literals(text: str) -> list[str]:
    """What stands between the stars of a wildcard: `*` is any run, `\\*` a star."""
    literals, position = [""], 0
    while position < len(text):
        character = text[position]
        if character == "*":
            if text[position + 1 : position + 2] == "*":
                raise PatternError(f"Consecutive wildcard characters at pos {position}")
            literals.append("")
        elif character == "\\":
            position += 1
            if text[position : position + 1] not in ("*", "\\"):
                raise PatternError(f"Invalid escape character at pos {position - 1}")
            literals[-1] += text[position]
        else:
            literals[-1] += character
        position += 1
    return literals


def _anything_but(raw: Any) -> Judge:
    if isinstance(raw, dict):
        return _nothing_like(raw)
    values = raw if isinstance(raw, list) else [raw]
    if not values:
        raise PatternError("Empty arrays are not allowed")
    texts, numbers = all(isinstance(v, str) for v in values), all(_is_number(v) for v in values)
    if not texts and not numbers:
        raise PatternError(
            "Inside anything but list, either all values are number or string, mixed type is not supported"
        )
    unwanted = frozenset(map(key, values))
    return lambda value: value is not ABSENT and key(value) not in unwanted


def _nothing_like(raw: Mapping[str, Any]) -> Judge:
    if len(raw) != 1 or next(iter(raw)) not in _UNLIKE:
        raise PatternError(f"Unsupported anything-but pattern: {', '.join(map(str, raw))}"[:300])
    ((name, value),) = raw.items()
    judges = [_UNLIKE[name](text) for text in _texts(value, name)]
    return lambda found: found is not ABSENT and not any(judge(found) for judge in judges)


def _numeric(raw: Any) -> Judge:
    if not isinstance(raw, list) or not raw:
        raise PatternError("Value of numeric must be an array.")
    if len(raw) not in (2, 4):
        raise PatternError("Invalid numeric match: too many elements or a value is missing")
    tests = []
    for sign, bound in zip(raw[::2], raw[1::2], strict=True):
        if not isinstance(sign, str) or sign not in _COMPARE:
            raise PatternError(f"Unrecognized numeric range operator: {str(sign)[:100]}")
        if not _is_number(bound):
            raise PatternError(f"Value of {sign} must be numeric")
        if not -_LIMIT <= bound <= _LIMIT:
            raise PatternError("Value of numeric must be between -5.0E9 and 5.0E9, inclusive")
        tests.append((_COMPARE[sign], bound))
    _check_range(raw)
    return lambda value: _is_number(value) and all(compare(value, bound) for compare, bound in tests)


def _check_range(raw: list[Any]) -> None:
    if len(raw) == 2:
        return
    if raw[0] not in (">", ">=") or raw[2] not in ("<", "<="):
        raise PatternError(f"Bad numeric range operator: {raw[2] if raw[0] in ('>', '>=') else raw[0]}")
    if raw[1] >= raw[3]:
        raise PatternError("Bottom must be less than top")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exists(raw: Any) -> Judge:
    if not isinstance(raw, bool):
        raise PatternError("exists match pattern must be either true or false.")
    return lambda value: (value is not ABSENT) == raw


def _cidr(raw: Any) -> Judge:
    text = _one(raw, "cidr")
    if "/" not in text:
        raise PatternError(f"Malformed CIDR, one '/' required: {text[:100]}")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise PatternError(f"Malformed CIDR: {text[:100]}") from None

    def judge(value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return _on_text(judge)


_UNLIKE: Final[Mapping[str, Callable[[Any], Judge]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
_MAKERS: Final[Mapping[str, Callable[[Any], Judge]]] = {
    **_UNLIKE,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
    "cidr": _cidr,
}
