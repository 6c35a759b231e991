"""Carrying a plan out: tasks made, records written, what happened told. In one transaction.

Called by loop.py.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from neargate.control.retention_services import forget_definition
from neargate.control.services.plan import Plan
from neargate.control.services.traffic import shift
from neargate.kit.ids import Ids
from neargate.model import task_maker
from neargate.model.deployments import events
from neargate.model.service import Service, ServiceEvent
from neargate.model.task import Task
from neargate.state import outbox, service_history
from neargate.state.catalog import TASK
from neargate.state.catalog_balancers import TARGET
from neargate.state.catalog_services import (
    SERVICE,
    SERVICE_DEPLOYMENT,
    SERVICE_EVENT,
    SERVICE_REVISION,
    TASK_SET,
)
from neargate.state.store import Tx


def apply(tx: Tx, plan: Plan, ids: Ids, now: float) -> None:
    for task in plan.tasks:
        _put_task(tx, task, now)
    for target in plan.targets:
        tx.put(TARGET, target)
    for id in plan.targets_gone:
        tx.delete(TARGET, id)
    for weights in plan.weights:
        shift(tx, weights)
    for process in plan.processes:
        tx.put(SERVICE_DEPLOYMENT, process)
    for revision in plan.revisions:
        tx.put(SERVICE_REVISION, revision)
    for task_set in plan.task_sets:
        tx.put(TASK_SET, task_set)
    for arn in plan.task_sets_gone:
        gone = tx.get(TASK_SET, arn)
        tx.delete(TASK_SET, arn)
        if gone is not None:
            forget_definition(tx, gone.definition_arn)
    messages = [*_start(tx, plan, ids, now), *plan.messages]
    tx.put(SERVICE, plan.service)
    _say(tx, plan.service, messages, ids, now)
    for event in plan.told:
        outbox.emit(tx, event)


def _put_task(tx: Tx, task: Task, now: float) -> None:
    before = tx.get(TASK, task.arn)
    tx.put(TASK, task)
    if before is not None and before.version != task.version:
        outbox.task_changed(tx, task, now)


def _start(tx: Tx, plan: Plan, ids: Ids, now: float) -> list[str]:
    """Make the tasks; what there is to say of it."""
    made: dict[str, list[str]] = {}
    for start in plan.starts:
        for provider in start.providers:
            task = task_maker.make(start.order, provider, ids, now)
            task = replace(task, service_arn=plan.service.arn, revision_arn=start.revision_arn)
            outbox.task_changed(tx, tx.insert(TASK, task), now)
            made.setdefault(start.order.started_by or "", []).append(task.id)
    return [events.started(plan.service.name, tasks) for tasks in made.values()]


def _say(tx: Tx, service: Service, messages: Iterable[str], ids: Ids, now: float) -> None:
    """Add to the service's events; no complaint twice in six hours."""
    if not messages:
        return
    known = [e.message for e in tx.find(SERVICE_EVENT, "service", service.arn) if _recent(e, now)]
    new: list[str] = []
    for message in messages:
        if not (events.complaint(message) and message in (*known, *new)):
            new.append(message)
    service_history.tell(tx, service, new, ids, now)


def _recent(event: ServiceEvent, now: float) -> bool:
    return event.at > now - events.REPEATED_AFTER
