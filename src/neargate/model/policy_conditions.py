"""The Condition element of policies: operators, sets of values, keys that a request does not have. Pure.

Read by policy_document.py, asked by policy.py. Rules:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

from neargate.model.policy_patterns import Context, Style, expand, matches, plain

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)
_EPOCH = re.compile(r"[0-9]{5,15}(?:\.[0-9]{1,9})?", re.ASCII)
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?)?)?)?",
    re.ASCII,
)


class ConditionError(ValueError):
    """No operator of that name, or a value that it cannot compare with."""


class Each(Enum):
    """Of a key with several values: which of them must do."""

    UNSAID = ""
    ANY = "ForAnyValue"
    ALL = "ForAllValues"


@dataclass(frozen=True, slots=True)
class Condition:
    operator: str
    """Without what stands before and after it: `StringLike`."""
    key: str
    """In lower case."""
    values: tuple[str, ...]
    each: Each = Each.UNSAID
    if_exists: bool = False


Test = Callable[[str, str, Context | None], bool]
"""(what the policy says, what the request has, where its variables come from)"""


@dataclass(frozen=True, slots=True)
class _Operator:
    test: Test
    negated: bool = False
    check: Callable[[str], object] = str
    """Raise ValueError for a value of a policy that can never be compared."""


def read(name: str, key: str, values: tuple[str, ...]) -> Condition:
    """A condition as a document spells it. Raise ConditionError."""
    quantifier, colon, rest = name.rpartition(":")
    try:
        each = Each(quantifier) if colon else Each.UNSAID
    except ValueError:
        raise ConditionError(f"{quantifier} is no set operator") from None
    operator = rest.removesuffix("IfExists")
    if operator == "Null":
        if operator != rest or any(value.lower() not in ("true", "false") for value in values):
            raise ConditionError("Null takes true or false, and no IfExists")
    elif operator not in _OPERATORS:
        raise ConditionError(f"{name} is no condition operator")
    else:
        for value in values:
            try:
                _OPERATORS[operator].check(value)
            except ValueError:
                raise ConditionError(f"{operator} cannot compare with {value}") from None
    return Condition(operator, key.lower(), values, each, operator != rest)


def holds(condition: Condition, context: Context, variables: Context | None) -> bool:
    """variables -- the context again, or None in documents that know none."""
    given = context.get(condition.key, ())
    if condition.operator == "Null":
        return any((value.lower() == "true") == (not given) for value in condition.values)
    if not given and condition.if_exists:
        return True
    operator = _OPERATORS[condition.operator]

    def equal(value: str) -> bool:
        return any(operator.test(expected, value, variables) for expected in condition.values)

    if condition.each is Each.ALL:
        return all(equal(value) != operator.negated for value in given)
    if condition.each is Each.ANY:
        return any(equal(value) != operator.negated for value in given)
    return any(equal(value) for value in given) != operator.negated


def _text(change: Callable[[str], str]) -> Test:
    def test(expected: str, given: str, variables: Context | None) -> bool:
        pieces = expand(expected, variables)
        return pieces is not None and change(plain(pieces)) == change(given)

    return test


def _like(style: Style) -> Test:
    def test(expected: str, given: str, variables: Context | None) -> bool:
        pieces = expand(expected, variables)
        return pieces is not None and matches(pieces, given, style)

    return test


def _typed(read: Callable[[str], Decimal], compare: Callable[[Decimal, Decimal], bool]) -> Test:
    def test(expected: str, given: str, variables: Context | None) -> bool:
        try:
            return compare(read(given), read(expected))
        except ValueError:
            return False

    return test


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("no number")
    return Decimal(text.strip())


def moment(text: str) -> Decimal:
    """Seconds since the epoch of a date as policies write it. Raise ValueError."""
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("no date")
    parts = zip(found.groups()[:6], "011000", strict=True)
    year, month, day, hour, minute, second = (int(part or least) for part, least in parts)
    zone = found[7] if found[7] not in (None, "Z") else "+0000"
    offset = int(f"{zone[0]}1") * (int(zone[1:3]) * 60 + int(zone[-2:])) * 60
    at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    fraction = re.search(r"\.[0-9]+", text)
    return Decimal(int(at.timestamp()) - offset) + Decimal(fraction[0] if fraction else 0)


def _boolean(text: str) -> None:
    if text.lower() not in ("true", "false") and "${" not in text:
        raise ValueError("neither true nor false")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _same_bytes(expected: str, given: str, variables: Context | None) -> bool:
    try:
        return _bytes(expected) == _bytes(given)
    except ValueError:
        return False


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _within(expected: str, given: str, variables: Context | None) -> bool:
    try:
        return ipaddress.ip_address(given) in _network(expected)
    except ValueError:
        return False


def _both(name: str, test: Test, check: Callable[[str], object] = str) -> dict[str, _Operator]:
    """An operator and its opposite: `StringEquals`, `StringNotEquals`."""
    stem = next(stem for stem in ("EqualsIgnoreCase", "Equals", "Like") if name.endswith(stem))
    kind = name.removesuffix(stem)
    return {name: _Operator(test, False, check), f"{kind}Not{stem}": _Operator(test, True, check)}


def _ordered(kind: str, read: Callable[[str], Decimal]) -> dict[str, _Operator]:
    return _both(f"{kind}Equals", _typed(read, lambda a, b: a == b), read) | {
        f"{kind}LessThan": _Operator(_typed(read, lambda a, b: a < b), False, read),
        f"{kind}LessThanEquals": _Operator(_typed(read, lambda a, b: a <= b), False, read),
        f"{kind}GreaterThan": _Operator(_typed(read, lambda a, b: a > b), False, read),
        f"{kind}GreaterThanEquals": _Operator(_typed(read, lambda a, b: a >= b), False, read),
    }


_OPERATORS: dict[str, _Operator] = {
    **_both("StringEquals", _text(str)),
    **_both("StringEqualsIgnoreCase", _text(str.lower)),
    **_both("StringLike", _like(Style.TEXT)),
    **_ordered("Numeric", _number),
    **_ordered("Date", moment),
    "Bool": _Operator(_text(str.lower), False, _boolean),
    "BinaryEquals": _Operator(_same_bytes, False, _bytes),
    "IpAddress": _Operator(_within, False, _network),
    "NotIpAddress": _Operator(_within, True, _network),
    **_both("ArnEquals", _like(Style.ARN)),
    **_both("ArnLike", _like(Style.ARN)),
}
