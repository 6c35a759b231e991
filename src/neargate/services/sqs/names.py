"""What requests hold: queue URLs, texts, receipts, batches; and SQS's errors. For services/sqs only."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from neargate.kit.errors import ApiError
from neargate.model.queue import Queue, invalid
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_events import QUEUE
from neargate.state.queues import queue_arn
from neargate.state.store import Tx

MOST_AT_ONCE = 10
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:]{2,39}\](:[0-9]{1,5})?")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def missing(name: str) -> ApiError:
    return ApiError("MissingParameter", f"The request must contain the parameter {name}.", status=400)


def no_queue() -> ApiError:
    return ApiError("QueueDoesNotExist", "The specified queue does not exist.", status=400)


def queue_url(call: Call, name: str) -> str:
    """By the name under which the caller reached the door: tasks have another than this machine."""
    scheme, _, own = call.house.endpoint.partition("://")
    host = call.host if _HOST.fullmatch(call.host) else own
    return f"{scheme}://{host}/{call.scope.account}/{name}"


def arn_of_url(scope: Scope, url: str) -> str:
    """ARN of the queue that a URL names; a bare name will do, as on AWS."""
    try:
        path = urlsplit(url).path
    except ValueError:
        raise no_queue() from None
    account, _, name = path.rpartition("/")
    account = account.rpartition("/")[2]
    if not name or (account and account != scope.account):
        raise no_queue()
    return queue_arn(scope, name)


def need_queue(tx: Tx, call: Call, params: Params) -> Queue:
    queue = tx.get(QUEUE, arn_of_url(call.scope, params["QueueUrl"]))
    if queue is None:
        raise no_queue()
    return queue


def receipt_handle(queue: Queue, sequence: int, receipt: str) -> str:
    return base64.b64encode(f"{queue.number}/{sequence}/{receipt}".encode()).decode()


def read_receipt(queue: Queue, handle: str) -> tuple[int, str]:
    """(sequence, receipt) of a handle that this queue gave. Raise ReceiptHandleIsInvalid."""
    try:
        number, sequence, receipt = base64.b64decode(handle, validate=True).decode("ascii").split("/")
        if number == str(queue.number) and re.fullmatch("[0-9]{1,15}", sequence):
            return int(sequence), receipt
    except (ValueError, binascii.Error):
        pass
    message = f'The input receipt handle "{handle[:300]}" is not a valid receipt handle.'
    raise ApiError("ReceiptHandleIsInvalid", message)


def whole(params: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A number of a request, within bounds."""
    value: int | None = params.get(name)
    if value is None:
        return None
    if not least <= value <= most:
        reason = f"Must be between {least} and {most}, if provided."
        raise invalid(f"Value {value} for parameter {name} is invalid. Reason: {reason}")
    return value


def check_batch(entries: Sequence[Mapping[str, Any]], kind: str) -> None:
    if not entries:
        raise ApiError("EmptyBatchRequest", f"There should be at least one {kind} in the request.")
    if len(entries) > MOST_AT_ONCE:
        raise ApiError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MOST_AT_ONCE}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for entry in entries:
        id = entry["Id"]
        if not _ENTRY_ID.fullmatch(id):
            raise ApiError(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores."
                " It can be at most 80 letters long.",
            )
        if id in seen:
            raise ApiError("BatchEntryIdsNotDistinct", f"Id {id} repeated.")
        seen.add(id)


def answers(entries: Sequence[Mapping[str, Any]], do: Callable[[Mapping[str, Any]], Result]) -> Result:
    """A batch's answer: each entry by itself, done or refused."""
    done: list[Result] = []
    failed: list[Result] = []
    for entry in entries:
        try:
            done.append({"Id": entry["Id"], **do(entry)})
        except ApiError as error:
            told = {"Id": entry["Id"], "SenderFault": True, "Code": error.code, "Message": error.message}
            failed.append(told)
    return {"Successful": done, "Failed": failed}
