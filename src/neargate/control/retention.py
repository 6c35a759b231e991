"""The loop that forgets: stopped tasks, deleted clusters and definitions, old client tokens.

It runs by the clock, started by control/loops. Usage records stay.
"""

from neargate.control.parts import Parts
from neargate.state.catalog import CLUSTER, EXEC_SESSION, INTERFACE, TASK, TASK_DEFINITION, TOKEN_USE, minute
from neargate.state.store import Tx

TOKEN_SECONDS = 24 * 3600.0
SESSION_SECONDS = 30 * 24 * 3600.0
"""As long as Session Manager remembers its sessions."""
_BATCH = 500
_LONGEST_PAUSE = 60.0


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
        while await store.read(
            lambda tx: bool(tx.values(TASK, "stopped", until=_due(tasks_before), limit=1))
        ):
            if not await store.write(lambda tx: forget_tasks(tx, tasks_before)):
                break
        tokens_before = now - TOKEN_SECONDS
        while await store.read(
            lambda tx: bool(tx.values(TOKEN_USE, "minute", until=_due(tokens_before), limit=1))
        ):
            if not await store.write(lambda tx: forget_tokens(tx, tokens_before)):
                break
        sessions_before = now - SESSION_SECONDS
        while await store.read(
            lambda tx: bool(tx.values(EXEC_SESSION, "over", until=_due(sessions_before), limit=1))
        ):
            if not await store.write(lambda tx: forget_sessions(tx, sessions_before)):
                break
        clusters = await store.read(lambda tx: tx.all(CLUSTER))
        gone = [c.arn for c in clusters if c.status == "INACTIVE" and c.inactive_at is not None]
        if gone:
            await store.write(lambda tx: forget_clusters(tx, gone, tasks_before))


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
        _forget_definition(tx, arn)
    return removed


def _forget_definition(tx: Tx, arn: str) -> None:
    """Deleting a revision ends when no task that is remembered has it (services/ecs began it)."""
    definition = tx.get(TASK_DEFINITION, arn)
    deleting = definition is not None and definition.status == "DELETE_IN_PROGRESS"
    if deleting and not tx.count(TASK, "definition", arn):
        tx.delete(TASK_DEFINITION, arn)


def forget_tokens(tx: Tx, before: float) -> int:
    removed = 0
    for value in tx.values(TOKEN_USE, "minute", until=_due(before), limit=_BATCH):
        for use in tx.find(TOKEN_USE, "minute", value, limit=_BATCH - removed):
            tx.delete(TOKEN_USE, use.id)
            removed += 1
        if removed >= _BATCH:
            break
    return removed


def forget_sessions(tx: Tx, before: float) -> int:
    removed = 0
    for value in tx.values(EXEC_SESSION, "over", until=_due(before), limit=_BATCH):
        for session in tx.find(EXEC_SESSION, "over", value, limit=_BATCH - removed):
            tx.delete(EXEC_SESSION, session.id)
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
