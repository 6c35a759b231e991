"""Queues: create, describe, list, change, purge, delete; their tags. Called by gateway/dispatch."""

import json
from collections.abc import Iterable

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.queue import Queue, check_name, checked_attributes, invalid, shown_attributes
from neargate.services import paging
from neargate.services.call import Call, Params, Result
from neargate.services.sqs import names
from neargate.state import queues as state
from neargate.state.catalog_events import QUEUE
from neargate.state.store import Tx

_MAX_TAGS = 50
_SLICE = 500
_PURGE_SECONDS = 60.0
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


async def create_queue(call: Call, params: Params) -> Result:
    """Idempotent: a queue of that name must be as it is asked for."""
    given = dict(params.get("Attributes") or {})
    fifo = given.get("FifoQueue") == "true"
    name = params["QueueName"]
    check_name(name, fifo)
    attributes = {k: v for k, v in checked_attributes(given, fifo).items() if v}
    tags = _checked_tags({}, params.get("tags") or {})

    def body(tx: Tx) -> None:
        arn = state.queue_arn(call.scope, name)
        if (known := tx.get(QUEUE, arn)) is not None:
            _check_same(known, attributes)
            return
        _check_grave(tx, arn, fifo, attributes)
        queue = Queue(
            account=call.scope.account,
            region=call.scope.region,
            arn=arn,
            name=name,
            number=tx.next("queue"),
            fifo=fifo,
            attributes=attributes,
            tags=tags,
            created_at=call.now(),
            modified_at=call.now(),
        )
        tx.insert(QUEUE, queue)

    await call.store.write(body)
    return {"QueueUrl": names.queue_url(call, name)}


def _check_same(known: Queue, attributes: dict[str, str]) -> None:
    shown = shown_attributes(known)
    for name, value in attributes.items():
        if shown.get(name) != value:
            raise ApiError(
                "QueueNameExists",
                f"A queue already exists with the same name and a different value for attribute {name}",
            )


def _check_grave(tx: Tx, arn: str, fifo: bool, attributes: dict[str, str]) -> None:
    """A dead letter queue must be there, and of the same sort."""
    text = attributes.get("RedrivePolicy")
    if not text:
        return
    target = json.loads(text)["deadLetterTargetArn"]
    grave = tx.get(QUEUE, target)
    told = f"Value {text[:300]} for parameter RedrivePolicy is invalid. Reason: "
    if grave is None:
        raise invalid(f"{told}Dead letter target does not exist.")
    if grave.fifo != fifo:
        raise invalid(f"{told}Dead-letter queue must be same type of queue as the source.")
    allowed = json.loads(grave.attributes.get("RedriveAllowPolicy") or "{}")
    permission = allowed.get("redrivePermission", "allowAll")
    if permission == "denyAll" or (
        permission == "byQueue" and arn not in (allowed.get("sourceQueueArns") or ())
    ):
        raise invalid(f"{told}Queue does not have permission to use the dead letter target.")


async def get_queue_url(call: Call, params: Params) -> Result:
    owner = params.get("QueueOwnerAWSAccountId")
    if owner and owner != call.scope.account:
        raise names.no_queue()
    arn = state.queue_arn(call.scope, params["QueueName"])
    queue = await call.store.read(lambda tx: tx.get(QUEUE, arn))
    if queue is None:
        raise names.no_queue()
    return {"QueueUrl": names.queue_url(call, queue.name)}


async def list_queues(call: Call, params: Params) -> Result:
    prefix = params.get("QueueNamePrefix") or ""

    def body(tx: Tx) -> list[Queue]:
        return [queue for queue in tx.all(QUEUE, call.scope) if queue.name.startswith(prefix)]

    return _listed(call, params, await call.store.read(body), "QueueUrls")


