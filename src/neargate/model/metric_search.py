"""SEARCH of metric maths: which metrics an expression like `{AWS/ECS,ClusterName} CPU OR Memory` means. Pure.

Words match parts of the namespace, of the metric's name and of its dimensions, whatever their case; texts in
double quotes match one of them whole; `Name=word` and `Name="text"` look at one of them only. Side by side
means AND; there are OR, NOT and parentheses.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from neargate.model.metric import Metric
from neargate.model.metric_math import MOST_DEEP, MathError

Test = Callable[[Metric], bool]
_SCHEMA = re.compile(r'\s*\{((?:[^{}"]|"[^"]*")*)\}')
_PART = re.compile(r'\s*(?:"([^"]*)"|([^,"]+?))\s*(?:,|$)')
_TOKEN = re.compile(
    r"""\s*(?:(?P<property>:?[\w.]+|"[^"]*")\s*=\s*(?P<value>"[^"]*"|[^\s()"=]+)"""
    r"""|(?P<mark>[()])|(?P<text>"[^"]*")|(?P<word>[^\s()"=]+))"""
)


@dataclass(frozen=True, slots=True)
class Search:
    namespace: str | None
    dimensions: frozenset[str] | None
    """The names that a metric has, no more and no fewer; None: any."""
    matches: Test


def parse(expression: str) -> Search:
    """Raises MathError."""
    namespace: str | None = None
    dimensions: frozenset[str] | None = None
    rest = expression
    schema = _SCHEMA.match(expression)
    if schema:
        parts = [quoted or plain for quoted, plain in _PART.findall(schema[1])]
        if not parts:
            raise MathError("SEARCH: the schema names no namespace")
        namespace, dimensions = parts[0], frozenset(parts[1:])
        rest = expression[schema.end() :]
    reader = _Reader(rest)
    test = reader.alternatives() if reader.some else (lambda metric: True)
    if reader.some:
        raise MathError("SEARCH: unexpected ')'")
    schema_test = _schema_test(namespace, dimensions)
    return Search(namespace, dimensions, lambda metric: schema_test(metric) and test(metric))


def _schema_test(namespace: str | None, dimensions: frozenset[str] | None) -> Test:
    def test(metric: Metric) -> bool:
        if namespace is not None and metric.namespace != namespace:
            return False
        return dimensions is None or {name for name, _ in metric.dimensions} == dimensions

    return test


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, str]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise MathError(f"SEARCH: unexpected '{text[place:].strip()[:1]}'")
            self._tokens.append((match.lastgroup, match[match.lastgroup], match["property"] or ""))
            place = match.end()
        self._place = 0
        self._deep = 0

    @property
    def some(self) -> bool:
        return self._place < len(self._tokens)

    @property
    def _next(self) -> tuple[str, str]:
        return self._tokens[self._place][:2] if self.some else ("", "")

    def alternatives(self) -> Test:
        ways = [self._all()]
        while self._next == ("word", "OR"):
            self._place += 1
            ways.append(self._all())
        return lambda metric: any(way(metric) for way in ways)

    def _all(self) -> Test:
        tests = [self._one()]
        while self.some and self._next not in (("word", "OR"), ("mark", ")")):
            if self._next == ("word", "AND"):
                self._place += 1
            tests.append(self._one())
        return lambda metric: all(test(metric) for test in tests)

    def _one(self) -> Test:
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise MathError("SEARCH: nested too deeply")
        try:
            return self._term()
        finally:
            self._deep -= 1

    def _term(self) -> Test:
        if not self.some:
            raise MathError("SEARCH: the expression ends too early")
        kind, text, of = self._tokens[self._place]
        self._place += 1
        if kind == "word" and text == "NOT":
            inner = self._one()
            return lambda metric: not inner(metric)
        if kind == "mark":
            return self._group(text)
        if kind == "word" and text in ("AND", "OR"):
            raise MathError(f"SEARCH: {text} stands alone")
        if kind == "value":
            return _property(of.strip('"'), text)
        if kind == "text":
            return lambda metric: text[1:-1] in _texts(metric)
        word = text.lower()
        return lambda metric: any(word in part.lower() for part in _texts(metric))

    def _group(self, mark: str) -> Test:
        if mark == ")":
            raise MathError("SEARCH: unexpected ')'")
        inner = self.alternatives()
        if self._next != ("mark", ")"):
            raise MathError("SEARCH: ')' expected")
        self._place += 1
        return inner


def _texts(metric: Metric) -> list[str]:
    return [metric.namespace, metric.name, *(part for pair in metric.dimensions for part in pair)]


def _property(name: str, given: str) -> Test:
    exact, wanted = given.startswith('"'), given.strip('"')

    def test(metric: Metric) -> bool:
        known = {"Namespace": metric.namespace, "MetricName": metric.name, ":aws.AccountId": metric.account}
        value = known.get(name, dict(metric.dimensions).get(name))
        if value is None:
            return False
        return value == wanted if exact else wanted.lower() in value.lower()

    return test
