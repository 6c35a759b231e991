"""Metric maths: the text of an expression into a tree. Pure; model/metric_values.py evaluates it.

expression := or;  or := and ((OR | ||) and)*;  and := compare ((AND | &&) compare)*
compare := sum ((== | != | < | <= | > | >=) sum)*;  sum := term ((+ | -) term)*
term := factor ((* | /) factor)*;  factor := - factor | power;  power := atom (^ factor)?
atom := number | 'text' | name | NAME(args) | [items] | (expression)
"""

import math
import re
from dataclasses import dataclass

MOST_DEEP = 50
MOST_OPERATORS = 250


class MathError(ValueError):
    """The expression cannot be read or evaluated; the message says why, for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """The id of another query; or a word that a function takes (REPEAT, DESC)."""

    id: str


@dataclass(frozen=True, slots=True)
class Array:
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    of: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: "Node"
    right: "Node"


Node = Number | Text | Name | Array | Call | Negation | Binary

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"""|(?P<text>'[^']*'|"[^"]*")|(?P<operator>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],]))""",
    re.ASCII,
)
_LEVELS: tuple[dict[str, str], ...] = (
    {"OR": "||", "||": "||"},
    {"AND": "&&", "&&": "&&"},
    {name: name for name in ("==", "!=", "<", "<=", ">", ">=")},
    {"+": "+", "-": "-"},
    {"*": "*", "/": "/"},
)
"""What binds loosest first."""
_END = ("end", "")


def parse(text: str) -> Node:
    """Raises MathError."""
    reader = _Reader(_tokens(text))
    node = reader.binary(0)
    if reader.next != _END:
        raise MathError(f"Unexpected '{reader.next[1]}'")
    return node


def names(node: Node) -> frozenset[str]:
    """The names that a tree mentions."""
    match node:
        case Name(id):
            return frozenset((id,))
        case Array(items) | Call(_, items):
            return frozenset().union(*(names(item) for item in items))
        case Negation(of):
            return names(of)
        case Binary(_, left, right):
            return names(left) | names(right)
    return frozenset()


def calls(node: Node) -> frozenset[str]:
    """The functions that a tree calls."""
    match node:
        case Call(function, arguments):
            return frozenset((function,)).union(*(calls(item) for item in arguments))
        case Array(items):
            return frozenset().union(*(calls(item) for item in items))
        case Negation(of):
            return calls(of)
        case Binary(_, left, right):
            return calls(left) | calls(right)
    return frozenset()


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise MathError(f"Unexpected '{text[place:].strip()[:1]}'")
        kind = match.lastgroup
        found.append((kind, match[kind]))
        place = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0
        self._deep = 0
        self._operators = 0

    @property
    def next(self) -> tuple[str, str]:
        return self._tokens[self._place] if self._place < len(self._tokens) else _END

    def _take(self) -> tuple[str, str]:
        token = self.next
        self._place += 1
        return token

    def _expect(self, operator: str) -> None:
        kind, value = self._take()
        if (kind, value) != ("operator", operator):
            raise MathError(f"'{operator}' expected, not '{value or 'the end'}'")

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._factor()
        left = self.binary(level + 1)
        while self.next[0] != "text" and self.next[1] in _LEVELS[level]:
            self._operators += 1
            if self._operators > MOST_OPERATORS:
                raise MathError(f"The expression has more than {MOST_OPERATORS} operators")
            operator = _LEVELS[level][self._take()[1]]
            left = Binary(operator, left, self.binary(level + 1))
        return left

    def _factor(self) -> Node:
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise MathError("The expression is nested too deeply")
        try:
            if self.next == ("operator", "-"):
                self._take()
                return Negation(self._factor())
            base = self._atom()
            if self.next == ("operator", "^"):
                self._take()
                return Binary("^", base, self._factor())
            return base
        finally:
            self._deep -= 1

    def _atom(self) -> Node:
        kind, value = self._take()
        match kind, value:
            case "number", _:
                if not math.isfinite(float(value)):
                    raise MathError(f"The number {value} is too large")
                return Number(float(value))
            case "text", _:
                return Text(value[1:-1])
            case "name", _:
                if self.next == ("operator", "("):
                    self._take()
                    return Call(value.upper(), self._items(")"))
                return Name(value)
            case "operator", "(":
                inner = self.binary(0)
                self._expect(")")
                return inner
            case "operator", "[":
                return Array(self._items("]"))
        raise MathError(f"Unexpected '{value}'" if value else "The expression ends too early")

    def _items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        if self.next != ("operator", end):
            found.append(self.binary(0))
            while self.next == ("operator", ","):
                self._take()
                found.append(self.binary(0))
        self._expect(end)
        return tuple(found)