async def list_dead_letter_source_queues(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> list[Queue]:
        grave = names.need_queue(tx, call, params)
        return [q for q in tx.all(QUEUE, call.scope) if q.redrive and q.redrive[0] == grave.arn]

    return _listed(call, params, await call.store.read(body), "queueUrls")


def _listed(call: Call, params: Params, found: list[Queue], member: str) -> Result:
    """A page of URLs: all, up to 1,000, unless MaxResults asks for pages."""
    limit = names.whole(params, "MaxResults", 1, 1000)
    after = paging.place(params.get("NextToken"), lambda: invalid("The NextToken is invalid."))
    rest = [queue for queue in found if queue.name > after]
    page = rest[: limit or 1000]
    answer: Result = {member: [names.queue_url(call, queue.name) for queue in page]}
    if limit and len(rest) > limit:
        answer["NextToken"] = paging.token(page[-1].name)
    return answer


async def get_queue_attributes(call: Call, params: Params) -> Result:
    wanted = params.get("AttributeNames") or ()

    def body(tx: Tx) -> dict[str, str]:
        queue = names.need_queue(tx, call, params)
        shown = shown_attributes(queue)
        if _asks(wanted, _COUNTS):
            counts = state.counts(tx, queue, call.now())
            shown |= {name: str(count) for name, count in zip(_COUNTS, counts, strict=True)}
        return shown

    shown = await call.store.scan(body)  # there may be very many to count
    return {"Attributes": {name: shown[name] for name in shown if _asks(wanted, (name,))}}


def _asks(wanted: Iterable[str], some: Iterable[str]) -> bool:
    return "All" in wanted or any(name in wanted for name in some)


async def set_queue_attributes(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> None:
        queue = names.need_queue(tx, call, params)
        given = params["Attributes"]
        if given.get("FifoQueue", "true" if queue.fifo else "false") != ("true" if queue.fifo else "false"):
            raise ApiError("InvalidAttributeName", "Unknown Attribute FifoQueue.")
        checked = checked_attributes(given, queue.fifo)
        _check_grave(tx, queue.arn, queue.fifo, checked)
        kept = {name: value for name, value in {**queue.attributes, **checked}.items() if value}
        tx.put(QUEUE, replace(queue, attributes=kept, modified_at=call.now()))

    await call.store.write(body)
    return {}


async def purge_queue(call: Call, params: Params) -> Result:
    """Everything sent before; in slices, so that nobody waits for a long one."""

    def begin(tx: Tx) -> tuple[int, int]:
        queue = names.need_queue(tx, call, params)
        if queue.purged_at is not None and call.now() < queue.purged_at + _PURGE_SECONDS:
            raise ApiError(
                "PurgeQueueInProgress",
                f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds.",
            )
        tx.put(QUEUE, replace(queue, purged_at=call.now()))
        return queue.number, tx.next("queue-message")

    number, before = await call.store.write(begin)
    await _empty(call, number, before)
    return {}


async def _empty(call: Call, number: int, before: int) -> None:
    while await call.store.write(lambda tx: state.purge(tx, number, before, _SLICE)) >= _SLICE:
        pass


async def delete_queue(call: Call, params: Params) -> Result:
    """The queue is gone at once; its messages, which nobody can name any more, in slices."""

    def body(tx: Tx) -> int:
        queue = names.need_queue(tx, call, params)
        tx.delete(QUEUE, queue.arn)
        return queue.number

    number = await call.store.write(body)
    await _empty(call, number, 1 << 60)
    return {}


def _checked_tags(old: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    for key in given:
        if not key or key.lower().startswith("aws:"):
            raise invalid("Tag keys must have 1 to 128 characters and not begin with aws:.")
    tags = {**old, **given}
    if len(tags) > _MAX_TAGS:
        raise invalid(f"Too many tags added for queue: {_MAX_TAGS} at most.")
    return tags


async def list_queue_tags(call: Call, params: Params) -> Result:
    queue = await call.store.read(lambda tx: names.need_queue(tx, call, params))
    return {"Tags": queue.tags} if queue.tags else {}


async def tag_queue(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> None:
        queue = names.need_queue(tx, call, params)
        tx.put(QUEUE, replace(queue, tags=_checked_tags(queue.tags, params["Tags"])))

    await call.store.write(body)
    return {}


async def untag_queue(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> None:
        queue = names.need_queue(tx, call, params)
        kept = {key: value for key, value in queue.tags.items() if key not in params["TagKeys"]}
        tx.put(QUEUE, replace(queue, tags=kept))

    await call.store.write(body)
    return {}
