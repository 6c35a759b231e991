"""Pages of lists, and the tokens that say where a list goes on.

Called by the rooms for every list that has pages; they say in their own words what is wrong with a token.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

R = TypeVar("R")
Refused = Callable[[], Exception]
_MAC_BYTES = 12


def token(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def place(text: str | None, refused: Refused) -> str:
    """What `token` was made of; empty without one. Raise what `refused` makes for anything else."""
    if not text:
        return ""
    try:
        return base64.b64decode(text.encode(), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise refused() from None


def token_of(parts: Sequence[str | int | float]) -> str:
    """For a place that is told by several values."""
    return token(msgspec.json.encode(parts).decode())


def parts(text: str, refused: Refused) -> list[Any]:
    """What `token_of` was made of, or else texts and numbers that the caller must look at."""
    try:
        found = msgspec.json.decode(place(text, refused), type=list[str | int | float])
    except (msgspec.DecodeError, RecursionError):
        raise refused() from None
    return found


def sealed(key: bytes, place: str) -> str:
    """A token that only who has the key can make."""
    text = place.encode()
    return base64.urlsafe_b64encode(hmac.digest(key, text, hashlib.sha256)[:_MAC_BYTES] + text).decode()


def opened(key: bytes, text: str, refused: Refused) -> str:
    """What `sealed` was made of; the token must be, to the letter, the one that is made of it."""
    try:
        given = text.encode("ascii")
        place = base64.urlsafe_b64decode(given)[_MAC_BYTES:].decode()
    except (ValueError, binascii.Error):
        raise refused() from None
    if not hmac.compare_digest(given, sealed(key, place).encode()):
        raise refused()
    return place


def page(
    rows: Iterable[R], key: Callable[[R], str], after: str, limit: int, show: Callable[[R], Any]
) -> tuple[list[Any], str | None]:
    """(rows shown, token of the next page if there is one), in the order of their keys."""
    rest = [row for row in sorted(rows, key=key) if key(row) > after]
    shown = rest[:limit]
    more = token(key(shown[-1])) if len(rest) > len(shown) else None
    return [show(row) for row in shown], more
