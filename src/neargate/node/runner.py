"""One sandbox from ACCEPTED to STOPPED: ordered, idempotent steps, unwound in reverse.

Made by agent.py, one per sandbox; `run` may be called anew after a failure or in another daemon and goes on
where journal.py and the driver say the sandbox stands. Next: supervision.py keeps its containers running,
ending.py takes it down.

    open ----------+
    pull images ---+-> start containers, check health, restart -> stop -> destroy -> logs -> STOPPED -> forget
    log streams ---+
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neargate.kit.clock import Clock
from neargate.model.sandbox import ContainerSpec, Failure, SandboxSpec, SandboxStatus
from neargate.node.cell import Cell, CellError
from neargate.node.drivers.base import Driver, DriverError, Sandbox
from neargate.node.ending import Ending
from neargate.node.environment import Environments, NoEnvironment
from neargate.node.images import Images
from neargate.node.journal import Journal, Kept
from neargate.node.logs import LogShipper
from neargate.node.news import News
from neargate.node.reports import Reports
from neargate.node.route import Route
from neargate.node.supervision import LOST, Supervision
from neargate.oci.errors import ImageError
from neargate.oci.images import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all runners of an agent share."""

    cell: Cell
    driver: Driver
    images: Images
    logs: LogShipper
    reports: Reports
    clock: Clock
    opening: asyncio.Semaphore
    """How many boundaries are made at a time: more would only wait for the same processors."""
    starting: asyncio.Semaphore
    """How many containers are started at a time."""


class CannotRun(Exception):
    """The sandbox cannot come up; the text is the task's stopped reason."""


