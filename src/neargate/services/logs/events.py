"""PutLogEvents and GetLogEvents.

Called by gateway/dispatch. A token of GetLogEvents is a place between two events of a stream, so that
following it forward or back neither misses nor repeats one.
"""

import itertools
import re
from typing import Any

from neargate.model.logs import (
    EVENT_OVERHEAD,
    MAX_ANSWER_BYTES,
    MAX_BATCH_EVENTS,
    StoredEvent,
    check_batch,
)
from neargate.services.call import Call, Params, Result
from neargate.services.logs import names
from neargate.services.logs.streams import SEQUENCE_TOKEN
from neargate.state import log_events
from neargate.state.log_events import Position
from neargate.state.store import Tx

_TOKEN = re.compile(r"([fb])/(\d{16})(\d{40})/s", re.ASCII)


async def put_log_events(call: Call, params: Params) -> Result:
    given = params["logEvents"]
    name = params["logStreamName"]
    if len(given) > MAX_BATCH_EVENTS:
        raise names.invalid(f"Too many log events: {len(given)} exceeds limit of {MAX_BATCH_EVENTS}")
    stamps = [int(event["timestamp"]) for event in given]
    messages = [event["message"].encode("utf-8", "replace") for event in given]
    sizes = [len(message) for message in messages]
    now = names.now_ms(call)
    check_batch(stamps, sizes, now, None)

    def body(tx: Tx) -> dict[str, int]:
        group = names.need_group(tx, call.scope, params["logGroupName"])
        stream = names.need_stream(tx, group, name)
        kept = check_batch(stamps, sizes, now, group.retention_days)
        pairs = list(zip(stamps, messages, strict=True))[kept.start : kept.end]
        log_events.append(tx, stream.number, pairs, now)
        return kept.rejected

    rejected = await call.logs.write(body)
    result: Result = {"nextSequenceToken": SEQUENCE_TOKEN}
    if rejected:
        result["rejectedLogEventsInfo"] = rejected
    return result


async def get_log_events(call: Call, params: Params) -> Result:
    name = names.group_name(call, params)
    stream_name = params["logStreamName"]
    low: Position = (names.moment(params, "startTime", 0), 0)
    high: Position = (names.moment(params, "endTime", names.LAST_MOMENT), 0)
    limit = params.get("limit") or MAX_BATCH_EVENTS
    backward = not params.get("startFromHead")
    here: Position | None = None
    if given := params.get("nextToken"):
        backward, here = _place(given)
        low, high = (low, min(high, here)) if backward else (max(low, here), high)

    def body(tx: Tx) -> list[StoredEvent]:
        group = names.need_group(tx, call.scope, name)
        stream = names.need_stream(tx, group, stream_name)
        found = log_events.read(tx, stream.number, low, high, descending=backward)
        return bounded(itertools.islice(found, limit))

    events = await call.logs.scan(body)
    if backward:
        events.reverse()
    if events:
        before: Position = (events[0].timestamp, events[0].seq)
        beyond: Position = (events[-1].timestamp, events[-1].seq + 1)
    else:
        before = beyond = here or low
    return {
        "events": [_shown(event) for event in events],
        "nextForwardToken": _token("f", beyond),
        "nextBackwardToken": _token("b", before),
    }


def bounded(events: "itertools.islice[StoredEvent]") -> list[StoredEvent]:
    """As many as an answer may hold: at least one, and 1 MiB."""
    taken: list[StoredEvent] = []
    size = 0
    for event in events:
        size += len(event.message) + EVENT_OVERHEAD
        if taken and size > MAX_ANSWER_BYTES:
            break
        taken.append(event)
    return taken


def _shown(event: StoredEvent) -> dict[str, Any]:
    return {
        "timestamp": event.timestamp,
        "message": event.message.decode("utf-8", "replace"),
        "ingestionTime": event.ingestion,
    }


def _token(way: str, place: Position) -> str:
    return f"{way}/{place[0]:016d}{place[1]:040d}/s"


def _place(token: str) -> tuple[bool, Position]:
    """(backward, place) of a token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise names.bad_token()
    place = (int(match[2]), int(match[3]))
    if place[0] > names.LAST_MOMENT or place[1] > 2**62:
        raise names.bad_token()
    return match[1] == "b", place
