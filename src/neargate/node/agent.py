"""The agent of a machine: finds sandboxes of an earlier daemon again, then follows the control plane's list.

Started by main, runs for ever. Each sandbox is one runner.py in the agent's task group; what they report goes
out together by reports.py. The list is the truth: what it has and the node lacks is started, what it lacks is
destroyed.
"""

import asyncio
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from neargate.kit.clock import Clock
from neargate.model.sandbox import Assignment
from neargate.model.terminal import Terminal, TerminalError, TerminalRequest
from neargate.node import journal
from neargate.node.cell import Cell, CellError, NodeFacts
from neargate.node.drivers.base import Driver, DriverError, Sandbox
from neargate.node.images import Images
from neargate.node.journal import Found
from neargate.node.logs import LogShipper
from neargate.node.reports import LEAST_PAUSE, MOST_PAUSE, Reports
from neargate.node.runner import Runner, Tools

log = logging.getLogger(__name__)
T = TypeVar("T")

_OPENING, _STARTING = 4, 4
_ADOPTING = 32
_LONGEST_PAUSE = 60.0


class Agent:
    def __init__(
        self,
        *,
        cell: Cell,
        driver: Driver,
        images: Images,
        logs: LogShipper,
        directory: Path,
        node_id: str,
        clock: Clock,
    ) -> None:
        """directory -- of the sandboxes: each has its own in it, by its id."""
        self._cell = cell
        self._driver = driver
        self._images = images
        self._directory = directory
        self._node = node_id
        self._clock = clock
        self._reports = Reports(cell, node_id, clock)
        self._tools = Tools(
            cell=cell,
            driver=driver,
            images=images,
            logs=logs,
            reports=self._reports,
            clock=clock,
            opening=asyncio.Semaphore(_OPENING),
            starting=asyncio.Semaphore(_STARTING),
        )
        self._runners: dict[str, Runner] = {}
        self._finished: set[str] = set()
        """Sandboxes that have ended, until the list lacks them: one under way may still have them."""
        self.adopted = asyncio.Event()
        """Set once every sandbox of an earlier daemon is found again: `find` then knows them."""
        self._adopted = 0
        self._adopted_at = 0.0

    async def run(self) -> NoReturn:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reports.run(), name="reports")
            await self._adopt(group)
            group.create_task(self._images.run(), name="image-collection")
            await self._insist(partial(self._cell.hello, self._facts()), "hello")
            with self._cell.serve_terminals(self._node, self._terminal):
                await self._follow(group)
        raise AssertionError("unreachable")

    async def _terminal(self, request: TerminalRequest) -> Terminal:
        runner = self._runners.get(request.sandbox)
        if runner is None or runner.sandbox is None or runner.ending:
            raise TerminalError("The task is not running.")
        try:
            return await runner.sandbox.attach(request.container, request.argv, request.columns, request.rows)
        except DriverError as error:
            raise TerminalError(f"Unable to start command: {error}") from error

    def find(self, id: str) -> Runner | None:
        """The sandbox of this id, if it is here."""
        return self._runners.get(id)

    def all(self) -> Iterable[Runner]:
        return self._runners.values()

    # -- after a restart -------------------------------------------------------------------------------

    async def _adopt(self, group: asyncio.TaskGroup) -> None:
        """Nothing new is opened before the sweep has ended: it removes what nobody claims."""
        found = await asyncio.to_thread(journal.scan, self._directory)
        gate = asyncio.Semaphore(_ADOPTING)

        async def one(it: Found) -> tuple[Found, Sandbox | None, bool]:
            async with gate:
                try:
                    return it, await self._driver.adopt(it.spec, it.directory), True
                except Exception as error:  # one sandbox must not keep the others from being adopted
                    log.error("a sandbox is given up: %r", error, extra={"sandbox": it.spec.id})
                    return it, None, False

        adopted = await asyncio.gather(*(one(it) for it in found))
        try:
            await self._driver.sweep([it.spec.id for it, _, kept in adopted if kept])
        except (DriverError, OSError):
            log.exception("leftovers of earlier sandboxes are not removed")
        for it, sandbox, _ in adopted:
            runner = Runner(it.spec, it.directory, self._tools, it.kept, sandbox)
            self._start(group, runner)
        self._adopted = sum(1 for _, sandbox, _ in adopted if sandbox is not None)
        self._adopted_at = self._clock.now()
        self.adopted.set()
        if found:
            log.info("sandboxes adopted", extra={"adopted": self._adopted, "known": len(found)})

    # -- the list --------------------------------------------------------------------------------------

    async def _follow(self, group: asyncio.TaskGroup) -> NoReturn:
        cursor = 0
        while True:
            ask = partial(self._cell.assignments, self._node, cursor)
            cursor, wanted = await self._insist(ask, "assignments")
            self._reconcile(group, wanted)

    def _reconcile(self, group: asyncio.TaskGroup, wanted: Sequence[Assignment]) -> None:
        listed = {assignment.spec.id for assignment in wanted}
        self._finished &= listed
        for assignment in wanted:
            id = assignment.spec.id
            if id in self._finished:
                continue
            runner = self._runners.get(id)
            if runner is None:
                runner = Runner(assignment.spec, self._directory / id, self._tools)
                self._start(group, runner)
            if assignment.desired == "STOPPED":
                runner.stop()
        for id in self._runners.keys() - listed:
            self._runners[id].abandon()

    def _start(self, group: asyncio.TaskGroup, runner: Runner) -> None:
        self._runners[runner.spec.id] = runner
        group.create_task(self._keep(runner), name=f"sandbox-{runner.spec.id}")

    async def _keep(self, runner: Runner) -> None:
        """Run a sandbox to its end. One that fails by our own mistake is ended, and harms no other."""
        pause = LEAST_PAUSE
        while True:
            try:
                await runner.run()
                break
            except Exception as error:
                log.exception("a runner failed", extra={"sandbox": runner.spec.id, "pause": pause})
                runner.broken(error)
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        del self._runners[runner.spec.id]
        self._finished.add(runner.spec.id)

    # -- the control plane -----------------------------------------------------------------------------

    async def _insist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Ask until there is an answer."""
        pause = LEAST_PAUSE
        while True:
            try:
                return await call()
            except CellError as error:
                log.warning("the control plane does not answer %s: %s", what, error)
            except Exception:
                log.exception("%s failed", what)
            await self._clock.sleep(pause)
            pause = min(pause * 2, MOST_PAUSE)

    def _facts(self) -> NodeFacts:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return NodeFacts(
            id=self._node,
            cpu_units=1024 * (os.cpu_count() or 1),
            memory_mib=memory // 1024**2,
            architecture=platform.machine(),
            tiers=tuple(self._driver.tiers),
            adopted_sandboxes=self._adopted,
            adopted_at=self._adopted_at,
        )
