"""Pages of lists whose rows have keys, for APIs whose tokens need say no more than the last key shown.

Called by the names.py of several rooms, which say in their own words what is wrong with a token.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

R = TypeVar("R")


def token(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def place(text: str | None, refused: Callable[[], Exception]) -> str:
    """What `token` was made of; empty without one. Raise what `refused` makes for anything else."""
    if not text:
        return ""
    try:
        return base64.b64decode(text.encode(), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise refused() from None


def page(
    rows: Iterable[R], key: Callable[[R], str], after: str, limit: int, show: Callable[[R], Any]
) -> tuple[list[Any], str | None]:
    """(rows shown, token of the next page if there is one), in the order of their keys."""
    rest = [row for row in sorted(rows, key=key) if key(row) > after]
    shown = rest[:limit]
    more = token(key(shown[-1])) if len(rest) > len(shown) else None
    return [show(row) for row in shown], more
