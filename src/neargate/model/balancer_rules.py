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


def pattern_regex(pattern: str, any_character: str = ".", *, escapes: bool = False) -> str:
    r"""What `pattern` matches, in RE2's words (Envoy's `safe_regex`): `*` is any text, also none, `?` one
    character. Whether case counts, and what `.` is, is for flags around it to say.

    escapes -- in query strings a `\` takes the next character as it is; elsewhere it is one like others.
    """
    kinds = {"*": f"{any_character}*", "?": any_character}
    return "".join(kinds.get(token) or quoted(literal) for token, literal in _tokens(pattern, escapes))


def _tokens(pattern: str, escapes: bool) -> Iterator[tuple[str, str]]:
    """Wildcards and what is between them; the latter also as the text that it stands for."""
    for token in (_ESCAPING if escapes else _PLAIN).findall(pattern):
        yield token, token[1:] if escapes and token[0] == "\\" else token


def quoted(text: str) -> str:
    """Text that matches itself, in RE2's words."""
    return re.sub(r"[^A-Za-z0-9_\x80-\U0010FFFF]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character.isprintable() and character != " " else f"\\x{ord(character):02x}"


def wildcards(pattern: str, *, escapes: bool = False) -> int:
    return sum(1 for token, _ in _tokens(pattern, escapes) if token in ("*", "?"))


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


def matches(matcher: str, code: int) -> bool:
    return any(low <= code <= high for low, high in codes(matcher))


def default_rule_arn(listener_arn: str) -> str:
    """The ARN of a listener's default rule, which is no record of its own: its actions are the listener's."""
    digits = hashlib.sha256(listener_arn.encode()).hexdigest()[:16]
    return f"{listener_arn.replace(':listener/', ':listener-rule/')}/{digits}"


def listener_arn_of(rule_arn: str) -> str:
    return rule_arn.rpartition("/")[0].replace(":listener-rule/", ":listener/")
