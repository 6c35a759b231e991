"""Interrupting Spot tasks: what Fargate does when it wants their capacity back.

Called by control/placement when a task on demand finds no room, and by main for `neargate spot interrupt`.
The node ends the task: SIGTERM at once, SIGKILL after the containers' stopTimeout.
"""

from collections.abc import Mapping
from typing import Any

from neargate.control.parts import Parts
from neargate.kit.errors import ApiError
from neargate.model import lifecycle
from neargate.model.spot import STOP_CODE, is_spot, youngest
from neargate.model.task import Task
from neargate.state import outbox
from neargate.state.catalog import TASK
from neargate.state.store import Tx

_MEMBERS = frozenset(("cluster", "count", "task", "all"))


def interrupt(tx: Tx, arn: str, now: float) -> Task | None:
    """Interrupt a task if it is a Spot task that is to run; the event goes out with it."""
    task = tx.get(TASK, arn)
    if task is None or not is_spot(task) or task.desired_status != "RUNNING":
        return None
    stopped = tx.put(TASK, lifecycle.request_stop(task, STOP_CODE, "", now))
    outbox.task_changed(tx, stopped, now)
    return stopped


async def interrupt_some(parts: Parts, asked: Mapping[str, str]) -> dict[str, Any]:
    """Interrupt Spot tasks as the command asks for: `task`, or `count` or `all` (of a `cluster`)."""
    unknown = sorted(asked.keys() - _MEMBERS)
    if unknown:
        raise _wrong(f"{unknown[0]} is not known: task, cluster, count and all are")
    which = [name for name in ("task", "count", "all") if asked.get(name)]
    if len(which) != 1:
        raise _wrong("name exactly one of task, count and all")
    count = _count(asked["count"]) if "count" in which else None
    now = parts.clock.now()

    def body(tx: Tx) -> list[Task]:
        found = [task for task in tx.find(TASK, "open", "yes") if _meant(task, asked)]
        chosen = youngest(found, count)
        if asked.get("task") and len(chosen) != 1:
            raise _wrong(f"{len(chosen) or 'no'} Spot tasks that run begin with {asked['task'][:100]}")
        return [task for it in chosen if (task := interrupt(tx, it.arn, now)) is not None]

    tasks = await parts.store.write(body)
    return {"interrupted": [task.arn for task in tasks]}


def _meant(task: Task, asked: Mapping[str, str]) -> bool:
    cluster, id = asked.get("cluster", ""), asked.get("task", "").rpartition("/")[2]
    in_cluster = not cluster or task.cluster_arn == cluster or task.cluster_arn.endswith(f"/{cluster}")
    return in_cluster and task.id.startswith(id)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 7 and int(text)):
        raise _wrong(f"count is a number from 1 on, not {text[:100]!r}")
    return int(text)


def _wrong(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
