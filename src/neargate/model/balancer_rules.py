"""What the patterns and code lists of load balancing mean. Pure.

services/elbv2 checks what callers give with it; the node's data plane makes matchers and health checks of it.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

_PLAIN: Final = re.compile(r"[^*?]+|[*?]")
_ESCAPING: Final = re.compile(r"[^*?\\]+|\\.?|[*?]", re.S)
_CODES: Final = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)


def pattern_regex(pattern: str, *, ignore_case: bool = False, escapes: bool = False) -> str:
    r"""A regular expression in RE2's words (Envoy's `safe_regex`) that matches whole texts as `pattern` does.

    `*` is any text, also none; `?` is one character. ignore_case -- for hosts, header values and query
    strings; paths are compared as they are. escapes -- in query strings a `\` takes the next character as it
    is; elsewhere it is a character like others.
    """
    flags = "is" if ignore_case else "s"
    return f"(?{flags}:{''.join(_pieces(pattern, escapes))})"


def _pieces(pattern: str, escapes: bool) -> Iterator[str]:
    for token in (_ESCAPING if escapes else _PLAIN).findall(pattern):
        if token == "*":
            yield ".*"
        elif token == "?":
            yield "."
        else:
            yield quoted(token[1:] if escapes and token[0] == "\\" else token)


def quoted(text: str) -> str:
    """Text that matches itself, in RE2's words."""
    return re.sub(r"[^A-Za-z0-9_\x80-\U0010FFFF]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character.isprintable() and character != " " else f"\\x{ord(character):02x}"


def wildcards(pattern: str, *, escapes: bool = False) -> int:
    return sum(1 for piece in _pieces(pattern, escapes) if piece in (".*", "."))


def codes(matcher: str) -> tuple[tuple[int, int], ...]:
    """The ranges of a matcher, e.g. `200,204-206`, both ends included. Raise ValueError."""
    ranges = []
    for part in matcher.split(","):
        found = _CODES.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"'{part}' is neither a code nor a range of codes")
        low, high = int(found[1]), int(found[2] or found[1])
        if low > high:
            raise ValueError(f"the range '{part}' ends before it begins")
        ranges.append((low, high))
    return tuple(ranges)


def is_success(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code <= high for low, high in ranges)


def default_rule_arn(listener_arn: str) -> str:
    """The ARN of a listener's default rule, which is no record of its own: its actions are the listener's."""
    digits = hashlib.sha256(listener_arn.encode()).hexdigest()[:16]
    return f"{listener_arn.replace(':listener/', ':listener-rule/')}/{digits}"


def listener_arn_of(rule_arn: str) -> str:
    return rule_arn.rpartition("/")[0].replace(":listener-rule/", ":listener/")
