"""What makes points go away: resolution that grows coarser with age, and the bound on the total size.

`expire_forever` is a task of main; it works metric by metric, so that writers of points wait for none of it
long.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from neargate.services.call import House
from neargate.state import metrics
from neargate.state.store import StoreError, Tx

log = logging.getLogger(__name__)

EXPIRE_EVERY = 300.0
_BATCH = 50
"""Metrics in one transaction."""
_ROOM = 0.95
"""Over the bound, the oldest points go until this part of it is used."""


async def expire_forever(house: House) -> NoReturn:
    while True:
        try:
            await expire(house, house.clock.now())
        except StoreError as error:
            log.error("metrics could not be expired: %s", error)
        await house.clock.sleep(EXPIRE_EVERY)


async def expire(house: House, now: float) -> None:
    """Drop or roll up what is due at `now` (epoch seconds)."""
    waiting = await house.metrics.scan(metrics.all_series)
    while waiting:
        work = partial(_roll_up, series=waiting[:_BATCH], now=int(now))
        waiting = await house.metrics.write(work) + waiting[_BATCH:]
    await _bound(house)


def _roll_up(tx: Tx, series: Sequence[int], now: int) -> list[int]:
    """Those that there is more to do with."""
    return [number for number in series if metrics.roll_up(tx, number, now)]


async def _bound(house: House) -> None:
    """Drop the oldest points of all metrics, a fiftieth of the time that those left span at once."""
    most = house.settings.metrics_max_bytes
    if await house.metrics.scan(metrics.stored_bytes) <= most:
        return
    series = await house.metrics.scan(metrics.all_series)
    while await house.metrics.scan(metrics.stored_bytes) > most * _ROOM:
        oldest, newest = await house.metrics.scan(metrics.span)
        if not newest:
            return
        cutoff = oldest + max((newest - oldest) // 50, 1)
        for first in range(0, len(series), _BATCH):
            work = partial(_drop, series=series[first : first + _BATCH], cutoff=cutoff)
            await house.metrics.write(work)


def _drop(tx: Tx, series: Sequence[int], cutoff: int) -> None:
    for number in series:
        metrics.drop_before(tx, number, cutoff)
