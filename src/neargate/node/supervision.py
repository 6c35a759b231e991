"""Keeps the containers of one open sandbox as they should be: starts, checks and restarts them. It decides
nothing: what comes next is model/startup's word.

Made by runner.py, which calls `run` once images and log streams are there; it returns when the sandbox has to
end, with the reason.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from neargate.kit.clock import Clock
from neargate.model import startup
from neargate.model.sandbox import ContainerSpec, Failure, Health, SandboxSpec
from neargate.model.startup import Seen, Step
from neargate.node import health
from neargate.node.drivers.base import DriverError, ExecResult, Sandbox
from neargate.node.environment import Environments, NoEnvironment
from neargate.node.journal import Journal
from neargate.node.news import News
from neargate.oci.errors import ImageError
from neargate.oci.images import Image

log = logging.getLogger(__name__)

START_SECONDS = 60.0
LOST = Failure(
    code="InfrastructureHealth", reason="The sandbox of the task ended unexpectedly; its containers are gone."
)
_TIMED_OUT = "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1m"
_AGAIN_SECONDS = 0.05
_LAST_STARTS_SECONDS = 10.0


class Supervision:
    def __init__(
        self,
        spec: SandboxSpec,
        sandbox: Sandbox,
        journal: Journal,
        news: News,
        clock: Clock,
        gate: asyncio.Semaphore,
        image_of: Callable[[ContainerSpec], Awaitable[Image]],
        environments: Environments,
        attach_logs: Callable[[ContainerSpec], None],
    ) -> None:
        """gate -- how many containers of the machine are started at a time. image_of -- raises ImageError.
        attach_logs -- called before each start."""
        self._spec = spec
        self._sandbox = sandbox
        self._journal = journal
        self._news = news
        self._clock = clock
        self._gate = gate
        self._image_of = image_of
        self._environments = environments
        self._attach_logs = attach_logs
        self._specs = {c.name: c for c in spec.containers}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._checks: dict[str, tuple[int, asyncio.Task[None]]] = {}
        """Health checks by container, with the run that they check."""

    async def run(self, stopped: Callable[[], bool]) -> Failure | None:
        """Until the sandbox has to end: why, or None if `stopped` says so."""
        self._journal.advance("STARTING")
        async with asyncio.TaskGroup() as group:
            failure = await self._follow(group, stopped)
            for _, check in self._checks.values():
                check.cancel()
            if self._starting:  # one that is cut off would leave a container that nobody saw start
                starts = list(self._starting.values())
                await asyncio.wait(starts, timeout=_LAST_STARTS_SECONDS)
                for start in starts:
                    start.cancel()
        return failure

    async def _follow(self, group: asyncio.TaskGroup, stopped: Callable[[], bool]) -> Failure | None:
        while not stopped():
            news = self._news.mark()
            step = self._look()
            self._journal.publish()
            if step.end is not None:
                return step.end
            for name in step.start:
                self._starting[name] = group.create_task(self._start(self._specs[name]))
            self._check_health(group)
            await self._news.wait(news, step.wake_at)
        return None

    def _look(self) -> Step:
        """Take over what the driver knows, and ask what is to be done."""
        states = dict(self._sandbox.states)
        seen = {c.name: self._seen(c) for c in self._spec.containers}
        now = self._clock.now()
        step = startup.next_step(self._spec.containers, seen, now)
        if self._sandbox.lost:
            step = Step(end=LOST)
        for name, state in states.items():
            self._journal.observe(state, again=name in step.start or name in self._starting)
        if startup.up(self._spec.containers, seen):
            self._journal.set_once(started_at=now)
            self._journal.advance("RUNNING")
        return step

    def _seen(self, container: ContainerSpec) -> Seen:
        state = self._sandbox.states.get(container.name)
        known = self._journal.container(container.name)
        starting = container.name in self._starting
        if state is None:
            return Seen(starting=starting, failed="" if starting else known.reason or "")
        began = state.started_at or 0.0
        return Seen(
            starting=starting and not state.running,
            started=True,
            running=state.running,
            healthy=known.health == "HEALTHY" and known.restarts == state.restarts,
            exit_code=state.exit_code,
            started_at=state.started_at,
            ran=max(0.0, (state.stopped_at or began) - began),
            failed="" if starting or state.running else known.reason or "",
        )

    # -- starts ----------------------------------------------------------------------------------------

    async def _start(self, container: ContainerSpec) -> None:
        reason = None
        try:
            self._attach_logs(container)
            image = await self._image_of(container)
            whole = await self._environments.take(container)
            async with self._gate:
                async with asyncio.timeout(START_SECONDS):
                    await self._start_once(whole, image)
        except DriverError as error:
            reason = f"CannotStartContainerError: {error}"
        except TimeoutError:
            reason = _TIMED_OUT
        except ImageError as error:
            reason = error.stopped_reason
        except NoEnvironment as error:
            reason = str(error)
        finally:
            del self._starting[container.name]
            self._news.tell()
        if reason:
            self._journal.change_container(container.name, reason=reason)

    async def _start_once(self, container: ContainerSpec, image: Image) -> None:
        runs = self._runs(container.name)
        while True:
            try:
                await self._sandbox.start(container, image)
                return
            except DriverError as error:
                if self._runs(container.name) > runs:
                    return
                if "running already" not in str(error):
                    raise
            # An earlier daemon's start is still under way: see what becomes of it.
            await asyncio.sleep(_AGAIN_SECONDS)

    def _runs(self, name: str) -> int:
        state = self._sandbox.states.get(name)
        return -1 if state is None else state.restarts

    # -- health ----------------------------------------------------------------------------------------

    def _check_health(self, group: asyncio.TaskGroup) -> None:
        """One task of checks per run of a container."""
        for container in self._spec.containers:
            check, state = container.health_check, self._sandbox.states.get(container.name)
            if check is None or state is None or not state.running:
                continue
            run, before = self._checks.get(container.name, (-1, None))
            if run == state.restarts:
                continue
            if before is not None:
                before.cancel()
            known = self._journal.container(container.name).health
            tell = partial(self._measured, container.name)
            work = health.watch(self._sandbox, container, check, known, self._clock, tell)
            self._checks[container.name] = (state.restarts, group.create_task(work))

    def _measured(self, name: str, found: Health, result: ExecResult) -> None:
        if self._journal.container(name).health != found:
            self._journal.change_container(
                name,
                health=found,
                health_output=result.output.decode("utf-8", "replace"),
                health_exit_code=result.exit_code,
                health_since=self._clock.now(),
            )
            self._news.tell()