class Runner:
    def __init__(
        self,
        spec: SandboxSpec,
        directory: Path,
        tools: Tools,
        kept: Kept | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        """kept, sandbox -- of an adopted one: its journal, and what the driver found of it."""
        self.spec = spec
        self._directory = directory
        self._tools = tools
        self._sandbox = sandbox
        self._news = News(tools.clock)
        self._journal = Journal(spec, directory, kept, tools.clock, tools.reports.put)
        self._ending = Ending(
            spec, directory, tools.logs, tools.reports, self._journal, self._news, tools.clock
        )
        self._images: dict[str, Image] = {}
        self._environments = Environments(tools.cell, spec)
        self._undo: list[Callable[[], Awaitable[None]]] = []
        """What to do at the end, the last first. Not an AsyncExitStack: cut off in one step, because the
        daemon leaves, it would do the others all the same, and forget a sandbox whose end nobody was told."""
        self._stop_asked = False
        self._scope: asyncio.Timeout | None = None

    # -- what the metadata endpoint tells --------------------------------------------------------------

    @property
    def status(self) -> SandboxStatus:
        return self._journal.status

    @property
    def sandbox(self) -> Sandbox | None:
        return self._sandbox

    @property
    def ending(self) -> bool:
        return self._stop_asked or self._journal.ending

    # -- what the agent says ---------------------------------------------------------------------------

    def stop(self) -> None:
        """The control plane wants it stopped. Obeyed at once, wherever the sandbox stands."""
        if not self._stop_asked:
            self._stop_asked = True
            if self._scope is not None and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())
            self._news.tell()

    def abandon(self) -> None:
        """The control plane knows it no more: end it without grace, and report nothing."""
        if not self._ending.abandoned:
            self._ending.abandoned = True
            self.stop()
            self._news.tell()

    def broken(self, error: BaseException) -> None:
        """`run` failed by a mistake of ours: when it is called again, the sandbox ends."""
        if self._journal.status.failure is None and not self._stop_asked:
            failure = Failure(code="InfrastructureHealth", reason=f"internal error: {error!r}")
            self._journal.change(failure=failure)

    # -- the whole -------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            self._journal.open()
        except OSError as error:  # not kept, it would be swept away by the next daemon
            self._journal.change(failure=_refusal(f"ResourceInitializationError: {error}"))
        self._undo = [self._forget, self._ending.hand_in]
        self._take_up()
        if not self._stop_asked and not self._journal.ending and self._journal.status.failure is None:
            await self._live()
        await self._ending.stop_containers(self._sandbox, self._images)
        while self._undo:
            await self._undo[-1]()
            self._undo.pop()

    async def _forget(self) -> None:
        self._tools.images.release(self.spec.id)
        await self._ending.forget()

    def _take_up(self) -> None:
        """What an adopted sandbox has already."""
        for container in self.spec.containers:
            digest = self._journal.container(container.name).image_digest
            image = self._tools.images.held(self.spec.id, digest) if digest else None
            if image is not None:
                self._images[container.name] = image
        if self._sandbox is not None:
            self._use(self._sandbox)
            for container in self.spec.containers:
                if container.name in self._sandbox.states:
                    self._attach_logs(self._sandbox, container)
        elif self._journal.has_run and not self._journal.ending:
            self._journal.change(failure=LOST)  # nothing is left of it: what ran must not run a second time

    def _use(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        sandbox.watch(self._news.tell)
        self._undo.append(partial(self._ending.destroy, sandbox))

    async def _live(self) -> None:
        """Until the sandbox has to end; why is in the journal, or the control plane's to know."""
        try:
            async with self._until_stopped():
                await self._prepare()
        except CannotRun as error:
            self._journal.change(failure=_refusal(str(error)))
            return
        if self._stop_asked or self._sandbox is None:
            return
        sandbox = self._sandbox
        supervision = Supervision(
            self.spec,
            sandbox,
            self._journal,
            self._news,
            self._tools.clock,
            self._tools.starting,
            self._image_of,
            self._environments,
            lambda container: self._attach_logs(sandbox, container),
        )
        failure = await supervision.run(lambda: self._stop_asked)
        if failure is not None:
            self._journal.change(failure=failure)

    @asynccontextmanager
    async def _until_stopped(self) -> AsyncIterator[None]:
        """The block ends, unfinished, when `stop` is called."""
        scope = self._scope = asyncio.timeout(None)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None

    # -- interface, images, log streams ----------------------------------------------------------------

    async def _prepare(self) -> None:
        """All three at the same time, for those containers that have not been started yet."""
        started = self._sandbox.states if self._sandbox is not None else {}
        fresh = [c for c in self.spec.containers if c.name not in started]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._open())
                group.create_task(self._pull_all(fresh))
                for container in fresh:
                    group.create_task(self._open_stream(container))
                    group.create_task(self._fetch_environment(container))
        except ExceptionGroup as errors:
            raise _first(errors) from None

    async def _open(self) -> None:
        if self._sandbox is None:
            try:
                async with self._tools.opening:
                    sandbox = await self._tools.driver.open(self.spec, self._directory)
            except DriverError as error:
                raise CannotRun(f"ResourceInitializationError: {error}") from None
            self._use(sandbox)
        self._journal.advance("ATTACHED" if self._journal.status.pull_started_at is None else "PULLING")
        self._journal.publish()

    async def _pull_all(self, fresh: Sequence[ContainerSpec]) -> None:
        """All images at once. One that cannot be had ends the others' pulls."""
        self._journal.set_once(pull_started_at=self._tools.clock.now())
        if self._sandbox is not None:
            self._journal.advance("PULLING")
            self._journal.publish()
        try:
            async with asyncio.TaskGroup() as group:
                for container in fresh:
                    group.create_task(self._pull(container))
        except ExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            self._journal.set_once(pull_stopped_at=self._tools.clock.now())

    async def _pull(self, container: ContainerSpec) -> None:
        try:
            image = await self._image_of(container)
            taken = sum({other.digest: other.size for other in self._images.values()}.values())
            if taken > self.spec.ephemeral_bytes:
                told = f"no space left on device: with its {image.size} bytes the task's images are too large"
                raise ImageError(f"failed to extract layers of {container.image}: {told}")
        except ImageError as error:
            self._journal.change_container(container.name, reason=error.stopped_reason)
            raise CannotRun(error.stopped_reason) from None

    async def _image_of(self, container: ContainerSpec) -> Image:
        """The image that the container was given first; it keeps that one through restarts of any kind."""
        image = self._images.get(container.name)
        if image is None:
            image = await self._tools.images.pull(self.spec, container)
            self._images[container.name] = image
            self._journal.change_container(container.name, image_digest=image.digest)
        return image

    async def _open_stream(self, container: ContainerSpec) -> None:
        sink = container.log
        if sink is None or sink.router:
            return
        account, region = self.spec.account, sink.region or self.spec.region
        try:
            await self._tools.cell.open_log_stream(
                account, region, sink.group, sink.stream, sink.create_group, self.spec.id
            )
        except CellError as error:
            raise CannotRun(f"ResourceInitializationError: {_no_stream(error)}") from None

    async def _fetch_environment(self, container: ContainerSpec) -> None:
        try:
            await self._environments.fetch(container)
        except NoEnvironment as error:
            raise CannotRun(str(error)) from None

    def _attach_logs(self, sandbox: Sandbox, container: ContainerSpec) -> None:
        sink = container.log
        if sink is None:
            return
        spool = sandbox.spool(container.name)
        route = Route(sandbox, container, sink, spool) if sink.router else None
        if route is None:  # what a router has not taken when the sandbox ends, nobody ever will
            self._journal.note_spool(container.name, spool)
        self._tools.logs.attach(self.spec.id, container, self.spec.account, self.spec.region, spool, route)


def _no_stream(error: CellError) -> str:
    if "AccessDeniedException" not in str(error):
        return f"failed to initialize logging driver: {error}"
    why = f"create stream has been retried 1 times: failed to create Cloudwatch log stream: {error}"
    return f"failed to validate logger args: {why} : exit status 1"


def _refusal(reason: str) -> Failure:
    return Failure(code="TaskFailedToStart", reason=reason)


def _first(errors: ExceptionGroup) -> BaseException:
    """What to tell of several failures: one that is the user's to know, before a mistake of ours."""
    found: BaseExceptionGroup | BaseException = errors.subgroup(CannotRun) or errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
