"""The loop that forgets: stopped tasks, deleted clusters, services and definitions, old client tokens, and in
the end what tasks used.

It runs by the clock, started by control/loops.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from neargate.control.parts import Parts
from neargate.control.retention_services import (
    DEPLOYMENT_SECONDS,
    forget_definition,
    forget_deployments,
    forget_services,
)
from neargate.model.queue import DEDUPLICATION_SECONDS
from neargate.state.catalog import CLUSTER, EXEC_SESSION, INTERFACE, TASK, TOKEN_USE, USAGE, minute
from neargate.state.catalog_alarms import ALARM_HISTORY
from neargate.state.catalog_discovery import OPERATION
from neargate.state.catalog_events import QUEUE_DEDUPLICATION, QUEUE_MESSAGE
from neargate.state.catalog_scaling import SCALING_ACTIVITY
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT
from neargate.state.store import Kind, Tx

TOKEN_SECONDS = 24 * 3600.0
SESSION_SECONDS = 30 * 24 * 3600.0
"""As long as Session Manager remembers its sessions."""
ALARM_HISTORY_SECONDS = 30 * 24 * 3600.0
SCALING_SECONDS = 42 * 24 * 3600.0
"""AWS: activities of the last six weeks."""
OPERATION_SECONDS = 24 * 3600.0
"""Of service discovery: they are over when they are answered."""
_DAY_SECONDS = 24 * 3600.0
_BATCH = 500
_LONGEST_PAUSE = 60.0
_BY_AGE: tuple[tuple[Kind[Any], str, float], ...] = (
    (TOKEN_USE, "minute", TOKEN_SECONDS),
    (EXEC_SESSION, "over", SESSION_SECONDS),
    (ALARM_HISTORY, "minute", ALARM_HISTORY_SECONDS),
    (OPERATION, "minute", OPERATION_SECONDS),
    (SCALING_ACTIVITY, "minute", SCALING_SECONDS),
    (QUEUE_MESSAGE, "expires", 0.0),
    (QUEUE_DEDUPLICATION, "minute", DEDUPLICATION_SECONDS),
)
"""What goes by its age alone: the kind, its index by minutes, seconds kept."""


class Retention:
    name = "retention"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        while True:
            await self.round()
            pause = min(_LONGEST_PAUSE, max(1.0, self._parts.settings.stopped_task_seconds / 4))
            await self._parts.clock.sleep(pause)

    async def round(self) -> None:
        """Forget all that is due, in transactions of a bounded size."""
        store, now = self._parts.store, self._parts.clock.now()
        tasks_before = now - self._parts.settings.stopped_task_seconds
        await self._forget(TASK, "stopped", tasks_before, forget_tasks)
        await self._forget(SERVICE, "inactive", tasks_before, forget_services)
        await self._forget(SERVICE_DEPLOYMENT, "over", now - DEPLOYMENT_SECONDS, forget_deployments)
        # By when a task ended: one that runs has no record yet, however old it is.
        usage = (USAGE, "ended", self._parts.settings.usage_retention_days * _DAY_SECONDS)
        for kind, index, seconds in (*_BY_AGE, usage):
            await self._forget(kind, index, now - seconds, partial(forget_records, kind, index))
        clusters = await store.read(lambda tx: tx.all(CLUSTER))
        gone = [c.arn for c in clusters if c.status == "INACTIVE" and c.inactive_at is not None]
        if gone:
            await store.write(lambda tx: forget_clusters(tx, gone, tasks_before))

    async def _forget(
        self, kind: Kind[Any], index: str, before: float, batch: Callable[[Tx, float], int]
    ) -> None:
        """Batch by batch, while the index by minutes has anything that is due."""
        store = self._parts.store
        while await store.read(lambda tx: bool(tx.values(kind, index, until=_due(before), limit=1))):
            if not await store.write(lambda tx: batch(tx, before)):
                break


def _due(before: float) -> str:
    """The last minute that lies wholly before a moment."""
    return minute(before - 60)


def forget_tasks(tx: Tx, before: float) -> int:
    """Remove up to a batch of tasks that stopped before a moment, and all that was kept for their sake."""
    removed = 0
    definitions: set[str] = set()
    for value in tx.values(TASK, "stopped", until=_due(before), limit=_BATCH):
        for task in tx.find(TASK, "stopped", value, limit=_BATCH - removed):
            tx.delete(TASK, task.arn)
            if task.interface_id:
                tx.delete(INTERFACE, task.interface_id)
            definitions.add(task.definition_arn)
            removed += 1
        if removed >= _BATCH:
            break
    for arn in definitions:
        forget_definition(tx, arn)
    return removed


def forget_records(kind: Kind[Any], index: str, tx: Tx, before: float) -> int:
    """Remove up to a batch of records that nothing else hangs on; how many."""
    removed = 0
    for value in tx.values(kind, index, until=_due(before), limit=_BATCH):
        for record in tx.find(kind, index, value, limit=_BATCH - removed):
            tx.delete(kind, kind.id(record))
            removed += 1
        if removed >= _BATCH:
            break
    return removed


def forget_clusters(tx: Tx, arns: list[str], before: float) -> None:
    """Remove clusters deleted before a moment, once none of their tasks is remembered."""
    for arn in arns:
        cluster = tx.get(CLUSTER, arn)
        if cluster is None or cluster.status != "INACTIVE" or (cluster.inactive_at or before) >= before:
            continue
        if not tx.count(TASK, "cluster", arn):
            tx.delete(CLUSTER, arn)
