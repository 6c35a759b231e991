"""A bell for several waiters of one sandbox: take a `mark`, look at the state, `wait`. What is told meanwhile
is not missed. Used by runner.py, supervision.py and ending.py.
"""

import asyncio

from neargate.kit.clock import Clock


class News:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = asyncio.Event()

    def mark(self) -> asyncio.Event:
        return self._next

    def tell(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, mark: asyncio.Event, until: float | None = None) -> None:
        """Until something is told after the mark was taken, or until that moment of the clock."""
        if until is None:
            await mark.wait()
            return
        async with asyncio.TaskGroup() as group:
            alarm = group.create_task(self._alarm(until, mark))
            await mark.wait()
            alarm.cancel()

    async def _alarm(self, until: float, mark: asyncio.Event) -> None:
        await self._clock.sleep(max(0.0, until - self._clock.now()))
        if mark is self._next:
            self.tell()
