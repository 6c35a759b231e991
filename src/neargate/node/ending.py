"""The end of a sandbox: containers stopped in reverse order, all removed, last lines shipped, STOPPED told.

Owned by runner.py, which calls these steps in this order; each may be done again by a later daemon.
"""

import asyncio
import logging
import signal
from collections.abc import Mapping
from pathlib import Path

from neargate.kit.clock import Clock
from neargate.model import startup
from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import journal, spool
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.node.journal import Journal
from neargate.node.logs import LogShipper
from neargate.node.news import News
from neargate.node.reports import Reports
from neargate.oci.images import Image

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
"""How long a killed container may take to be gone; then the sandbox is removed all the same."""
DRAIN_SECONDS = 10.0
"""How long STOPPED waits for the last lines: whoever sees it may read them at once."""
ROUTER_SECONDS = 5.0
"""How long a router is kept for lines that it does not take."""
LATE_DRAIN_SECONDS = 120.0
"""How long, after STOPPED, lines are kept that nobody takes."""
_DESTROY_ATTEMPTS = 3


class Ending:
    def __init__(
        self,
        spec: SandboxSpec,
        directory: Path,
        logs: LogShipper,
        reports: Reports,
        journal: Journal,
        news: News,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._logs = logs
        self._reports = reports
        self._journal = journal
        self._news = news
        self._clock = clock
        self._immortal: set[str] = set()
        self.abandoned = False
        """The control plane has forgotten the sandbox: no grace, no report."""

    # -- containers ------------------------------------------------------------------------------------

    async def stop_containers(self, sandbox: Sandbox | None, images: Mapping[str, Image]) -> None:
        """Those first on which none depends. Returns when none runs that can be stopped."""
        self._journal.advance("STOPPING")
        self._journal.set_once(stopping_at=self._clock.now())
        if sandbox is None:
            self._journal.publish()
            return
        specs = {c.name: c for c in self._spec.containers}
        under_way: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                news = self._news.mark()
                self._observe(sandbox)
                self._journal.publish()
                running = _running(sandbox) - self._immortal
                if self.abandoned or sandbox.lost or not running:
                    break
                for name in startup.to_stop(self._spec.containers, running):
                    if name not in under_way:
                        under_way.add(name)
                        group.create_task(self._stop(sandbox, specs[name], images.get(name)))
                await self._news.wait(news)

    async def _stop(self, sandbox: Sandbox, container: ContainerSpec, image: Image | None) -> None:
        """The stop signal, once in the container's life; SIGKILL when its time is up."""
        name = container.name
        await self._serve_out(name)
        at = self._journal.signalled.get(name)
        if at is None:
            at = self._clock.now()
            self._journal.note_signal(name, at)
            await _send(sandbox, name, stop_signal(image.config.stop_signal if image else ""))
        if await self._ended(sandbox, name, at + container.stop_timeout):
            return
        await _send(sandbox, name, signal.SIGKILL)
        if not await self._ended(sandbox, name, self._clock.now() + KILL_SECONDS):
            log.error("a killed container does not end", extra={"sandbox": self._spec.id, "container": name})
            self._immortal.add(name)
            self._news.tell()

    async def _serve_out(self, router: str) -> None:
        """A router stops once it has what the others wrote: those that had to end before it have ended."""
        routed = any(c.log is not None and c.log.router == router for c in self._spec.containers)
        if not routed or self.abandoned:
            return
        if not await self._logs.drain(self._spec.id, ROUTER_SECONDS, router):
            log.warning("a router is stopped before it has all lines", extra={"sandbox": self._spec.id})

    async def _ended(self, sandbox: Sandbox, name: str, until: float) -> bool:
        """Wait for a container's end, but no longer than that moment. Being abandoned counts as the end."""
        while True:
            news = self._news.mark()
            if self.abandoned or name not in _running(sandbox):
                return True
            if self._clock.now() >= until:
                return False
            await self._news.wait(news, until)

    def _observe(self, sandbox: Sandbox) -> None:
        for state in sandbox.states.values():
            self._journal.observe(state, again=False)
        ends = [
            at
            for container in self._spec.containers
            if container.essential and (at := self._journal.container(container.name).stopped_at) is not None
        ]
        if ends:
            self._journal.set_once(execution_stopped_at=min(ends))

    # -- unwinding -------------------------------------------------------------------------------------

    async def destroy(self, sandbox: Sandbox) -> None:
        self._journal.advance("CLEANING")
        if self._journal.has_run:
            self._journal.set_once(execution_stopped_at=self._clock.now())
        self._journal.publish()
        self._logs.detach(self._spec.id, routed=True)
        for attempt in range(1, _DESTROY_ATTEMPTS + 1):
            try:
                await sandbox.destroy()
                break
            except DriverError as error:
                log.error("a sandbox is not removed: %s", error, extra={"sandbox": self._spec.id})
                await self._clock.sleep(attempt)
        self._observe(sandbox)

    async def hand_in(self) -> None:
        """The last lines, then STOPPED. Returns once the control plane has both; lines that nobody takes are
        given up after a while.
        """
        self._attach_left()
        drained = await self._logs.drain(self._spec.id, DRAIN_SECONDS)
        for container in self._spec.containers:
            self._journal.change_container(container.name, phase="STOPPED")
        self._journal.advance("STOPPED")
        self._journal.set_once(stopped_at=self._clock.now())
        if not self.abandoned:
            self._journal.publish(again=True)
            await self._reports.kept(self._spec.id)
            drained = drained or await self._logs.drain(self._spec.id, LATE_DRAIN_SECONDS)
        if not drained:
            log.warning("log lines are given up: nobody takes them", extra={"sandbox": self._spec.id})
        self._logs.detach(self._spec.id)

    def _attach_left(self) -> None:
        """Spools of a sandbox removed by an earlier daemon, and the end mark where the writer was killed."""
        for container in self._spec.containers:
            where = self._journal.spools.get(container.name)
            if where is None:
                continue
            path = Path(where)
            self._logs.attach(self._spec.id, container, self._spec.account, self._spec.region, path)
            end = path / "end"
            if not end.exists():
                end.write_text(str(max(spool.segment_offsets(where), default=0)))

    async def forget(self) -> None:
        await asyncio.to_thread(journal.remove, self._directory)


def _running(sandbox: Sandbox) -> set[str]:
    return {name for name, state in sandbox.states.items() if state.running}


async def _send(sandbox: Sandbox, name: str, number: int) -> None:
    try:
        await sandbox.signal(name, number)
    except DriverError as error:
        log.warning("signal %d: %s", number, error, extra={"sandbox": sandbox.id, "container": name})


def stop_signal(text: str) -> int:
    """The number of an image's StopSignal (`SIGINT`, `int`, `2`, `SIGRTMIN+3`); SIGTERM if it names none."""
    name = text.strip().upper()
    if name.isdigit():
        return int(name) if 0 < int(name) <= signal.SIGRTMAX else signal.SIGTERM
    name, _, more = name.partition("+")
    name = name if name.startswith("SIG") else f"SIG{name}"
    base = getattr(signal, name, signal.SIGTERM)
    number = int(base) if isinstance(base, signal.Signals) else int(signal.SIGTERM)
    return number + int(more) if more.isdigit() and number + int(more) <= signal.SIGRTMAX else number
