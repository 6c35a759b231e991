"""The memory that the bodies of requests may take together, and who gives way when it is full.

One per door, made by server.py; http1.py asks it for each piece of a body. A few bodies of the largest size
fill it. Small bodies are not counted, so ordinary calls are answered whatever others send; a sender that is
too slow for its deadline gives way to the next; and where clients may be hostile to each other, each has but
a share.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

SMALL_BYTES = 16 * 1024
"""The head of each body, which costs no more than the headers before it."""
_BODIES = 4


class Sender(Protocol):
    """A connection. While it is being sent a body it can be asked to give way."""

    @property
    def peer(self) -> str: ...

    def give_way(self) -> None:
        """Refuse the request whose body is being received; what it has is given back at once."""
        ...


class Held:
    """What one body has taken, and how fast it comes, by the second."""

    __slots__ = ("_before", "_began", "_now", "_second", "charged", "size")

    def __init__(self) -> None:
        self.size = 0
        self.charged = 0
        self._began = self._second = -1
        self._now = self._before = 0
        """Bytes of `_second`, and of the second before it."""

    def grew(self, size: int, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0
        if not self.size:
            self._began = second
        self._now += size
        self.size += size

    def pace(self, now: float) -> int | None:
        """Bytes of the last whole second; None of a body that had only begun."""
        last = int(now) - 1
        if self._began >= last:
            return None
        return {self._second: self._now, self._second - 1: self._before}.get(last, 0)


class Budget:
    def __init__(self, largest: int, seconds: float, time: Callable[[], float], *, shared: bool) -> None:
        """largest -- bytes of a body. seconds -- it may take to arrive. shared -- whether one client may have
        no more than one body of the largest size."""
        self._limit = _BODIES * largest
        self._share = largest if shared else None
        self._slow = largest / seconds
        self._time = time
        self._all = 0
        self._peers: Counter[str] = Counter()
        self._arriving: dict[Sender, Held] = {}

    def take(self, sender: Sender, held: Held, size: int) -> bool:
        """Room for the next bytes of a body; False, and none taken, where there is none."""
        now = self._time()
        held.grew(size, now)
        due = max(0, held.size - SMALL_BYTES) - held.charged
        if not due:
            return True
        if self._share is not None and self._peers[sender.peer] + due > self._share:
            return False
        while self._all + due > self._limit:
            slowest = self._slowest(now, sender)
            if slowest is None:
                return False
            slowest.give_way()
        held.charged += due
        self._all += due
        self._peers[sender.peer] += due
        self._arriving[sender] = held
        return True

    def _slowest(self, now: float, asking: Sender) -> Sender | None:
        found: Sender | None = None
        least = self._slow
        for sender, held in self._arriving.items():
            pace = held.pace(now)
            if pace is not None and pace < least and sender is not asking:
                found, least = sender, pace
        return found

    def arrived(self, sender: Sender) -> None:
        """The body is whole: its request is answered before anyone else's is taken in its place."""
        self._arriving.pop(sender, None)

    def give_back(self, sender: Sender, held: Held) -> None:
        if self._arriving.get(sender) is held:
            del self._arriving[sender]
        charged, held.charged = held.charged, 0
        self._all -= charged
        self._peers[sender.peer] -= charged
        if not self._peers[sender.peer]:
            del self._peers[sender.peer]
