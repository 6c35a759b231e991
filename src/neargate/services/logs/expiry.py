"""What makes logs go away: retention, deleted streams, the bound on the total size, cursors of ended spools.

`expire_forever` is a task of main; it works in slices, so that writers of events wait for none of it long.
"""

import logging

from neargate.model.logs import DAY
from neargate.services.call import House
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import StoreError, Tx

log = logging.getLogger(__name__)

EXPIRE_EVERY = 10.0
"""Seconds between calls that keep the total bound even under a flood of lines."""
_CURSOR_KEPT = 7 * DAY
_ROOM = 0.95
"""Over the bound, the oldest events go until this part of it is used."""


async def expire_forever(house: House) -> None:
    """Until cancelled."""
    while True:
        try:
            await expire(house, house.clock.now())
        except StoreError as error:
            log.error("log events could not be expired: %s", error)
        await house.clock.sleep(EXPIRE_EVERY)


async def expire(house: House, now: float) -> None:
    """Drop what is due at `now` (epoch seconds)."""
    moment = int(now * 1000)
    while await house.logs.write(log_events.sweep_deleted):
        pass
    for group, days in await house.logs.read(_retained):
        await _drop_before(house, moment - days * DAY, group)
    await house.logs.write(lambda tx: log_events.forget_cursors(tx, moment - _CURSOR_KEPT))
    await _bound(house)


def _retained(tx: Tx) -> list[tuple[int, int]]:
    groups = tx.all(LOG_GROUP)
    return [(g.number, g.retention_days) for g in groups if g.retention_days is not None]


async def _drop_before(house: House, cutoff: int, group: int | None = None) -> None:
    for stream in await house.logs.scan(lambda tx: log_events.streams_older(tx, cutoff, group)):
        while await house.logs.write(lambda tx, s=stream: log_events.drop_before(tx, s, cutoff)):  # type: ignore[misc]
            pass


async def _bound(house: House) -> None:
    """Drop the oldest events of all streams, a fiftieth of the time that those left span at once."""
    most = house.settings.log_max_bytes
    total, oldest, newest = await house.logs.scan(log_events.extent)
    if total <= most:
        return
    while total > most * _ROOM:
        await _drop_before(house, oldest + max((newest - oldest) // 50, 1))
        total, oldest, newest = await house.logs.scan(log_events.extent)
