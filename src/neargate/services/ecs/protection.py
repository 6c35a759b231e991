"""Task protection: a service does not stop a protected task to scale in or to deploy, until that expires.

Called by gateway/dispatch, and by services/cell for a task that protects itself. model/deployments heeds it.
Only tasks of services can be protected: each other task named is answered with why not.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.model.task import Task
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names
from neargate.state.catalog import TASK
from neargate.state.store import Tx

_MAX_ASKED = 100
_MAX_UPDATED = 10
_MINUTES = (1, 2880)
_USUAL_MINUTES = 120


async def get_task_protection(call: Call, params: Params) -> Result:
    arns = _asked(call, params["cluster"], params.get("tasks") or (), _MAX_ASKED)
    now = call.now()

    def body(tx: Tx) -> Result:
        names.need_cluster(tx, names.cluster_arn(params["cluster"], call.scope))
        return _answer(tx, arns, now, lambda task: task)

    return await call.store.read(body)


async def update_task_protection(call: Call, params: Params) -> Result:
    """Set again, the time begins anew."""
    if not params["tasks"]:
        raise names.invalid("Tasks cannot be empty.")
    low, high = _MINUTES
    minutes = params.get("expiresInMinutes")
    if minutes is None:
        minutes = _USUAL_MINUTES
    elif params["protectionEnabled"] and not low <= minutes <= high:
        raise names.invalid(f"expiresInMinutes must be between {low} and {high}.")
    arns = _asked(call, params["cluster"], params["tasks"], _MAX_UPDATED)
    now = call.now()
    until = now + 60.0 * minutes if params["protectionEnabled"] else None

    def body(tx: Tx) -> Result:
        names.need_cluster(tx, names.cluster_arn(params["cluster"], call.scope))
        return _answer(tx, arns, now, lambda task: tx.put(TASK, replace(task, protected_until=until)))

    return await call.store.write(body)


def _asked(call: Call, cluster: str, tasks: Sequence[str], most: int) -> list[str]:
    if len(tasks) > most:
        raise names.invalid(f"Tasks can have at most {most} items.")
    name = names.cluster_name(cluster, call.scope)
    return list(dict.fromkeys(names.task_arn(text, name, call.scope) for text in tasks))


def _answer(tx: Tx, arns: Sequence[str], now: float, change: Callable[[Task], Task]) -> Result:
    protected: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for arn in arns:
        task = tx.get(TASK, arn)
        if task is None:
            failures.append(names.missing(arn))
        elif refusal := _refusal(task):
            failures.append({"arn": arn, "reason": "TASK_NOT_VALID", "detail": refusal})
        else:
            protected.append(_shown(change(task), now))
    return {"protectedTasks": protected, "failures": failures}


def _refusal(task: Task) -> str:
    if not task.service_arn:
        return "The task is not part of a service."
    return "The task has stopped." if task.last_status == "STOPPED" else ""


def _shown(task: Task, now: float) -> dict[str, Any]:
    shown: dict[str, Any] = {"taskArn": task.arn, "protectionEnabled": False}
    if task.protected_until is not None and task.protected_until > now:
        shown |= {"protectionEnabled": True, "expirationDate": task.protected_until}
    return shown
