"""The loop that finishes tasks: those stopped before they had a node, and those whose node let go of them.

Woken by the change feed (StopTask, services/cell's reports). A task that it has released is history:
control/retention removes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control.metering import usage_of
from neargate.control.parts import Parts, Watch
from neargate.model import lifecycle
from neargate.model.task import Task
from neargate.state import outbox
from neargate.state.catalog import INTERFACE, TASK, USAGE
from neargate.state.store import Tx


@dataclass(frozen=True, slots=True)
class End:
    """Take a task without a node to STOPPED."""

    task: Task


@dataclass(frozen=True, slots=True)
class Release:
    """Give back what a STOPPED task held, and write what it used."""

    task: Task


def plan(tasks: Sequence[Task]) -> list[End | Release]:
    actions: list[End | Release] = []
    for task in tasks:
        if task.released:
            continue
        if task.last_status == "STOPPED":
            actions.append(Release(task))
        elif task.desired_status == "STOPPED" and not task.node:
            actions.append(End(task))
    return actions


def apply(tx: Tx, actions: Sequence[End | Release], now: float) -> None:
    """Carry the plan out on the tasks that have not changed since; the others come by again."""
    for action in actions:
        if tx.get(TASK, action.task.arn) != action.task:
            continue
        task = action.task
        if isinstance(action, End):
            task = tx.put(TASK, lifecycle.end_unplaced(task, now), expected=task)
            outbox.task_changed(tx, task, now)
        interface = tx.get(INTERFACE, task.interface_id) if task.interface_id else None
        if interface is not None:
            # Kept until the task is forgotten: DescribeTasks shows a stopped task's addresses.
            tx.put(INTERFACE, replace(interface, status="released"))
        tx.put(USAGE, usage_of(task))
        tx.put(TASK, replace(task, released=True))


class Tasks:
    name = "tasks"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        watch = Watch(self._parts.store, TASK)
        while True:
            actions = plan(await self._changed(watch))
            if actions:
                await self._apply(actions)

    async def _changed(self, watch: Watch) -> Sequence[Task]:
        changes = await watch.changed()
        if changes is None:
            return await self._parts.store.scan(lambda tx: tx.find(TASK, "open", "yes"))
        arns = [c.id for c in changes if not c.deleted]
        found = await self._parts.store.read(lambda tx: [tx.get(TASK, arn) for arn in arns])
        return [task for task in found if task is not None]

    async def _apply(self, actions: Sequence[End | Release]) -> None:
        now = self._parts.clock.now()
        await self._parts.store.write(lambda tx: apply(tx, actions, now))
