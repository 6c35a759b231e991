"""SendMessage and SendMessageBatch. Called by gateway/dispatch; state/queues keeps the messages."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import queue as rules
from neargate.model.queue import Queue, invalid
from neargate.services.call import Call, Params, Result
from neargate.services.sqs import names
from neargate.state import queues as state
from neargate.state.queues import Outgoing
from neargate.state.store import Tx

_ATTRIBUTE = re.compile(r"(?!(?i:aws|amazon)\.)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TYPE = re.compile(r"(String|Number|Binary)(\..+)?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FIFO_ID = re.compile(r"[!-~]{1,128}")
_MAX_ATTRIBUTES = 10
_TRACE = "AWSTraceHeader"
Attributes = Mapping[str, Mapping[str, Any]]


async def send_message(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> Result:
        return _sent(tx, call, names.need_queue(tx, call, params), params)

    return await call.store.write(body)


async def send_message_batch(call: Call, params: Params) -> Result:
    """Each entry by itself, in one write."""
    entries = params["Entries"]
    names.check_batch(entries, "SendMessageBatchRequestEntry")
    size = sum(rules.size_of(e["MessageBody"], e.get("MessageAttributes") or {}) for e in entries)
    if size > rules.MAX_BYTES:
        raise ApiError(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {rules.MAX_BYTES} bytes. You have sent {size} bytes.",
        )

    def body(tx: Tx) -> Result:
        queue = names.need_queue(tx, call, params)
        return names.answers(entries, lambda entry: _sent(tx, call, queue, entry))

    return await call.store.write(body)


def _sent(tx: Tx, call: Call, queue: Queue, given: Mapping[str, Any]) -> Result:
    attributes: Attributes = given.get("MessageAttributes") or {}
    system: Attributes = given.get("MessageSystemAttributes") or {}
    out = _outgoing(call, queue, given, attributes, system)
    id, sequence = state.send(tx, queue, out, call.ids.uuid(), call.now())
    answer: Result = {"MessageId": id, "MD5OfMessageBody": rules.body_digest(out.body)}
    if (digest := rules.attributes_digest(attributes)) is not None:
        answer["MD5OfMessageAttributes"] = digest
    if (digest := rules.attributes_digest(system)) is not None:
        answer["MD5OfMessageSystemAttributes"] = digest
    if queue.fifo:
        answer["SequenceNumber"] = f"{sequence:020d}"
    return answer


def _outgoing(
    call: Call, queue: Queue, given: Mapping[str, Any], attributes: Attributes, system: Attributes
) -> Outgoing:
    text = given["MessageBody"]
    rules.check_body(text)
    _check_attributes(attributes)
    if set(system) - {_TRACE}:
        raise invalid(f"Message system attribute name '{min(set(system) - {_TRACE})[:100]}' is invalid.")
    size, most = rules.size_of(text, attributes), queue.seconds("MaximumMessageSize")
    if size > most:
        raise invalid(
            f"One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )
    group, deduplication = _fifo_ids(queue, given)
    return Outgoing(
        body=text,
        attributes={name: _kept(value) for name, value in attributes.items()},
        delay=_delay(queue, given),
        group=group,
        deduplication=deduplication,
        trace=(system.get(_TRACE) or {}).get("StringValue") or "",
        sender=call.access_key_id,
    )


def _delay(queue: Queue, given: Mapping[str, Any]) -> int | None:
    delay = names.whole(given, "DelaySeconds", 0, 900)
    if delay and queue.fifo:
        raise invalid(
            f"Value {delay} for parameter DelaySeconds is invalid. Reason: The request include parameter"
            " that is not valid for this queue type."
        )
    return None if queue.fifo else delay


def _fifo_ids(queue: Queue, given: Mapping[str, Any]) -> tuple[str, str]:
    """(message group, deduplication id); the latter empty where the content decides."""
    group, deduplication = given.get("MessageGroupId"), given.get("MessageDeduplicationId")
    for name, value in (("MessageGroupId", group), ("MessageDeduplicationId", deduplication)):
        if value is not None and not _FIFO_ID.fullmatch(value):
            raise invalid(
                f"Value {value[:200]} for parameter {name} is invalid. Reason: {name} can only include"
                " alphanumeric and punctuation characters. 1 to 128 in length."
            )
    if not queue.fifo:
        if deduplication:
            raise invalid(
                f"Value {deduplication} for parameter MessageDeduplicationId is invalid. Reason: The request"
                " include parameter that is not valid for this queue type."
            )
        return group or "", ""
    if not group:
        raise names.missing("MessageGroupId")
    if not deduplication and queue.attributes.get("ContentBasedDeduplication") != "true":
        raise invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId"
            " provided explicitly"
        )
    return group, deduplication or ""


def _check_attributes(attributes: Attributes) -> None:
    if len(attributes) > _MAX_ATTRIBUTES:
        raise invalid(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum"
            f" [{_MAX_ATTRIBUTES}]."
        )
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name) or len(name) > 256:
            raise invalid(f"The message attribute name '{name[:256]}' is invalid.")
        told = f"The message attribute '{name}'"
        kind = _TYPE.fullmatch(value["DataType"])
        if kind is None or len(value["DataType"]) > 256:
            raise invalid(
                f"{told} has an invalid message attribute type, the set of supported type prefixes is"
                " Binary, Number, and String."
            )
        if value.get("StringListValues") or value.get("BinaryListValues"):
            raise ApiError(
                "UnsupportedOperation",
                "Message attribute list values in SendMessage operation are not supported.",
            )
        member = "BinaryValue" if kind[1] == "Binary" else "StringValue"
        if not value.get(member):
            raise invalid(
                f"{told} must contain a non-empty message attribute value for message attribute type"
                f" '{value['DataType']}'."
            )
        if kind[1] == "Number" and not _NUMBER.fullmatch(value["StringValue"]):
            raise invalid(f"Can't cast the value of message (user) attribute '{name}' to a number.")


def _kept(value: Mapping[str, Any]) -> dict[str, Any]:
    """An attribute as a record has it."""
    if value.get("StringValue"):
        return {"DataType": value["DataType"], "StringValue": value["StringValue"]}
    data = base64.b64encode(bytes(value["BinaryValue"])).decode()
    return {"DataType": value["DataType"], "BinaryValue": data}
