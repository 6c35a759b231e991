"""What the kinds of filter patterns share: quoted text, wildcards, numbers, regular expressions. Pure.

Called by filter_pattern, filter_pattern_json and filter_pattern_fields.
"""

import math
import re
from collections.abc import Callable

import re2

Matcher = Callable[[str], bool]


class PatternError(ValueError):
    """The pattern is malformed; the message says where."""


# AWS allows these and no more: no groups, no other symbols, no characters beyond ASCII.
_REGEX = re.compile(r"(?:[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|*+.]|\\[dDsSwWbB]|\\x[0-9A-Fa-f]{2}|\\[^A-Za-z0-9])+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEMORY = 1 << 20


def unquote(text: str) -> str:
    """The inside of a quoted string, its backslash escapes taken away."""
    return _ESCAPED.sub(r"\1", text)


def number(text: str) -> float | None:
    """The finite number that a text writes, or None."""
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def compile_regex(source: str) -> Matcher:
    """The inside of %…%: true where it matches anywhere in a text, in time linear in the text."""
    if not _REGEX.fullmatch(source):
        raise PatternError(f"Invalid regular expression '%{source}%'")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(source, options)
    except re2.error:
        raise PatternError(f"Invalid regular expression '%{source}%'") from None
    return lambda text: compiled.search(text) is not None


def wildcard(pattern: str) -> Matcher:
    """True for texts equal to the pattern, where * stands for any characters."""
    if "*" not in pattern:
        return lambda text: text == pattern
    head, *middle, tail = pattern.split("*")

    def matches(text: str) -> bool:
        if len(text) < len(head) + len(tail) or not (text.startswith(head) and text.endswith(tail)):
            return False
        at, end = len(head), len(text) - len(tail)
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return matches
