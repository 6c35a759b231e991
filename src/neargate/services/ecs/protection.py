"""Task protection: only tasks of services can be protected from scale-in, and there are no services yet.

Called by gateway/dispatch. Each task named is answered with why it cannot be protected.
"""

from collections.abc import Sequence
from typing import Any

from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names
from neargate.state.catalog import TASK
from neargate.state.store import Tx

_MAX_ASKED = 100
_MAX_UPDATED = 10
_MINUTES = (1, 2880)


async def get_task_protection(call: Call, params: Params) -> Result:
    return await _answer(call, params["cluster"], params.get("tasks") or (), _MAX_ASKED)


async def update_task_protection(call: Call, params: Params) -> Result:
    if not params["tasks"]:
        raise names.invalid("Tasks cannot be empty.")
    low, high = _MINUTES
    if params["protectionEnabled"] and not low <= params.get("expiresInMinutes", low) <= high:
        raise names.invalid(f"expiresInMinutes must be between {low} and {high}.")
    return await _answer(call, params["cluster"], params["tasks"], _MAX_UPDATED)


async def _answer(call: Call, cluster: str, tasks: Sequence[str], most: int) -> Result:
    if len(tasks) > most:
        raise names.invalid(f"Tasks can have at most {most} items.")
    name = names.cluster_name(cluster, call.scope)
    arns = dict.fromkeys(names.task_arn(text, name, call.scope) for text in tasks)

    def body(tx: Tx) -> list[dict[str, Any]]:
        names.need_cluster(tx, call.scope.arn("ecs", f"cluster/{name}"))
        return [_failure(arn) if tx.get(TASK, arn) else names.missing(arn) for arn in arns]

    return {"protectedTasks": [], "failures": await call.store.read(body)}


def _failure(arn: str) -> dict[str, Any]:
    return {"arn": arn, "reason": "TASK_NOT_VALID", "detail": "The task is not part of a service."}
