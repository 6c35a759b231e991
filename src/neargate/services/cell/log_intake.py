"""The door through which containers' lines come in: streams, events and spool cursors.

Called by services/cell's LocalCell (and later by its HTTP face) for node/logs.py. Events and the cursor that
stands behind them are one transaction: after any crash no line is missing or there twice.
Errors are ApiError; `str()` of one is AWS's text, e.g.
`ResourceNotFoundException: The specified log group does not exist.`
"""

from collections.abc import Sequence

from neargate.kit.errors import ApiError
from neargate.model.logs import LogGroup, group_id
from neargate.model.sandbox import LogBatch, LogCursor
from neargate.services.call import House
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import Tx


async def log_cursors(house: House, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
    """Cursors of those spools of which anything was delivered."""
    return await house.logs.read(lambda tx: log_events.cursors(tx, runtime_ids))


async def has_group(house: House, account: str, region: str, group: str) -> bool:
    id = group_id(account, region, group)
    return await house.logs.read(lambda tx: tx.get(LOG_GROUP, id) is not None)


async def open_log_stream(
    house: House, account: str, region: str, group: str, stream: str, create_group: bool
) -> None:
    """Make the stream (and the group, if asked) where they are missing. ApiError if the group is."""
    now = int(house.clock.now() * 1000)

    def body(tx: Tx) -> None:
        found = tx.get(LOG_GROUP, group_id(account, region, group))
        if found is None:
            if not create_group:
                raise _missing("group")
            number = tx.next("log-group")
            found = tx.put(
                LOG_GROUP,
                LogGroup(account=account, region=region, name=group, number=number, created_at=now),
            )
        log_events.create_stream(tx, found.number, stream, now)

    await house.logs.write(body)


async def put_logs(house: House, batches: Sequence[LogBatch]) -> None:
    """Store events and move the cursors, all or nothing. A batch without events only moves its cursor."""
    now = int(house.clock.now() * 1000)
    encoded = [
        [(event.timestamp, event.message.encode("utf-8", "replace")) for event in batch.events]
        for batch in batches
    ]

    def body(tx: Tx) -> None:
        for batch, events in zip(batches, encoded, strict=True):
            _check_place(tx, batch)
            if events:
                log_events.append(tx, _stream_number(tx, batch), events, now)
            log_events.move_cursor(tx, batch.cursor, now)

    await house.logs.write(body)


def _check_place(tx: Tx, batch: LogBatch) -> None:
    if batch.after is None:
        return
    runtime_id = batch.cursor.runtime_id
    stored = log_events.cursors(tx, [runtime_id]).get(runtime_id) or LogCursor(runtime_id=runtime_id)
    if (stored.offset, stored.skip) != (batch.after.offset, batch.after.skip):
        raise ApiError(
            "InvalidSequenceTokenException",
            f"The spool of {runtime_id} stands at {stored.offset}+{stored.skip},"
            f" not {batch.after.offset}+{batch.after.skip}.",
        )


def _stream_number(tx: Tx, batch: LogBatch) -> int:
    group = tx.get(LOG_GROUP, group_id(batch.account, batch.region, batch.sink.group))
    if group is None:
        raise _missing("group")
    stream = log_events.get_stream(tx, group.number, batch.sink.stream)
    if stream is None:
        raise _missing("stream")
    return stream.number


def _missing(what: str) -> ApiError:
    return ApiError("ResourceNotFoundException", f"The specified log {what} does not exist.")
