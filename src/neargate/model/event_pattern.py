"""Event patterns: text into a matcher, and whether an event matches. Pure.

Called by services/events (PutRule, TestEventPattern) and state/outbox. event_pattern_tests.py knows what may
stand in a list of values. Fields of one object inside a list must match in the same element of it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from neargate.kit import inner_json
from neargate.model.event_pattern_tests import ABSENT, PatternError, Test, key, read_test

__all__ = ["Pattern", "PatternError", "compiled"]
_OR = "$or"
_MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that must have one of some values."""

    tests: tuple[Test, ...]
    exact: frozenset[tuple[str, Any]]
    """Keys of what is compared with: a set, as events and patterns may both have very many values."""
    others: tuple[Test, ...]

    def matches(self, value: Any) -> bool:
        values = {} if value is ABSENT else {key(item): item for item in _scalars(value)}
        if not self.exact.isdisjoint(values):
            return True
        return any(test(item) for test in self.others for item in values.values() or (ABSENT,))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Fields that must all match, and alternatives of which one must, for each `$or`."""

    fields: tuple[tuple[str, "Leaf | Pattern"], ...]
    alternatives: tuple["Pattern", ...] = ()

    def matches(self, value: Any) -> bool:
        if isinstance(value, list):
            return any(self.matches(item) for item in _objects(value))
        found: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not all(test.matches(found.get(name, ABSENT)) for name, test in self.fields):
            return False
        return not self.alternatives or any(each.matches(value) for each in self.alternatives)

    @property
    def sources(self) -> tuple[str, ...]:
        """The texts that `source` is compared with; empty if it may be anything."""
        for name, test in self.fields:
            if name == "source" and isinstance(test, Leaf):
                texts = tuple(item.exact for item in test.tests if isinstance(item.exact, str))
                return texts if len(texts) == len(test.tests) else ()
        return ()


def _scalars(value: Any) -> Iterator[Any]:
    """The plain values of a field: lists are looked into, however deep, objects are none."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif not isinstance(item, dict):
            yield item


def _objects(value: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Those of a list, however deep. A list without any is as good as an object without fields."""
    waiting = [value]
    while waiting:
        inner = [item for item in waiting.pop() if isinstance(item, dict | list)]
        if not inner:
            yield {}
        waiting += [item for item in inner if isinstance(item, list)]
        yield from (item for item in inner if isinstance(item, dict))


@lru_cache(maxsize=1024)
def compiled(text: str) -> Pattern:
    """Raise PatternError with what is wrong, in the words of EventBridge."""
    try:
        raw = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        inner_json.read(text)
    except RecursionError:
        raise PatternError("Pattern is nested too deep") from None
    except ValueError as error:
        raise PatternError(str(error)) from None
    if not isinstance(raw, dict):
        raise PatternError("Filter is not an object")
    if not raw:
        raise PatternError("Empty objects are not allowed")
    return _object(raw, 0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise PatternError("Path with the same key is not allowed")
    return found


def _no_constant(text: str) -> Any:
    raise PatternError(f"Unrecognized token '{text}'")


def _object(raw: Mapping[str, Any], depth: int) -> Pattern:
    if not raw:
        raise PatternError("Empty objects are not allowed")
    if depth > _MAX_DEPTH:
        raise PatternError("Pattern is nested too deep")
    fields: list[tuple[str, Leaf | Pattern]] = []
    alternatives: tuple[Pattern, ...] = ()
    for name, value in raw.items():
        if name == _OR and _is_alternatives(value):
            alternatives = tuple(_object(item, depth + 1) for item in value)
        elif isinstance(value, dict):
            fields.append((name, _object(value, depth + 1)))
        elif isinstance(value, list):
            fields.append((name, _leaf(value)))
        else:
            raise PatternError(f'"{name}" must be an object or an array')
    return Pattern(tuple(fields), alternatives)


def _is_alternatives(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return False
    if len(value) < 2:
        raise PatternError("There must have at least 2 Objects in $or relationship")
    return True


def _leaf(raw: list[Any]) -> Leaf:
    if not raw:
        raise PatternError("Empty arrays are not allowed")
    tests = tuple(read_test(item) for item in raw)
    exact = frozenset(key(test.exact) for test in tests if test.exact is not None)
    return Leaf(tests, exact, tuple(test for test in tests if test.exact is None))
