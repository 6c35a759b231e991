"""Pages of lists: so many items at once, and a token for the rest that only this daemon can make.

Called by every list of this room. A token says where its list goes on; it is signed, for one operation of one
account and region, so that one that was tampered with or belongs to another list is refused.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from neargate.kit.errors import ApiError
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.services.ecs import names

MOST: Final = 100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    after: str
    """The last item of the page before; empty for the first page."""
    limit: int
    key: bytes

    def listed(self, name: str, found: Sequence[str]) -> dict[str, Any]:
        return self.answer(name, found, lambda item: item)

    def answer(self, name: str, found: Sequence[T], place: Callable[[T], str]) -> dict[str, Any]:
        """At most `limit` of what was found after `after`, and a token if there is more."""
        result: dict[str, Any] = {name: list(found[: self.limit])}
        if len(found) > self.limit:
            result["nextToken"] = paging.sealed(self.key, place(found[self.limit - 1]))
        return result


def read(call: Call, params: Params, operation: str, *, most: int = MOST, usual: int = MOST) -> Page:
    """The page asked for by nextToken and maxResults. Raises InvalidParameterException."""
    limit = params.get("maxResults")
    if limit is None:
        limit = usual
    elif not 1 <= limit <= most:
        raise names.invalid(f"Invalid maxResults: it must be between 1 and {most}.")
    purpose = f"{call.scope.account}/{call.scope.region}/ecs/{operation}"
    key = hmac.digest(call.house.signing_key, purpose.encode(), hashlib.sha256)
    token = params.get("nextToken") or ""
    return Page(paging.opened(key, token, _bad_token) if token else "", int(limit), key)


def _bad_token() -> ApiError:
    return names.invalid("Invalid token.")
