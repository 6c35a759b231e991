"""The models' regular expressions, which are Java's, made into RE2's, which match in linear time.

Used by validate.py. What RE2 cannot say (look-around, references back) is not checked.
"""

import re
from collections.abc import Callable
from functools import lru_cache

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20

_SURROGATES = re.compile(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF]{2}\\u[dD][fF]{3}")
_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_CLASSES = {
    r"\p{Alnum}": "[:alnum:]", r"\p{Alpha}": "[:alpha:]", r"\p{Digit}": "[:digit:]",
    r"\p{Punct}": "[:punct:]", r"\p{Graph}": "[:graph:]", r"\p{Print}": "[:print:]",
    r"\p{Lower}": "[:lower:]", r"\p{Upper}": "[:upper:]", r"\p{ASCII}": "[:ascii:]",
    r"\p{Space}": "[:space:]", r"\p{IsLetter}": r"\p{L}", r"\p{IsDigit}": r"\p{Nd}",
    r"\h": r"\t\x{20}\x{A0}",
}  # fmt: skip
_ESCAPED = re.compile(r"\\.")
_REPEAT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_MOST_REPEATS = 1000
"""RE2 compiles no greater ones."""


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> Callable[[str], object] | None:
    """Whether a whole text matches, as a function; None for a pattern that cannot be checked."""
    text = _translated(pattern)
    if text is None:
        return None
    for candidate in (text, _REPEAT.sub(_loosened, text)):
        try:
            return re2.compile(candidate, _OPTIONS).fullmatch  # type: ignore[no-any-return]
        except re2.error:
            continue
    return None


def _translated(pattern: str) -> str | None:
    if "&&" in pattern:  # Java's intersection of classes, which RE2 would take for two ampersands.
        return None
    text = _SURROGATES.sub(r"\\x{10000}-\\x{10FFFF}", pattern)
    text = _UNICODE.sub(r"\\x{\1}", text)
    for java, ours in _CLASSES.items():
        while java in text:
            before, after = text.split(java, 1)
            text = before + (f"[{ours}]" if ours.startswith("[:") and not _in_class(before) else ours) + after
    return text


def _in_class(before: str) -> bool:
    """Whether what follows this part of a pattern stands between the brackets of a class."""
    plain = _ESCAPED.sub("", before)
    return plain.rfind("[") > plain.rfind("]")


def _loosened(found: re.Match[str]) -> str:
    """A repeat without its too great bound: what it refuses would be refused anyway."""
    low, comma, high = found.groups()
    least = min(int(low), _MOST_REPEATS)
    if int(high or 0) > _MOST_REPEATS or int(low) > _MOST_REPEATS:
        return f"{{{least},}}"
    return f"{{{low}{comma}{high}}}"
