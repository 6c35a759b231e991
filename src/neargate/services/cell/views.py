"""What a node is to run, kept ready: its list of assignments, brought up to date from the change feed.

Called by local.py, one view per node. A specification never changes once its task is placed, so each is
assembled once; the store stays the truth, a view can be thrown away at any moment.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import actions, addresses, endpoints
from neargate.model.assembly import sandbox_spec
from neargate.model.rights import UNABLE_TO_ASSUME
from neargate.model.sandbox import Assignment, SandboxSpec
from neargate.model.task import Task, TaskDefinition
from neargate.services.cell import connect, volumes
from neargate.state import rights
from neargate.state.catalog import ACCOUNT_SETTING, INTERFACE, SUBNET, TASK, TASK_DEFINITION
from neargate.state.store import Store, Tx

log = logging.getLogger(__name__)


class View:
    def __init__(
        self,
        store: Store,
        node: str,
        log_driver_mode: str,
        resolvers: Callable[[], Sequence[str]],
        *,
        key: bytes,
        api: bool,
        file_systems: Path,
        iam: str = "off",
        now: Callable[[], float] = time.time,
    ) -> None:
        """key -- what ids in the endpoints' paths are made of. api -- tasks' SDKs are pointed to the door.
        file_systems -- root of EFS's, on the node. iam -- the setting: whose roles are looked at."""
        self._key = key
        self._api = api
        self._iam, self._now = iam, now
        self._file_systems = str(file_systems)
        self._store = store
        self._node = node
        self._log_driver_mode = log_driver_mode
        self._resolvers = resolvers
        self._assignments: dict[str, Assignment] = {}
        self._broken: list[tuple[Task, str]] = []
        self.cursor = -1
        """Head of the feed that the list stands for; -1 before the first read."""

    @property
    def assignments(self) -> list[Assignment]:
        return list(self._assignments.values())

    async def read_all(self) -> None:
        head = self._store.head()
        tasks = await self._store.read(lambda tx: tx.find(TASK, "node", self._node))
        known = {task.arn for task in tasks}
        for arn in [arn for arn in self._assignments if arn not in known]:
            del self._assignments[arn]
        await self._note([(task.arn, task) for task in tasks])
        self.cursor = max(1, head)

    async def follow(self) -> bool:
        """Wait for news and take it in; True if the list is another than before."""
        await self._store.wait(self.cursor)
        feed = await self._store.changes(self.cursor)
        if feed.gap:
            before = self.assignments
            await self.read_all()
            return before != self.assignments
        arns = {c.id: None for c in feed.changes if c.kind == TASK.name}
        found = await self._store.read(lambda tx: [(arn, tx.get(TASK, arn)) for arn in arns]) if arns else []
        changed = await self._note(found)
        self.cursor = feed.head
        return changed

    def take_broken(self) -> list[tuple[Task, str]]:
        """Tasks of which no specification could be made, and why; each is told once."""
        broken, self._broken = self._broken, []
        return broken

    async def _note(self, found: Iterable[tuple[str, Task | None]]) -> bool:
        changed = False
        fresh: list[Task] = []
        for arn, task in found:
            known = self._assignments.get(arn)
            if task is None or task.node != self._node or task.last_status == "STOPPED":
                changed |= self._assignments.pop(arn, None) is not None
            elif known is None:
                fresh.append(task)
            elif known.desired != _desired(task):
                self._assignments[arn] = _assignment(known.spec, task)
                changed = True
        if fresh:
            specs = await self._store.read(lambda tx: [self._spec(tx, task) for task in fresh])
            for task, spec in zip(fresh, specs, strict=True):
                if spec is not None:
                    self._assignments[task.arn] = _assignment(spec, task)
                    changed = True
        return changed

    def _check_roles(self, tx: Tx, task: Task, definition: TaskDefinition) -> None:
        """Raise ValueError on a role that is not there, or does not trust tasks, now that it is needed."""
        for role in actions.task_roles(task.overrides, definition.body):
            if not rights.trusts_service(tx, self._iam, task.account, task.region, role, actions.TASKS):
                raise ValueError(UNABLE_TO_ASSUME.format(role))

    def _spec(self, tx: Tx, task: Task) -> SandboxSpec | None:
        definition = tx.get(TASK_DEFINITION, task.definition_arn)
        interface = tx.get(INTERFACE, task.interface_id)
        subnet = tx.get(SUBNET, task.subnet_id)
        if definition is None or interface is None or subnet is None:
            self._broken.append((task, "its task definition, interface or subnet is gone"))
            return None
        setting = tx.get(ACCOUNT_SETTING, f"{task.account}/{task.region}//defaultLogDriverMode")
        mode = setting.value if setting is not None else self._log_driver_mode
        eni = addresses.interface_spec(interface, subnet, self._resolvers())
        eni = replace(eni, hosts=connect.hosts(tx, task))
        try:
            self._check_roles(tx, task, definition)
            shared, readonly = volumes.shared(
                tx,
                task,
                definition,
                vpc_id=subnet.vpc_id,
                root=self._file_systems,
                iam=self._iam,
                now=self._now(),
            )
            spec = sandbox_spec(task, definition, eni, log_driver_mode=mode, shared_volumes=shared)
            spec = volumes.restrained(spec, readonly)
        except (ApiError, ValueError, KeyError) as error:
            log.error("no sandbox can be made of a task", extra={"task": task.arn, "error": repr(error)})
            self._broken.append((task, str(error)))
            return None
        return endpoints.equipped(
            spec, task, definition, zone_id=subnet.zone_id, key=self._key, api=self._api
        )


def _assignment(spec: SandboxSpec, task: Task) -> Assignment:
    return Assignment(spec=spec, desired=_desired(task))


def _desired(task: Task) -> Literal["RUNNING", "STOPPED"]:
    return "STOPPED" if task.desired_status == "STOPPED" and not task.draining else "RUNNING"
