"""Waiting for changes or for the next of many moments, whichever comes first.

Used by control/services, control/autoscaling and control/autoscaling_zero. The moments are read anew at each
start of a loop.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from neargate.kit.clock import SET_BACK, Clock
from neargate.state.store import Change

_LONGEST_SLEEP = 60.0
"""So often it is seen whether the clock was set."""


class Due:
    """The next moment of each of many things, by id."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._taken_at = 0.0

    def clear(self) -> None:
        self._at.clear()
        self._heap.clear()

    def remind(self, id: str, at: float | None) -> None:
        """The thing's next moment; None if it has none."""
        if at is None:
            self._at.pop(id, None)
        elif self._at.get(id) != at:
            self._at[id] = at
            heapq.heappush(self._heap, (at, id))

    def next(self) -> float | None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> set[str]:
        """Those whose moment has come; all, if the clock was set back. They have none until the next
        `remind`."""
        set_back, self._taken_at = now < self._taken_at - SET_BACK, now
        if set_back:
            everyone = set(self._at)
            self.clear()
            return everyone
        found = set()
        while (at := self.next()) is not None and at <= now:
            _, id = heapq.heappop(self._heap)
            del self._at[id]
            found.add(id)
        return found


Changes = Sequence[Change] | None


async def forever(
    clock: Clock,
    due: Due,
    changed: Callable[[], Awaitable[Changes]],
    concerned: Callable[[Changes], Awaitable[set[str]]],
    work: Callable[[set[str]], Awaitable[None]],
) -> None:
    """Wait for changes and moments, and work on what they concern."""

    async def next_change() -> Changes:
        return await changed()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(next_change())
        while True:
            await _wait(group, clock, due, waiting)
            dirty = due.take(clock.now())
            if waiting.done():
                changes = waiting.result()
                waiting = group.create_task(next_change())
                dirty |= await concerned(changes)
            if dirty:
                await work(dirty)


async def _wait(group: asyncio.TaskGroup, clock: Clock, due: Due, waiting: "asyncio.Task[Changes]") -> None:
    at = due.next()
    if at is None:
        await asyncio.wait({waiting})
        return
    sleeping = group.create_task(clock.sleep(min(_LONGEST_SLEEP, max(0.0, at - clock.now()))))
    try:
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
