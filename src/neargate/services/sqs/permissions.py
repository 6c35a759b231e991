"""AddPermission and RemovePermission: statements of a queue's policy, recorded only.

Called by gateway/dispatch.
"""

import json
from typing import Any

from msgspec.structs import replace

from neargate.model.queue import Queue, invalid
from neargate.services.call import Call, Params, Result
from neargate.services.sqs import names
from neargate.state.catalog_events import QUEUE
from neargate.state.store import Tx


def _statements(queue: Queue) -> list[dict[str, Any]]:
    try:
        policy = json.loads(queue.attributes.get("Policy") or "{}")
    except (ValueError, RecursionError):
        policy = {}
    found = policy.get("Statement") if isinstance(policy, dict) else None
    listed = found if isinstance(found, list) else [found]
    return [each for each in listed if isinstance(each, dict)]


def _put(tx: Tx, call: Call, queue: Queue, statements: list[dict[str, Any]]) -> None:
    policy = {"Version": "2012-10-17", "Id": f"{queue.arn}/SQSDefaultPolicy", "Statement": statements}
    kept = {name: value for name, value in queue.attributes.items() if name != "Policy"}
    if statements:
        kept["Policy"] = json.dumps(policy)
    tx.put(QUEUE, replace(queue, attributes=kept, modified_at=call.now()))


async def add_permission(call: Call, params: Params) -> Result:
    label, accounts, actions = params["Label"], params["AWSAccountIds"], params["Actions"]

    def body(tx: Tx) -> None:
        queue = names.need_queue(tx, call, params)
        statements = _statements(queue)
        if any(each.get("Sid") == label for each in statements):
            told = f"Value {label[:80]} for parameter Label is invalid. Reason: Already exists."
            raise invalid(told)
        statement = {
            "Sid": label,
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]},
            "Action": [f"SQS:{action}" for action in actions],
            "Resource": queue.arn,
        }
        _put(tx, call, queue, [*statements, statement])

    await call.store.write(body)
    return {}


async def remove_permission(call: Call, params: Params) -> Result:
    label = params["Label"]

    def body(tx: Tx) -> None:
        queue = names.need_queue(tx, call, params)
        statements = _statements(queue)
        kept = [each for each in statements if each.get("Sid") != label]
        if len(kept) == len(statements):
            raise invalid(f"Value {label[:80]} for parameter Label is invalid. Reason: can't find label.")
        _put(tx, call, queue, kept)

    await call.store.write(body)
    return {}
