"""Looks at what every running task uses, every 20 seconds, and hands it to the control plane in one call.

Run by main beside the agent, whose runners it asks. Nothing is kept: a look that fails or cannot be handed
over is left out, and a container that ran before this daemon did is told of from the second look on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeVar
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from neargate.kit.clock import Clock
from neargate.kit.errors import CellError
from neargate.model.metric_samples import (
    MINUTE,
    STEP,
    ContainerSample,
    Look,
    TaskSample,
    container_sample,
    first_look,
    network_rates,
)
from neargate.model.sandbox import SandboxSpec
from neargate.node.drivers.base import DriverError, Sandbox, Storage

log = logging.getLogger(__name__)
T = TypeVar("T")
_AT_ONCE = 8
_PATIENCE = 5.0
_SHORTEST = 1.0
"""Seconds of which anything can be told: it has just started, is new here, or the clock was put back."""


class SampleCell(Protocol):
    async def put_samples(self, node: str, end: float, seconds: int, samples: Sequence[TaskSample]) -> None:
        """What tasks used in the `seconds` before `end`."""
        ...


class Subject(Protocol):
    """A sandbox of this machine: a runner, as the agent has it."""

    @property
    def spec(self) -> SandboxSpec: ...
    @property
    def sandbox(self) -> Sandbox | None: ...


class Subjects(Protocol):
    def all(self) -> Iterable[Subject]: ...


@dataclass(slots=True)
class _Memory:
    """Of one sandbox: where the stretches under way began, by container."""

    step: dict[str, Look] = field(default_factory=dict)
    minute: dict[str, Look] = field(default_factory=dict)
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Bytes at each look of this minute."""

    def take(self, looks: Mapping[str, Look], started: Mapping[str, float], since: float) -> None:
        """Note a round of looks. since -- when the step began: a container that started in it begins there,
        another that is new here begins with this look.
        """
        for name, look in looks.items():
            self.memory.setdefault(name, []).append(look.usage.memory_bytes)
            start = first_look(started[name]) if started[name] >= since else look
            self.step.setdefault(name, start)
            self.minute.setdefault(name, start)


class Sampler:
    def __init__(self, subjects: Subjects, cell: SampleCell, node: str, clock: Clock) -> None:
        self._subjects = subjects
        self._cell = cell
        self._node = node
        self._clock = clock
        self._memory: WeakKeyDictionary[Subject, _Memory] = WeakKeyDictionary()
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> NoReturn:
        while True:
            now = self._clock.now()
            end = (int(now) // STEP + 1) * STEP
            await self._clock.sleep(end - now)
            try:
                await self.look(end)
            except CellError as error:
                log.warning("samples are not handed over: %s", error)
            except Exception:
                log.exception("a look at the tasks failed")

    async def look(self, end: float) -> None:
        """Look at all tasks. end -- a multiple of STEP, which is now."""
        whole = end % MINUTE == 0
        found = await asyncio.gather(
            *(self._sampled(subject, end, whole) for subject in list(self._subjects.all()))
        )
        steps = [step for step, _ in found if step is not None]
        if steps:
            await self._cell.put_samples(self._node, end, STEP, steps)
        minutes = [minute for _, minute in found if minute is not None]
        if minutes:
            await self._cell.put_samples(self._node, end, MINUTE, minutes)

    async def _sampled(
        self, subject: Subject, end: float, whole: bool
    ) -> tuple[TaskSample | None, TaskSample | None]:
        """What a task used in the last step, and in the last minute if that is over."""
        sandbox = subject.sandbox
        if sandbox is None or not any(state.running for state in sandbox.states.values()):
            return None, None
        async with self._gate:
            looks = await self._looks(sandbox)
            storage = await _storage(sandbox) if whole and looks else None
        memory = self._memory.setdefault(subject, _Memory())
        memory.take(looks, {name: sandbox.states[name].started_at or 0.0 for name in looks}, end - STEP)
        latest = {name: [look.usage.memory_bytes] for name, look in looks.items()}
        step = _task_sample(subject.spec, memory.step, looks, latest)
        memory.step = looks
        if not whole:
            return step, None
        minute = _task_sample(subject.spec, memory.minute, looks, memory.memory)
        memory.minute, memory.memory = dict(looks), {}
        if minute is not None and storage is not None:
            minute = replace(minute, ephemeral_used=storage.used, ephemeral_reserved=storage.reserved)
        return step, minute

    async def _looks(self, sandbox: Sandbox) -> dict[str, Look]:
        """Those containers that run and answer."""
        found: dict[str, Look] = {}
        for name, state in dict(sandbox.states).items():
            if state.running:
                usage = await _asked(sandbox.usage(name))
                if usage is not None:
                    found[name] = Look(self._clock.now(), usage, state.restarts)
        return found


async def _asked(question: Awaitable[T]) -> T | None:
    """None where the sandbox has just ended, cannot tell, or does not answer now."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await question
    except (DriverError, TimeoutError, OSError):
        return None


async def _storage(sandbox: Sandbox) -> Storage | None:
    return await _asked(sandbox.storage())


def _task_sample(
    spec: SandboxSpec, before: Mapping[str, Look], now: Mapping[str, Look], memory: Mapping[str, list[int]]
) -> TaskSample | None:
    """None where no container's stretch has a beginning."""
    policies = {container.name for container in spec.containers if container.restart is not None}
    containers: list[ContainerSample] = []
    rates: tuple[float, float] | None = None
    for name, look in now.items():
        earlier = before.get(name)
        if earlier is None or look.at - earlier.at < _SHORTEST:
            continue
        restarts = look.restarts if name in policies else None
        containers.append(container_sample(name, earlier, look, memory[name], restarts))
        rates = rates or network_rates(earlier, look)
    if not containers:
        return None
    rx, tx = rates or (None, None)
    return TaskSample(
        id=spec.id,
        containers=tuple(containers),
        rx_rate=rx,
        tx_rate=tx,
        ephemeral_reserved=spec.ephemeral_bytes,
    )
