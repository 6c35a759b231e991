"""PutEvents and TestEventPattern. Called by gateway/dispatch.

Events that no rule asks for are answered and forgotten, as on AWS.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

from neargate.kit import inner_json
from neargate.kit.errors import ApiError
from neargate.model.event import Event
from neargate.model.event_pattern import compiled
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.services.events.rules import check_pattern
from neargate.state import outbox
from neargate.state.store import Tx

MAX_BYTES = 1_048_576
_NEEDED = ("id", "account", "source", "time", "region", "resources", "detail-type")


class _Refused(Exception):
    """One entry of a request, not the others."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def put_events(call: Call, params: Params) -> Result:
    if params.get("EndpointId"):
        raise names.invalid("Global endpoints are not built into neargate.")
    entries = params["Entries"]
    if sum(_size(entry) for entry in entries) > MAX_BYTES:
        raise names.invalid("Total size of the entries in the request is over the limit.")

    def body(tx: Tx) -> list[Result]:
        return [_put(tx, call, entry) for entry in entries]

    answers = await call.store.write(body)
    return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


def _size(entry: Mapping[str, Any]) -> int:
    texts = [entry.get(name) or "" for name in ("Source", "DetailType", "Detail")]
    size = sum(len(text.encode()) for text in (*texts, *(entry.get("Resources") or ())))
    return size + (14 if entry.get("Time") is not None else 0)


def _put(tx: Tx, call: Call, entry: Mapping[str, Any]) -> Result:
    try:
        event = _event(tx, call, entry)
    except _Refused as refused:
        return {"ErrorCode": refused.code, "ErrorMessage": refused.message}
    return {"EventId": outbox.accept(tx, event, call.now())}


def _event(tx: Tx, call: Call, entry: Mapping[str, Any]) -> Event:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            raise _Refused(
                "InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument."
            )
    source = entry["Source"]
    if source.startswith("aws."):
        raise _Refused("NotAuthorizedForSourceException", "Not authorized for the source.")
    detail = _detail(entry["Detail"])
    try:
        bus = names.need_bus(tx, call.scope, names.bus_name(entry.get("EventBusName"), call.scope))
    except ApiError as error:
        raise _Refused("InvalidArgument", error.message) from None
    return Event(
        account=call.scope.account,
        region=call.scope.region,
        source=source,
        detail_type=entry["DetailType"],
        time=call.now() if entry.get("Time") is None else entry["Time"],
        detail=lambda: detail,
        resources=tuple(entry.get("Resources") or ()),
        bus=bus.name,
    )


def _detail(text: str) -> dict[str, Any]:
    try:
        detail = inner_json.read(text)
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        raise _Refused("MalformedDetail", "Detail is malformed.")
    return detail


async def test_event_pattern(call: Call, params: Params) -> Result:
    check_pattern(params["EventPattern"])
    told = functools.partial("Parameter Event is not valid. Reason: {}".format)
    try:
        event = json.loads(params["Event"])
    except (ValueError, RecursionError):
        raise names.invalid(told("it is not valid JSON.")) from None
    if not isinstance(event, dict):
        raise names.invalid(told("it is no JSON object."))
    for name in _NEEDED:
        if name not in event:
            raise names.invalid(told(f"{name} is a required field."))
    return {"Result": compiled(params["EventPattern"]).matches(event)}
