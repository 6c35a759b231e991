"""awslogs-datetime-format and awslogs-multiline-pattern: which line begins a new event. Pure.

Called by services/ecs (are the options right?) and node/spool_reader (joining lines). Patterns are RE2, as
the Docker awslogs driver's are Go's. Source: moby daemon/logger/awslogs.
"""

import re
from collections.abc import Callable

import re2

Starts = Callable[[str], bool]

_CODES = {
    "%a": "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
    "%A": "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
    "%w": "[0-6]",
    "%d": "(?:0[1-9]|[1,2][0-9]|3[0,1])",
    "%b": "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
    "%B": "(?:January|February|March|April|May|June|July|August|September|October|November|December)",
    "%m": "(?:0[1-9]|1[0-2])",
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%H": "(?:[0,1][0-9]|2[0-3])",
    "%I": "(?:0[0-9]|1[0-2])",
    "%p": "[A,P]M",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%f": r"\d{6}",
    "%z": r"[+-]\d{4}",
    "%Z": "[A-Z]{1,4}T",
    "%j": "(?:0[0-9][1-9]|[1,2][0-9][0-9]|3[0-5][0-9]|36[0-6])",
    "%L": r"\.\d{3}",
}
_MEMORY = 1 << 20


class MultilineError(ValueError):
    """The option cannot be used; the message says which and why."""


def datetime_regex(datetime_format: str) -> str:
    """The format's codes as regular expressions; the rest of it is one already, as in Docker."""
    return re.sub(r"%.", lambda code: _CODES.get(code[0], ""), datetime_format, flags=re.DOTALL)


def line_starts(datetime_format: str = "", multiline_pattern: str = "") -> Starts | None:
    """Whether a line begins an event; None if every line is one. Raises MultilineError."""
    if datetime_format and multiline_pattern:
        raise MultilineError(
            "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern'"
            " at the same time"
        )
    source = datetime_regex(datetime_format) if datetime_format else multiline_pattern
    if not source:
        return None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(source, options)
    except (re2.error, UnicodeEncodeError):
        raise MultilineError(
            f"awslogs could not parse multiline pattern key {multiline_pattern or datetime_format!r}"
        ) from None
    return lambda line: compiled.search(line) is not None
