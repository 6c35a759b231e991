"""Time, injected. Everyone who needs "now" is handed a Clock; only this module reads the system's.

Called by every floor; tests drive ManualClock and never sleep.
"""

import asyncio
import time
from typing import Protocol

SET_BACK = 60.0
"""Seconds that clocks of several machines may differ by; one that is behind by more was set back."""


def passed(since: float, seconds: float, now: float) -> bool:
    """Whether so many seconds have gone since a moment. One that lies well ahead was before the clock was set
    back: nobody waits for it to come a second time."""
    return now >= since + seconds or now < since - SET_BACK


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """Virtual time for tests: `advance` moves it, sleepers wake in order."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        due = [s for s in self._sleepers if s[0] <= self._now]
        self._sleepers = [s for s in self._sleepers if s[0] > self._now]
        for _, woken in sorted(due, key=lambda s: s[0]):
            woken.set()
