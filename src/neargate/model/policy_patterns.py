"""Texts of policies that stand for many: wildcards, and variables that the request fills in. Pure.

Called by policy.py (actions, resources) and policy_conditions.py. Matching takes time linear in the value,
whatever a policy's author thinks of.
"""

import functools
import re
from collections.abc import Callable, Mapping
from enum import Enum

import re2

Context = Mapping[str, tuple[str, ...]]
"""What is known of a request: key in lower case -> its values."""

Pieces = tuple[tuple[str, bool], ...]
"""A text in parts: each with whether its `*` and `?` are wildcards. What a variable gave never has any."""

_VARIABLE = re.compile(
    r"\$\{(?:(?P<literal>[*?$])|(?P<name>[^${}',*?]+?)\s*(?:,\s*'(?P<default>[^']*)'\s*)?)\}"
)
_ARN_SEGMENTS = 6


class Style(Enum):
    """How far a `*` reaches."""

    TEXT = "text"
    """Anywhere."""
    RESOURCE = "resource"
    """Within one of an ARN's segments, but beyond it where it is the segment's last character."""
    ARN = "arn"
    """Within one of an ARN's segments: each is compared by itself (ArnLike)."""


def expand(text: str, context: Context | None) -> Pieces | None:
    """The text with its variables filled in; None where the request has no value for one.

    context -- None where variables are not known: documents of 2008 say `${...}` and mean it.
    """
    if context is None or "${" not in text:
        return ((text, True),)
    pieces: list[tuple[str, bool]] = []
    end = 0
    for found in _VARIABLE.finditer(text):
        pieces.append((text[end : found.start()], True))
        end = found.end()
        value = found["literal"] or _value(found["name"], found["default"], context)
        if value is None:
            return None
        pieces.append((value, False))
    pieces.append((text[end:], True))
    return tuple(piece for piece in pieces if piece[0])


def _value(name: str, default: str | None, context: Context) -> str | None:
    """Keys with several values are no variables."""
    values = context.get(name.strip().lower(), ())
    return values[0] if len(values) == 1 else default


def plain(pieces: Pieces) -> str:
    """The text for comparisons that have no wildcards."""
    return "".join(text for text, _ in pieces)


def matches(pieces: Pieces, value: str, style: Style = Style.TEXT) -> bool:
    if pieces == (("*", True),):
        return True
    if not any(wild and ("*" in text or "?" in text) for text, wild in pieces):
        return plain(pieces) == value
    return _compiled(pieces, style).fullmatch(value.encode("utf-8", "replace").decode()) is not None


@functools.lru_cache(4096)
def _compiled(pieces: Pieces, style: Style) -> "re2._Regexp[str]":
    return re2.compile(f"(?s){_translated(pieces, style)}")


def _translated(pieces: Pieces, style: Style) -> str:
    parts = []
    segment = 1
    for at, (text, wild) in enumerate(pieces):
        if not wild:
            parts.append(re2.escape(text.encode("utf-8", "replace").decode()))
            continue
        for position, character in enumerate(text):
            rest = text[position + 1 :]
            last = not rest and at == len(pieces) - 1
            if character in "*?":
                free = style is Style.TEXT or segment >= _ARN_SEGMENTS
                if character == "*":
                    free = free or last or (style is Style.RESOURCE and rest.startswith(":"))
                parts.append(("." if free else "[^:]") + ("*" if character == "*" else ""))
                continue
            segment += character == ":"
            parts.append(re2.escape(character.encode("utf-8", "replace").decode()))
    return "".join(parts)


@functools.lru_cache(1024)
def any_of(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a value is matched by any of the patterns, which have no variables. AWS's have thousands."""
    plain_ones = frozenset(each for each in patterns if "*" not in each and "?" not in each)
    wild = [_translated(((each, True),), Style.TEXT) for each in patterns if each not in plain_ones]
    compiled = re2.compile(f"(?s){'|'.join(wild)}") if wild else None

    def test(value: str) -> bool:
        if value in plain_ones:
            return True
        clean = value.encode("utf-8", "replace").decode()
        return compiled is not None and compiled.fullmatch(clean) is not None

    return test
