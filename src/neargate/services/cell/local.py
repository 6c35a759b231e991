"""The control plane as the node inside the daemon sees it: node/cell.Cell, on the store.

Built by main and handed to node/agent. Reports move tasks by model/lifecycle; control/tasks goes on from
there. An HTTP mount of the same calls will serve remote nodes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from neargate.kit.errors import ApiError, CellError
from neargate.model import addresses, lifecycle, registry_token
from neargate.model.record import Scope
from neargate.model.registry_token import Grant
from neargate.model.sandbox import Assignment, Failure, LogBatch, LogCursor, SandboxStatus
from neargate.model.session import SessionCredentials
from neargate.model.task import Node
from neargate.model.terminal import Terminal, TerminalRequest
from neargate.model.zones import Document
from neargate.services.call import House
from neargate.services.cell import endpoints, execution, injected, log_intake, pulls
from neargate.services.cell.endpoints import Protection
from neargate.services.cell.execs import Nodes
from neargate.services.cell.execution import Execution
from neargate.services.cell.names import Names
from neargate.services.cell.views import View
from neargate.state import outbox
from neargate.state.catalog import NODE, TASK
from neargate.state.store import StoreError, Tx

log = logging.getLogger(__name__)
# The second is what systemd-resolved asks itself when the first names only its own stub.
RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


class Facts(Protocol):
    """node/cell.NodeFacts, by shape: services do not import the node."""

    @property
    def id(self) -> str: ...
    @property
    def cpu_units(self) -> int: ...
    @property
    def memory_mib(self) -> int: ...
    @property
    def architecture(self) -> str: ...
    @property
    def tiers(self) -> tuple[str, ...]: ...
    @property
    def adopted_sandboxes(self) -> int: ...
    @property
    def adopted_at(self) -> float: ...


class LocalCell:
    def __init__(
        self,
        house: House,
        protection: Protection | None = None,
        terminals: Nodes | None = None,
        resolvers: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """protection -- ECS's two operations on it: rooms of services/ are strangers to each other.
        terminals -- by which the door finds who runs commands at terminals.
        resolvers -- the node's own; where it has none, tasks ask those of the machine."""
        self._house = house
        self._role = Execution(house)
        self._protection = protection
        self._terminals = terminals or Nodes()
        self._views: dict[str, View] = {}
        self._following: dict[str, asyncio.Lock] = {}
        self._names, self._naming = Names(house), asyncio.Lock()
        self._resolvers = resolvers

    async def hello(self, facts: Facts) -> None:
        node = Node(
            account=self._house.settings.account_id,
            region=self._house.settings.region,
            id=facts.id,
            cpu_units=facts.cpu_units,
            memory_mib=facts.memory_mib,
            architecture=facts.architecture,
            tiers=facts.tiers,
            seen_at=self._house.clock.now(),
            adopted_sandboxes=facts.adopted_sandboxes,
            adopted_at=facts.adopted_at,
        )
        with _cell_errors():
            await self._house.store.write(lambda tx: tx.put(NODE, node))

    async def assignments(self, node: str, after: int) -> tuple[int, Sequence[Assignment]]:
        """See node/cell.Cell. A cursor other than the one given last gets the list at once."""
        async with self._following.setdefault(node, asyncio.Lock()):
            view = self._views.get(node)
            if view is None:
                settings = self._house.settings
                view = self._views[node] = View(
                    self._house.store,
                    node,
                    settings.log_driver_mode,
                    lambda: self._resolvers() or host_resolvers(),
                    key=self._house.signing_key,
                    api=settings.inject_endpoint_url,
                    file_systems=settings.efs_directory,
                    iam=settings.iam,
                    now=self._house.clock.now,
                )
            try:
                with _cell_errors():
                    await self._catch_up(node, view, after)
            except CellError:
                del self._views[node]  # half brought up to date: the next call reads everything anew
                raise
            return view.cursor, view.assignments

    async def _catch_up(self, node: str, view: View, after: int) -> None:
        if view.cursor < 0 or after == 0:
            await view.read_all()
        elif after == view.cursor:
            while not await view.follow():
                await self._end_broken(node, view)
        await self._end_broken(node, view)

    async def _end_broken(self, node: str, view: View) -> None:
        """Stop the tasks of which no sandbox can be made."""
        for task, reason in view.take_broken():
            now = self._house.clock.now()
            failure = Failure(code="TaskFailedToStart", reason=f"ResourceInitializationError: {reason}")
            status = SandboxStatus(
                id=task.id,
                sequence=task.sandbox_sequence + 1,
                phase="STOPPED",
                failure=failure,
                stopped_at=now,
            )
            await self.report(node, [status])

    async def report(self, node: str, statuses: Sequence[SandboxStatus]) -> None:
        """See node/cell.Cell. All of the batch in one write; what the node does not own is passed over."""
        now = self._house.clock.now()

        def body(tx: Tx) -> None:
            for status in statuses:
                for task in tx.find(TASK, "id", status.id):
                    if task.node != node:
                        log.warning("a report on another node's task", extra={"task": task.arn, "node": node})
                        continue
                    moved = lifecycle.advance(task, status, now)
                    if moved is not task:
                        tx.put(TASK, moved)
                    if moved.version != task.version:
                        outbox.task_changed(tx, moved, now)

        with _cell_errors():
            await self._house.store.write(body)

    def serve_terminals(
        self, node: str, open: Callable[[TerminalRequest], Awaitable[Terminal]]
    ) -> AbstractContextManager[None]:
        return self._terminals.serving(node, open)

    async def names(self, after: int) -> tuple[int, Document]:
        async with self._naming:
            with _cell_errors():
                return await self._names.after(after)

    async def log_cursors(self, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
        with _cell_errors():
            return await log_intake.log_cursors(self._house, runtime_ids)

    async def put_logs(self, batches: Sequence[LogBatch]) -> None:
        with _cell_errors():
            for batch in batches:
                scope, sink = Scope(batch.account, batch.region), batch.sink
                sandbox = batch.cursor.runtime_id.partition("-")[0]
                if batch.events:
                    need = execution.for_lines(scope, sink.group, sink.stream)
                    await self._role.check(sandbox, scope, need)
            await log_intake.put_logs(self._house, batches)

    async def open_log_stream(
        self, account: str, region: str, group: str, stream: str, create_group: bool, sandbox: str = ""
    ) -> None:
        scope = Scope(account, region)
        with _cell_errors():
            await self._role.check(sandbox, scope, execution.for_new_stream(scope, group, stream))
            if create_group and not await log_intake.has_group(self._house, account, region, group):
                await self._role.check(sandbox, scope, execution.for_new_group(scope, group))
            await log_intake.open_log_stream(self._house, account, region, group, stream, create_group)

    async def registry_secret(
        self, account: str, region: str, parameter: str, sandbox: str = ""
    ) -> tuple[str, str]:
        scope = Scope(account, region)
        with _cell_errors():
            await self._role.check(sandbox, scope, execution.for_login_secret(scope, parameter))
            return await pulls.login(self._house, scope, parameter)

    async def secret_values(
        self, account: str, region: str, sources: Sequence[str], sandbox: str = ""
    ) -> list[str]:
        scope = Scope(account, region)
        with _cell_errors():
            return await injected.secret_values(self._house, self._role, sandbox, scope, sources)

    async def environment_file(self, account: str, region: str, arn: str, sandbox: str = "") -> bytes:
        scope = Scope(account, region)
        with _cell_errors():
            return await injected.environment_file(self._house, self._role, sandbox, scope, arn)

    async def registry_access(self, account: str, region: str, repository: str, sandbox: str) -> None:
        scope = Scope(account, region)
        with _cell_errors():
            await self._role.check(sandbox, scope, *execution.for_pull(scope, repository))

    async def registry_token(self, account: str, region: str, sandbox: str = "") -> tuple[str, str]:
        with _cell_errors():
            await self._role.check(sandbox, Scope(account, region), execution.LOGIN)
        if account != self._house.settings.account_id:
            raise CellError(f"the registry of account {account} is not served here")
        grant = Grant(
            account=account,
            region=region,
            principal=f"arn:aws:iam::{account}:root",
            expires_at=int(self._house.clock.now()) + registry_token.LOGIN_SECONDS,
        )
        return registry_token.USER, registry_token.mint(self._house.signing_key, grant)

    async def registry_manifest(
        self, account: str, region: str, repository: str, reference: str
    ) -> tuple[bytes, str, str]:
        with _cell_errors():
            return await pulls.manifest(self._house, Scope(account, region), repository, reference)

    async def task_credentials(self, sandbox: str) -> SessionCredentials:
        with _cell_errors():
            return await endpoints.credentials(self._house, sandbox)

    async def task_tags(self, sandbox: str) -> dict[str, str]:
        with _cell_errors():
            return (await endpoints.running_task(self._house, sandbox)).tags

    async def task_protection(
        self, sandbox: str, enabled: bool | None, minutes: int | None
    ) -> tuple[int, dict[str, Any]]:
        with _cell_errors():
            return await endpoints.protect(self._house, self._protection, sandbox, enabled, minutes)


@contextlib.contextmanager
def _cell_errors() -> Iterator[None]:
    """Whatever refuses behind the door is a CellError to the node, with AWS's text."""
    try:
        yield
    except (ApiError, StoreError) as error:
        raise CellError(str(error)) from error


def host_resolvers() -> tuple[str, ...]:
    """The name servers that tasks are given: those of this machine that other namespaces can reach."""
    return addresses.resolvers(path.read_text() for path in RESOLVER_FILES if path.is_file())
