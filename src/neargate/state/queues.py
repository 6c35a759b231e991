"""Messages of SQS's queues, behind functions of a transaction: send, receive, delete.

Called by services/sqs, and by control/events, for which an event on a queue and its delivery's end are one
write. A message is invisible until a moment, nothing more: no loop gives it back.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from neargate.model import queue as rules
from neargate.model.queue import Deduplication, Message, Queue
from neargate.model.record import Scope
from neargate.state.catalog_events import QUEUE, QUEUE_DEDUPLICATION, QUEUE_MESSAGE
from neargate.state.store import Tx

MOST_IN_FLIGHT = {False: 120_000, True: 20_000}
"""By whether the queue is a FIFO one."""
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent; checked by who sends it."""

    body: str
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    delay: int | None = None
    group: str = ""
    deduplication: str = ""
    trace: str = ""
    sender: str = ""


def queue_arn(scope: Scope, name: str) -> str:
    return scope.arn("sqs", name)


def send(tx: Tx, queue: Queue, out: Outgoing, id: str, now: float) -> tuple[str, int]:
    """Keep a message; its id and sequence number, those of the first one where it is a repetition."""
    sequence = tx.next("queue-message")
    if queue.fifo:
        wanted = out.deduplication or rules.content_id(out.body)
        by_group = queue.attributes.get("DeduplicationScope") == "messageGroup"
        key = f"{queue.number:09d}/{out.group if by_group else ''}/{wanted}"
        known = tx.get(QUEUE_DEDUPLICATION, key)
        if known is not None and now < known.at + rules.DEDUPLICATION_SECONDS:
            return known.message_id, known.sequence
        again = Deduplication(
            account=queue.account, region=queue.region, id=key, message_id=id, sequence=sequence, at=now
        )
        tx.put(QUEUE_DEDUPLICATION, again)
    delay = queue.seconds("DelaySeconds") if out.delay is None else out.delay
    message = Message(
        account=queue.account,
        region=queue.region,
        id=id,
        queue=queue.number,
        sequence=sequence,
        body=out.body,
        sent_at=now,
        visible_at=now + delay,
        expires_at=now + queue.seconds("MessageRetentionPeriod"),
        fifo=queue.fifo,
        attributes=out.attributes,
        trace=out.trace,
        sender=out.sender,
        group=out.group,
        deduplication=out.deduplication or (rules.content_id(out.body) if queue.fifo else ""),
    )
    tx.insert(QUEUE_MESSAGE, message)
    return id, sequence


def receive(
    tx: Tx, queue: Queue, count: int, hidden: float, now: float, receipt: Callable[[], str]
) -> list[Message]:
    """Up to `count` messages, invisible to others for `hidden` seconds from now on. Those received too often
    go to the dead letter queue instead; there may be more to find after very many of them."""
    found: list[Message] = []
    gone: list[Message] = []
    for message in _receivable(tx, queue, now):
        if message.expires_at <= now or _is_dead(tx, queue, message):
            gone.append(message)
            if len(gone) == _CHUNK:
                break
            continue
        found.append(message)
        if len(found) == count:
            break
    for message in gone:
        tx.delete(QUEUE_MESSAGE, message.key)
        if message.expires_at > now:
            _bury(tx, queue, message, now)
    return [_received(tx, message, hidden, now, receipt()) for message in found]


def is_any(tx: Tx, queue: Queue, now: float) -> bool:
    """Whether `receive` would find a message, or one to remove: a look that writes nothing."""
    return next(_receivable(tx, queue, now), None) is not None


def _received(tx: Tx, message: Message, hidden: float, now: float, receipt: str) -> Message:
    taken = replace(
        message,
        visible_at=now + hidden,
        received=message.received + 1,
        first_received_at=message.first_received_at or now,
        receipt=receipt,
    )
    return _moved(tx, message, taken)


def _moved(tx: Tx, old: Message, new: Message) -> Message:
    if new.key != old.key:
        tx.delete(QUEUE_MESSAGE, old.key)
    return tx.put(QUEUE_MESSAGE, new)


