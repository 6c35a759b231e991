"""CloudWatch Logs filter patterns: text in, a function of a message out. Pure.

Called by services/logs (FilterLogEvents). Terms and regular expressions are here, JSON selectors in
filter_pattern_json, space-delimited fields in filter_pattern_fields, what they share in
filter_pattern_values.
Every match is linear in the message: regular expressions run on RE2.
Source: AWS "Filter pattern syntax for metric filters, subscription filters, filter log events".
"""

import re
from collections.abc import Callable

from neargate.model.filter_pattern_fields import compile_fields
from neargate.model.filter_pattern_json import compile_json
from neargate.model.filter_pattern_values import PatternError, compile_regex, unquote

__all__ = ["PatternError", "compile_pattern"]

Matcher = Callable[[str], bool]

_TERM = re.compile(
    r'\s*(?P<sign>[-?]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|%(?P<regex>[^%]*)%|(?P<word>[\w.*/@#$+~-]+))(?=\s|$)',
    re.DOTALL,
)


def compile_pattern(pattern: str) -> Matcher:
    """The pattern as a function of a message. Raises PatternError, whose text says what is wrong."""
    text = pattern.strip()
    if not text:
        return lambda message: True
    if text.startswith("{"):
        return compile_json(text)
    if text.startswith("["):
        return compile_fields(text)
    return _compile_terms(text)


def _compile_terms(text: str) -> Matcher:
    all_of: list[Matcher] = []
    any_of: list[Matcher] = []
    none_of: list[Matcher] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            rest = text[at:].split()[0]
            raise PatternError(f"Invalid character(s) in term '{rest}'")
        {"": all_of, "?": any_of, "-": none_of}[match["sign"]].append(_term(match))
        at = match.end()
    # AWS: "?" terms beside terms that must, or must not, be there are ignored.
    if all_of or none_of:
        any_of = []

    def matches(message: str) -> bool:
        return (
            all(term(message) for term in all_of)
            and not any(term(message) for term in none_of)
            and (not any_of or any(term(message) for term in any_of))
        )

    return matches


def _term(match: "re.Match[str]") -> Matcher:
    if match["regex"] is not None:
        return compile_regex(match["regex"])
    term = match["word"] if match["word"] is not None else unquote(match["phrase"])
    return lambda message: term in message
