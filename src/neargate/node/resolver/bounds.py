"""What one task may ask of the resolver, and all of them together. Called by server.py.

AWS lets an interface send 1,024 packets per second to its resolver; so does this. More is not heard.
"""

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

PACKETS_PER_SECOND = 1024
_MOST_CLIENTS = 65_536 * 2
UNDER_WAY, ALL_UNDER_WAY = 64, 1024
CONNECTIONS, ALL_CONNECTIONS = 8, 512


class Rate:
    """A bucket of packets for each address; the one that was quiet the longest is forgotten first."""

    def __init__(self, now: Callable[[], float] = time.monotonic, most: int = _MOST_CLIENTS) -> None:
        self._now = now
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str) -> bool:
        now = self._now()
        left, since = self._buckets.pop(client, (float(PACKETS_PER_SECOND), now))
        left = min(float(PACKETS_PER_SECOND), left + (now - since) * PACKETS_PER_SECOND)
        self._buckets[client] = (max(0.0, left - 1), now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return left >= 1


class Slots:
    """How many things of a kind are under way."""

    def __init__(self, each: int, all: int) -> None:
        self._each = each
        self._all = all
        self._of: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, client: str) -> Iterator[bool]:
        """True in the block if there was a place; it is given back after it."""
        free = self._of[client] < self._each and self._of.total() < self._all
        if free:
            self._of[client] += 1
        try:
            yield free
        finally:
            if free:
                self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]
