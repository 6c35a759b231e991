"""Log streams: create, delete, describe.

Called by gateway/dispatch; the rows are state/log_events'.
"""

from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.logs import LogGroup, LogStream
from neargate.services.call import Call, Params, Result
from neargate.services.logs import names
from neargate.state import log_events
from neargate.state.store import Tx

SEQUENCE_TOKEN = "49039859627429634764430107353396586023853126438234030834"
"""Sequence tokens are no longer checked; clients that pass them on get one to pass on."""
_PAGE = 50


async def create_log_stream(call: Call, params: Params) -> Result:
    name = params["logStreamName"]

    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, params["logGroupName"])
        if log_events.create_stream(tx, group.number, name, names.now_ms(call)) is None:
            raise ApiError("ResourceAlreadyExistsException", "The specified log stream already exists")

    await call.logs.write(body)
    return {}


async def delete_log_stream(call: Call, params: Params) -> Result:
    name = params["logStreamName"]

    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, params["logGroupName"])
        log_events.delete_stream(tx, names.need_stream(tx, group, name))

    await call.logs.write(body)
    return {}


async def describe_log_streams(call: Call, params: Params) -> Result:
    name = names.group_name(call, params)
    prefix = params.get("logStreamNamePrefix") or ""
    by_time = params.get("orderBy") == "LastEventTime"
    if by_time and prefix:
        raise names.invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    descending = bool(params.get("descending"))
    limit = params.get("limit") or _PAGE
    after: Any = None
    if given := params.get("nextToken"):
        last = names.untoken(given, (int, str))
        after = tuple(last) if by_time else last[1]

    def body(tx: Tx) -> tuple[LogGroup, list[LogStream]]:
        group = names.need_group(tx, call.scope, name)
        if by_time:
            return group, log_events.streams_by_time(
                tx, group.number, after=after, descending=descending, limit=limit + 1
            )
        return group, log_events.streams_by_name(
            tx, group.number, prefix=prefix, after=after, descending=descending, limit=limit + 1
        )

    group, streams = await call.logs.scan(body)
    result: Result = {"logStreams": [_shown(group, stream) for stream in streams[:limit]]}
    if len(streams) > limit:
        last_one = streams[limit - 1]
        result["nextToken"] = names.token([last_one.last_event, last_one.name])
    return result


def _shown(group: LogGroup, stream: LogStream) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_at,
        "uploadSequenceToken": SEQUENCE_TOKEN,
        "arn": f"{group.arn}:log-stream:{stream.name}",
        "storedBytes": 0,  # AWS stopped counting per stream in 2019 and says 0
    }
    if stream.last_ingestion:
        shown["firstEventTimestamp"] = stream.first_event
        shown["lastEventTimestamp"] = stream.last_event
        shown["lastIngestionTime"] = stream.last_ingestion
    return shown
