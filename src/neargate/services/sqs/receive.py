"""ReceiveMessage, with long polls; DeleteMessage and ChangeMessageVisibility, alone and in batches.

Called by gateway/dispatch. A long poll waits on the store's feed, and for the moment at which a message that
is hidden comes back.
"""

import asyncio
import base64
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model import queue as rules
from neargate.model.queue import Message, Queue, invalid
from neargate.services.call import Call, Params, Result
from neargate.services.sqs import names
from neargate.state import queues as state
from neargate.state.catalog_events import QUEUE_MESSAGE
from neargate.state.store import Tx

_SHORTEST = 0.001
_EXPIRED = "Reason: The receipt handle has expired."


async def receive_message(call: Call, params: Params) -> Result:
    count = names.whole(params, "MaxNumberOfMessages", 1, names.MOST_AT_ONCE) or 1
    hidden = names.whole(params, "VisibilityTimeout", 0, 43_200)
    wait = names.whole(params, "WaitTimeSeconds", 0, 20)
    queue = await call.store.read(lambda tx: names.need_queue(tx, call, params))
    until = call.now() + (queue.seconds("ReceiveMessageWaitTimeSeconds") if wait is None else wait)

    def body(tx: Tx) -> list[Message]:
        queue, now = names.need_queue(tx, call, params), call.now()
        seconds = queue.seconds("VisibilityTimeout") if hidden is None else hidden
        return state.receive(tx, queue, count, seconds, now, lambda: call.ids.hex(32))

    def look(tx: Tx) -> tuple[bool, float | None]:
        queue, now = names.need_queue(tx, call, params), call.now()
        _check_in_flight(tx, queue, now)
        there = state.is_any(tx, queue, now)
        return there, None if there else state.next_visible(tx, queue, now)

    found: list[Message] = []
    # Of a FIFO queue all may have to be looked at: groups are held up by the first of theirs.
    looking = call.store.scan if queue.fifo else call.store.read
    while True:
        head = call.store.head()
        there, coming = await looking(look)
        found = await call.store.write(body) if there else []
        if found or (call.now() >= until and not there):
            break
        if not there:  # else somebody else was faster, or what was there is over
            await _something(call, queue, head, until if coming is None else min(until, coming))
    messages = [_shown(queue, message, params) for message in found]
    return {"Messages": messages} if messages else {}


def _check_in_flight(tx: Tx, queue: Queue, now: float) -> None:
    """Costs nothing unless there are as many messages at all."""
    most = state.MOST_IN_FLIGHT[queue.fifo]
    if tx.count(QUEUE_MESSAGE, "queue", f"{queue.number:09d}") >= most and (
        state.in_flight(tx, queue, now) >= most
    ):
        raise ApiError("OverLimit", f"Too many messages in flight in queue {queue.name}.", status=400)


