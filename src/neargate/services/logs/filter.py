"""FilterLogEvents: events of many streams in the order of time, by a filter pattern (model/filter_pattern).

Called by gateway/dispatch (`aws logs tail --follow` polls it). An answer looks at a bounded number of events;
the token says where the next goes on, so an answer may be empty and still have a token, as AWS's.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from neargate.model.filter_pattern import PatternError, compile_pattern
from neargate.model.logs import EVENT_OVERHEAD, MAX_ANSWER_BYTES, MAX_BATCH_EVENTS, LogStream, StoredEvent
from neargate.services.call import Call, Params, Result
from neargate.services.logs import names
from neargate.state import log_events
from neargate.state.log_events import Position
from neargate.state.store import Tx

_LOOKED_AT_EVENTS = 100_000
_LOOKED_AT_BYTES = 32 * 1024 * 1024
_BACKWARD_SINCE = 1_704_067_200_000
_HELD_BYTES = 8 * 1024 * 1024
"""What the streams' read-ahead may hold together."""
Matcher = Callable[[str], bool]


@dataclass(slots=True)
class _Page:
    events: list[dict[str, Any]] = field(default_factory=list)
    rest: Position | None = None
    """The first event not looked at; None if there is none."""


async def filter_log_events(call: Call, params: Params) -> Result:
    name = names.group_name(call, params)
    chosen = params.get("logStreamNames") or ()
    prefix = params.get("logStreamNamePrefix") or ""
    if chosen and prefix:
        raise names.invalid("Only one of logStreamNames and logStreamNamePrefix may be specified.")
    matches = _matcher(params)
    low: Position = (names.moment(params, "startTime", 0), 0)
    high: Position = (names.moment(params, "endTime", names.LAST_MOMENT) + 1, 0)
    backward = params.get("startFromHead") is False
    if backward and params.get("startTime", _BACKWARD_SINCE) < _BACKWARD_SINCE:
        raise names.invalid("startFromHead can be false only with a startTime of 2024-01-01 or later.")
    limit = params.get("limit") or MAX_BATCH_EVENTS
    if given := params.get("nextToken"):
        ts, seq, way = names.untoken(given, (int, int, int))
        backward = bool(way)
        low, high = (low, min(high, (ts, seq + 1))) if backward else (max(low, (ts, seq)), high)

    def body(tx: Tx) -> _Page:
        group = names.need_group(tx, call.scope, name)
        if chosen:
            named = {n: names.need_stream(tx, group, n) for n in chosen}
            streams = [s for s in named.values() if s.bytes]
        else:
            streams = log_events.streams_between(tx, group.number, low[0], high[0], prefix)
        merged = _merged(tx, streams, low, high, backward)
        return _page(merged, {s.number: s.name for s in streams}, matches, limit)

    page = await call.logs.scan(body)
    result: Result = {"events": page.events, "searchedLogStreams": []}
    if page.rest is not None:
        result["nextToken"] = names.token([*page.rest, int(backward)])
    return result


def _matcher(params: Params) -> Matcher:
    try:
        return compile_pattern(params.get("filterPattern") or "")
    except PatternError as error:
        raise names.invalid(f"Invalid filter pattern: {error}") from None


def _merged(
    tx: Tx, streams: Sequence[LogStream], low: Position, high: Position, backward: bool
) -> Iterator[StoredEvent]:
    """Events of all streams in order. A stream is opened only when the merge comes to its first event."""
    chunk = max(_HELD_BYTES // max(len(streams), 1), 16 * 1024)
    sign = -1 if backward else 1
    waiting = sorted(streams, key=lambda s: -s.last_event if backward else s.first_event, reverse=True)
    heap: list[tuple[int, int, int, StoredEvent, Iterator[StoredEvent]]] = []

    def push(events: Iterator[StoredEvent]) -> None:
        event = next(events, None)
        if event is not None:
            heapq.heappush(heap, (sign * event.timestamp, sign * event.seq, event.stream, event, events))

    while heap or waiting:
        while waiting and (not heap or _edge(waiting[-1], backward) <= heap[0][0]):
            stream = waiting.pop()
            push(log_events.read(tx, stream.number, low, high, descending=backward, chunk=chunk))
        if heap:
            _, _, _, event, events = heapq.heappop(heap)
            yield event
            push(events)


def _edge(stream: LogStream, backward: bool) -> int:
    return -stream.last_event if backward else stream.first_event


def _page(events: Iterator[StoredEvent], streams: dict[int, str], matches: Matcher, limit: int) -> _Page:
    page = _Page()
    looked = size = 0
    for count, event in enumerate(events):
        length = len(event.message) + EVENT_OVERHEAD
        full = len(page.events) >= limit or (page.events and size + length > MAX_ANSWER_BYTES)
        if full or count >= _LOOKED_AT_EVENTS or (count and looked + length > _LOOKED_AT_BYTES):
            page.rest = (event.timestamp, event.seq)
            break
        looked += length
        message = event.message.decode("utf-8", "replace")
        if matches(message):
            size += length
            page.events.append(
                {
                    "logStreamName": streams[event.stream],
                    "timestamp": event.timestamp,
                    "message": message,
                    "ingestionTime": event.ingestion,
                    "eventId": event.id,
                }
            )
    return page
