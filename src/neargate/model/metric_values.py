"""What metric maths works on, numbers and series of points, and the evaluation of a tree. Pure.

Called by model/metric_queries.py; functions are in model/metric_functions.py. Where two series meet, the
result has the moments that both have; a point that has no value (1/0) is left out.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from neargate.model.metric_math import Array, Binary, Call, MathError, Name, Negation, Node, Number, Text


@dataclass(frozen=True, slots=True)
class Series:
    points: Mapping[int, float]
    """By the second in which the period begins, in order."""
    period: int
    label: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    """What a label may be made of: MetricName, Namespace, Dim.<name>, Stat, Period."""


Value = float | str | Series | list[Series]


class Context(Protocol):
    """Where an expression is evaluated."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def period(self) -> int:
        """Of a series that is made of no other."""
        ...

    def value(self, id: str) -> Value:
        """Of another query. Raise MathError if there is none."""
        ...

    def metrics(self, part: str) -> list[Series]:
        """All metrics of the request whose ids contain `part`."""
        ...

    def search(self, expression: str, stat: str, period: int | None) -> list[Series]: ...

    def spend(self, points: int) -> None:
        """Count points that are made or looked at. Raise MathError beyond what one request may cost."""
        ...


Function = Callable[[Context, tuple[Value, ...]], Value]


def evaluate(node: Node, context: Context, functions: Mapping[str, Function]) -> Value:
    """Raises MathError."""
    value = _evaluated(node, context, functions)
    context.spend(size(value))
    return value


def size(value: Value) -> int:
    """Points, and one for each series: an array of empty ones takes memory as well."""
    if isinstance(value, list):
        return len(value) + sum(len(series.points) for series in value)
    return 1 + len(value.points) if isinstance(value, Series) else 0


def _evaluated(node: Node, context: Context, functions: Mapping[str, Function]) -> Value:
    match node:
        case Number(value):
            return value
        case Text(text):
            return text
        case Name(id):
            # Ids begin with a small letter: the rest are words that functions take.
            return id if id[0].isupper() else context.value(id)
        case Array(items):
            found: list[Series] = []
            for item in items:
                found += listed(evaluate(item, context, functions), "an array")
            return found
        case Negation(of):
            return each(evaluate(of, context, functions), lambda v: -v, "-")
        case Binary(operator, left, right):
            first = evaluate(left, context, functions)
            return combined(operator, first, evaluate(right, context, functions))
        case Call(name, arguments):
            function = functions.get(name)
            if function is None:
                raise MathError(f"The function {name} is not built")
            given = tuple(evaluate(item, context, functions) for item in arguments)
            context.spend(sum(map(size, given)))  # SUM gives one number, however many it looks at
            return function(context, given)


def kind_of(value: Value) -> str:
    if isinstance(value, list):
        return "TimeSeries[]"
    return {float: "Scalar", str: "String"}.get(type(value), "TimeSeries")


def listed(value: Value, of: str) -> list[Series]:
    """One series or several, as several."""
    if isinstance(value, Series):
        return [value]
    if isinstance(value, list):
        return value
    raise MathError(f"Expected a time series in {of}, not a {kind_of(value)}")


def number(value: Value, of: str) -> float:
    if not isinstance(value, float):
        raise MathError(f"Expected a number in {of}, not a {kind_of(value)}")
    return value


def each(value: Value, change: Callable[[float], float | None], of: str) -> Value:
    """A function of numbers, of each of a series' points."""
    if isinstance(value, float):
        return _known(attempt(change, value), of)
    if isinstance(value, list):
        return [_changed(one, change) for one in value]
    if isinstance(value, Series):
        return _changed(value, change)
    raise MathError(f"Unsupported operand type(s) for {of}: '[{kind_of(value)}]'")


def _changed(series: Series, change: Callable[[float], float | None]) -> Series:
    return replace(series, points=kept((at, attempt(change, v)) for at, v in series.points.items()))


def attempt(work: Callable[..., float | None], *arguments: object) -> float | None:
    """The result, None where it is no number."""
    try:
        value = work(*arguments)
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def kept(points: Iterable[tuple[int, float | None]]) -> dict[int, float]:
    return {at: value for at, value in points if value is not None}


def _known(value: float | None, of: str) -> float:
    if value is None:
        raise MathError(f"The result of {of} is not a number")
    return value


_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "<": lambda a, b: float(a < b),
    "<=": lambda a, b: float(a <= b),
    ">": lambda a, b: float(a > b),
    ">=": lambda a, b: float(a >= b),
    "&&": lambda a, b: float(bool(a) and bool(b)),
    "||": lambda a, b: float(bool(a) or bool(b)),
}


def combined(operator: str, left: Value, right: Value) -> Value:
    work = _OPERATORS[operator]
    if isinstance(left, float) and isinstance(right, float):
        return _known(attempt(work, left, right), operator)
    if isinstance(right, float):
        return each(left, lambda v: work(v, right), operator)
    if isinstance(left, float):
        return each(right, lambda v: work(left, v), operator)
    if isinstance(left, Series) and isinstance(right, Series):
        return _joined(work, left, right)
    if isinstance(left, list) and isinstance(right, Series):
        return [replace(_joined(work, one, right), label=one.label) for one in left]
    if isinstance(left, Series) and isinstance(right, list):
        return [replace(_joined(work, left, one), label=one.label) for one in right]
    kinds = f"[{kind_of(left)}, {kind_of(right)}]"
    raise MathError(f"Unsupported operand type(s) for {operator}: '{kinds}'")


def _joined(work: Callable[[float, float], float], left: Series, right: Series) -> Series:
    points = ((at, attempt(work, v, right.points[at])) for at, v in left.points.items() if at in right.points)
    return Series(kept(points), max(left.period, right.period), left.label)