async def _something(call: Call, queue: Queue, head: int, until: float) -> None:
    """Return when a message of the queue was written since, or at a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(_SHORTEST, until - call.now())):
            while True:
                await call.store.wait(head)
                feed = await call.store.changes(head)
                head = feed.head
                mark = f"{queue.number:09d}/"
                news = any(
                    c.kind == QUEUE_MESSAGE.name and not c.deleted and c.id.startswith(mark)
                    for c in feed.changes
                )
                if news or feed.gap:
                    return


def _shown(queue: Queue, message: Message, params: Params) -> Result:
    shown: Result = {
        "MessageId": message.id,
        "ReceiptHandle": names.receipt_handle(queue, message.sequence, message.receipt),
        "MD5OfBody": rules.body_digest(message.body),
        "Body": message.body,
    }
    wanted = {*(params.get("AttributeNames") or ()), *(params.get("MessageSystemAttributeNames") or ())}
    system = {n: v for n, v in _system(message).items() if v and ("All" in wanted or n in wanted)}
    if system:
        shown["Attributes"] = system
    attributes = {
        name: _opened(value)
        for name, value in message.attributes.items()
        if _asked(name, params.get("MessageAttributeNames") or ())
    }
    if attributes:
        shown["MessageAttributes"] = attributes
        shown["MD5OfMessageAttributes"] = rules.attributes_digest(attributes)
    return shown


def _system(message: Message) -> dict[str, str]:
    return {
        "SenderId": message.sender,
        "SentTimestamp": str(int(message.sent_at * 1000)),
        "ApproximateReceiveCount": str(message.received),
        "ApproximateFirstReceiveTimestamp": str(int((message.first_received_at or 0.0) * 1000)),
        "SequenceNumber": f"{message.sequence:020d}" if message.fifo else "",
        "MessageDeduplicationId": message.deduplication,
        "MessageGroupId": message.group,
        "AWSTraceHeader": message.trace,
        "DeadLetterQueueSourceArn": message.dead_from,
    }


def _asked(name: str, wanted: Iterable[str]) -> bool:
    return any(
        each in ("All", ".*", name) or (each.endswith(".*") and name.startswith(each[:-1])) for each in wanted
    )


def _opened(value: Mapping[str, Any]) -> dict[str, Any]:
    if "BinaryValue" in value:
        return {**value, "BinaryValue": base64.b64decode(value["BinaryValue"])}
    return dict(value)


async def delete_message(call: Call, params: Params) -> Result:
    await call.store.write(lambda tx: _delete(tx, call, names.need_queue(tx, call, params), params))
    return {}


async def delete_message_batch(call: Call, params: Params) -> Result:
    names.check_batch(params["Entries"], "DeleteMessageBatchRequestEntry")

    def body(tx: Tx) -> Result:
        queue = names.need_queue(tx, call, params)
        return names.answers(params["Entries"], lambda entry: _delete(tx, call, queue, entry))

    return await call.store.write(body)


def _delete(tx: Tx, call: Call, queue: Queue, given: Mapping[str, Any]) -> Result:
    """A message that is gone is as well deleted; one that was received again since is another's."""
    sequence, receipt = names.read_receipt(queue, given["ReceiptHandle"])
    message = state.of_receipt(tx, queue, sequence)
    if message is None:
        return {}
    stale = message.receipt != receipt
    if queue.fifo and (stale or message.visible_at <= call.now()):
        handle = given["ReceiptHandle"]
        raise invalid(f"Value {handle} for parameter ReceiptHandle is invalid. {_EXPIRED}")
    if not stale:
        state.delete(tx, message)
    return {}


async def change_message_visibility(call: Call, params: Params) -> Result:
    await call.store.write(lambda tx: _hide(tx, call, names.need_queue(tx, call, params), params))
    return {}


async def change_message_visibility_batch(call: Call, params: Params) -> Result:
    names.check_batch(params["Entries"], "ChangeMessageVisibilityBatchRequestEntry")

    def body(tx: Tx) -> Result:
        queue = names.need_queue(tx, call, params)
        return names.answers(params["Entries"], lambda entry: _hide(tx, call, queue, entry))

    return await call.store.write(body)


def _hide(tx: Tx, call: Call, queue: Queue, given: Mapping[str, Any]) -> Result:
    seconds = names.whole(given, "VisibilityTimeout", 0, 43_200)
    if seconds is None:
        raise names.missing("VisibilityTimeout")
    sequence, receipt = names.read_receipt(queue, given["ReceiptHandle"])
    message = state.of_receipt(tx, queue, sequence)
    now = call.now()
    if message is None:
        raise invalid(
            f"Value {given['ReceiptHandle']} for parameter ReceiptHandle is invalid. Reason: Message does not"
            " exist or is not available for visibility timeout change."
        )
    if message.receipt != receipt or message.visible_at <= now:
        raise ApiError("MessageNotInflight", "The specified message isn't in flight.", status=400)
    state.hide(tx, message, now + seconds)
    return {}
