"""The loop that registers services' tasks in service discovery, tells how they are, and takes them out again.

Started by control/loops; woken by tasks. A task that is asked to stop is taken out at once, while the node is
only being told: names lead elsewhere before it ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from neargate.control.parts import Parts, Watch
from neargate.model.discovery import DiscoveryService, Instance, bare_id, instance_key
from neargate.model.discovery_tasks import differences, instances_of
from neargate.model.task import Task
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE
from neargate.state.catalog_services import SERVICE, SERVICE_REVISION, TASK_SET
from neargate.state.store import Tx

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Plan:
    write: Sequence[Instance]
    remove: Sequence[Instance]

    def __bool__(self) -> bool:
        return bool(self.write or self.remove)


class Discovery:
    name = "discovery"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        watch = Watch(self._parts.store, TASK)
        while True:
            changes = await watch.changed()
            if changes is None:
                arns = await self._parts.store.scan(_all)
            else:
                arns = [change.id for change in changes]
            for first in range(0, len(arns), _AT_ONCE):
                await self._tend(arns[first : first + _AT_ONCE])

    async def _tend(self, arns: Sequence[str]) -> None:
        now = self._parts.clock.now()
        busy = await self._parts.store.read(lambda tx: [arn for arn in arns if plan(tx, arn, now)])
        if busy:
            await self._parts.store.write(lambda tx: _carry_out(tx, busy, now))


def _all(tx: Tx) -> list[str]:
    """Every task that runs, and every one that something is registered for."""
    running = {task.arn for task in tx.find(TASK, "open", "yes") if task.service_arn}
    registered = {instance.task_arn for instance in tx.all(INSTANCE) if instance.task_arn}
    return sorted(running | registered)


def plan(tx: Tx, arn: str, now: float) -> Plan:
    task = tx.get(TASK, arn)
    kept = tx.find(INSTANCE, "task", arn)
    wanted: Mapping[str, Instance] = {}
    if task is not None and task.service_arn:
        registries = _registries(tx, task)
        if registries:
            services = _services(tx, registries)
            definition = tx.get(TASK_DEFINITION, task.definition_arn)
            wanted = instances_of(task, registries, services, definition, now)
    return Plan(*differences(kept, wanted))


def _registries(tx: Tx, task: Task) -> Sequence[Mapping[str, Any]]:
    """Of the revision, or the task set, that the task was made from."""
    revision = tx.get(SERVICE_REVISION, task.revision_arn) if task.revision_arn else None
    if revision is not None:
        return revision.body.get("serviceRegistries") or ()
    for task_set in tx.find(TASK_SET, "service", task.service_arn):
        if task_set.id == task.started_by and task_set.body.get("serviceRegistries"):
            return list(task_set.body["serviceRegistries"])
    service = tx.get(SERVICE, task.service_arn)
    return (service.body.get("serviceRegistries") or ()) if service is not None else ()


def _services(tx: Tx, registries: Iterable[Mapping[str, Any]]) -> dict[str, DiscoveryService]:
    ids = {bare_id(registry["registryArn"]) for registry in registries}
    return {id: found for id in ids if (found := tx.get(DISCOVERY_SERVICE, id)) is not None}


def _carry_out(tx: Tx, arns: Iterable[str], now: float) -> None:
    """Decide again by what is there now, in the same transaction."""
    changed: set[str] = set()
    for arn in arns:
        made = plan(tx, arn, now)
        for instance in made.write:
            old = tx.get(INSTANCE, instance_key(instance.service_id, instance.id))
            if old is None or old.attributes != instance.attributes:
                changed.add(instance.service_id)
            tx.put(INSTANCE, instance if old is None else replace(instance, registered_at=old.registered_at))
        for instance in made.remove:
            tx.delete(INSTANCE, instance_key(instance.service_id, instance.id))
            changed.add(instance.service_id)
    for id in changed:
        service = tx.get(DISCOVERY_SERVICE, id)
        if service is not None:
            tx.put(DISCOVERY_SERVICE, replace(service, revision=service.revision + 1))