def _receivable(tx: Tx, queue: Queue, now: float) -> Iterator[Message]:
    """Visible messages in order. Of a group of a FIFO queue, none beyond one that is not visible."""
    closed: set[str] = set()
    for message in _messages(tx, queue):
        if message.visible_at > now:
            if not queue.fifo:
                return
            closed.add(message.group)
        elif message.group not in closed or not queue.fifo:
            yield message


def _messages(tx: Tx, queue: Queue) -> Iterator[Message]:
    after = ""
    while chunk := tx.find(QUEUE_MESSAGE, "queue", _of(queue), after=after, limit=_CHUNK):
        yield from chunk
        after = chunk[-1].key


def _of(queue: Queue) -> str:
    return f"{queue.number:09d}"


def _is_dead(tx: Tx, queue: Queue, message: Message) -> bool:
    redrive = queue.redrive
    return redrive is not None and message.received >= redrive[1] and tx.get(QUEUE, redrive[0]) is not None


def _bury(tx: Tx, queue: Queue, message: Message, now: float) -> None:
    redrive = queue.redrive
    grave = tx.get(QUEUE, redrive[0]) if redrive else None
    if grave is None:
        return
    # On standard queues the time of expiry counts from when it was first sent; on FIFO from now.
    began = now if grave.fifo else message.sent_at
    buried = replace(
        message,
        queue=grave.number,
        fifo=grave.fifo,
        sequence=tx.next("queue-message"),
        visible_at=now,
        expires_at=began + grave.seconds("MessageRetentionPeriod"),
        dead_from=queue.arn,
    )
    tx.insert(QUEUE_MESSAGE, buried)


def of_receipt(tx: Tx, queue: Queue, sequence: int) -> Message | None:
    found = tx.find(QUEUE_MESSAGE, "sequence", f"{_of(queue)}/{sequence}", limit=1)
    return found[0] if found else None


def delete(tx: Tx, message: Message) -> None:
    tx.delete(QUEUE_MESSAGE, message.key)


def hide(tx: Tx, message: Message, until: float) -> None:
    _moved(tx, message, replace(message, visible_at=until))


def next_visible(tx: Tx, queue: Queue, now: float) -> float | None:
    """When a message can be received that cannot be now, if nothing else happens."""
    if queue.fifo:
        hidden = [m.visible_at for m in _messages(tx, queue) if m.visible_at > now]
        return min(hidden, default=None)
    first = tx.find(QUEUE_MESSAGE, "queue", _of(queue), after=_beyond(queue, now), limit=1)
    return first[0].visible_at if first else None


def _beyond(queue: Queue, now: float) -> str:
    """After the keys of all messages of a standard queue that are visible now."""
    return f"{_of(queue)}/{int(now * 1000):015d}/~"


def in_flight(tx: Tx, queue: Queue, now: float) -> int:
    if queue.fifo:
        return sum(1 for m in _messages(tx, queue) if m.visible_at > now and m.received)
    return len(tx.ids(QUEUE_MESSAGE, "queue", _of(queue), after=_beyond(queue, now)))


def counts(tx: Tx, queue: Queue, now: float) -> tuple[int, int, int]:
    """(visible, in flight, delayed)."""
    if queue.fifo:
        hidden = [m for m in _messages(tx, queue) if m.visible_at > now]
    else:
        hidden = tx.find(QUEUE_MESSAGE, "queue", _of(queue), after=_beyond(queue, now))
    total, flying = tx.count(QUEUE_MESSAGE, "queue", _of(queue)), sum(1 for m in hidden if m.received)
    return total - len(hidden), flying, len(hidden) - flying


def purge(tx: Tx, queue: int, before: int, limit: int) -> int:
    """Remove up to `limit` messages older than a sequence number; how many were removed."""
    removed = 0
    after = ""
    while removed < limit:
        chunk = tx.find(QUEUE_MESSAGE, "queue", f"{queue:09d}", after=after, limit=_CHUNK)
        for message in chunk:
            if message.sequence < before:
                tx.delete(QUEUE_MESSAGE, message.key)
                removed += 1
        if len(chunk) < _CHUNK:
            break
        after = chunk[-1].key
    return removed
