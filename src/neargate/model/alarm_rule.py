"""The rule of a composite alarm: text in, a function of other alarms' states out. Pure.

    rule := and (OR and)*;  and := not (AND not)*;  not := NOT not | TRUE | FALSE | (rule)
            | ALARM(name) | OK(name) | INSUFFICIENT_DATA(name) | AT_LEAST(n | n%, [NOT] state, (name, ...))

A name is an alarm's name or ARN, in double quotes where it has parentheses, commas or blanks.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from neargate.model.alarm import ALARM, INSUFFICIENT_DATA, OK
from neargate.model.metric_math import MOST_DEEP

MOST_CHILDREN = 100
MOST_ELEMENTS = 500
States = Mapping[str, str]
"""By the names that the rule has. An alarm that is not there has INSUFFICIENT_DATA."""
Test = Callable[[States], bool]
_STATES = (ALARM, OK, INSUFFICIENT_DATA)
_TOKEN = re.compile(r'\s*(?:(?P<mark>[(),])|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[^\s(),"]+))')


class RuleError(ValueError):
    """The rule cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    children: tuple[str, ...]
    """Names or ARNs, as the rule has them, each once."""
    holds: Test


@lru_cache(4096)
def parse(text: str) -> Rule:
    """Raises RuleError."""
    reader = _Reader(text)
    test = reader.alternatives()
    if reader.next != "":
        raise RuleError(f"Unexpected '{reader.next}'")
    if len(reader.children) > MOST_CHILDREN:
        raise RuleError(f"A rule names at most {MOST_CHILDREN} alarms")
    return Rule(tuple(reader.children), test)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise RuleError(f"Unexpected '{text[place:].strip()[:1]}'")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        if len(self._tokens) > MOST_ELEMENTS * 4:
            raise RuleError(f"A rule has at most {MOST_ELEMENTS} elements")
        self._place = 0
        self._deep = 0
        self.children: dict[str, None] = {}

    @property
    def next(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def _take(self) -> str:
        found = self.next
        self._place += 1
        return found

    def _expect(self, mark: str) -> None:
        found = self._take()
        if found != mark:
            raise RuleError(f"'{mark}' expected, not '{found or 'the end'}'")

    def alternatives(self) -> Test:
        ways = [self._all()]
        while self.next == "OR":
            self._take()
            ways.append(self._all())
        return ways[0] if len(ways) == 1 else lambda states: any(way(states) for way in ways)

    def _all(self) -> Test:
        tests = [self._one()]
        while self.next == "AND":
            self._take()
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda states: all(test(states) for test in tests)

    def _one(self) -> Test:
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise RuleError("The rule is nested too deeply")
        try:
            return self._term()
        finally:
            self._deep -= 1

    def _term(self) -> Test:
        word = self._take()
        if word == "NOT":
            inner = self._one()
            return lambda states: not inner(states)
        if word in ("TRUE", "FALSE"):
            return lambda states: word == "TRUE"
        if word == "(":
            inner = self.alternatives()
            self._expect(")")
            return inner
        if word in _STATES:
            self._expect("(")
            name = self._name()
            self._expect(")")
            return lambda states: states.get(name, INSUFFICIENT_DATA) == word
        if word == "AT_LEAST":
            return self._at_least()
        raise RuleError(f"Unexpected '{word}'" if word else "The rule ends too early")

    def _at_least(self) -> Test:
        self._expect("(")
        wanted = self._take()
        if not re.fullmatch(r"[1-9][0-9]{0,2}%?", wanted):
            raise RuleError(f"AT_LEAST takes a number or a percentage first, not '{wanted}'")
        self._expect(",")
        other = self.next == "NOT"
        if other:
            self._take()
        state = self._take()
        if state not in _STATES:
            raise RuleError(f"'{state}' is no state of an alarm")
        self._expect(",")
        self._expect("(")
        names = [self._name()]
        while self.next == ",":
            self._take()
            names.append(self._name())
        self._expect(")")
        self._expect(")")
        least = math.ceil(len(names) * int(wanted[:-1]) / 100) if wanted.endswith("%") else int(wanted)
        if least > len(names):
            raise RuleError(f"AT_LEAST of {len(names)} alarms cannot be {wanted}")
        return lambda states: (
            sum((states.get(name, INSUFFICIENT_DATA) == state) != other for name in names) >= least
        )

    def _name(self) -> str:
        if self._place >= len(self._tokens) or self._tokens[self._place][0] == "mark":
            raise RuleError(f"An alarm's name expected, not '{self.next or 'the end'}'")
        kind, text = self._tokens[self._place]
        self._place += 1
        name = re.sub(r"\\(.)", r"\1", text[1:-1]) if kind == "text" else text
        if not name:
            raise RuleError("An alarm's name is empty")
        self.children[name] = None
        return name
