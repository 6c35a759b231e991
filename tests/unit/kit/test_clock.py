"""The clock of tests: nobody wakes before time, everybody wakes in order; and the system's, which goes on."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.clock import ManualClock, SystemClock


@given(st.lists(st.integers(0, 50), max_size=10), st.lists(st.integers(0, 30), max_size=6))
def test_sleepers_wake_when_their_time_has_come_in_its_order(sleeps: list[int], steps: list[int]) -> None:
    async def run() -> None:
        clock = ManualClock(1000.0)
        woken: list[int] = []

        async def sleeper(seconds: int) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in sleeps:
                group.create_task(sleeper(seconds))
            await settle()
            passed = 0
            for step in [0, *steps]:
                clock.advance(step)
                passed += step
                await settle()
                assert sorted(woken) == sorted(s for s in sleeps if s <= passed)
                assert clock.now() == 1000.0 + passed
            before = len(woken)
            clock.advance(1000)
        assert sorted(woken) == sorted(sleeps)
        assert woken[before:] == sorted(woken[before:])

    asyncio.run(run())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_cancelled_sleeper_is_in_nobody_s_way() -> None:
    clock = ManualClock()
    first, second = (asyncio.create_task(clock.sleep(5)) for _ in range(2))
    await settle()
    first.cancel()
    clock.advance(5)
    await second
    assert first.cancelled()


async def test_the_system_s_clock_counts_seconds_since_1970() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.001)
    assert 1_700_000_000 < before < clock.now()
