"""The sampler on sandboxes of the fake driver whose counters the test moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neargate.kit.clock import ManualClock
from neargate.model.metric_samples import TaskSample
from neargate.model.sandbox import RestartPolicy, SandboxSpec
from neargate.model.usage import Network, Usage
from neargate.node.drivers.base import ContainerState, DriverError, Storage
from neargate.node.sampler import Sampler
from tests.unit.node.rig import container, spec

START = 1_800_000_000.0
MIB = 1024 * 1024


@dataclass
class Box:
    """A sandbox: its containers' states, and counters that grow as the test says."""

    states: dict[str, ContainerState] = field(default_factory=dict)
    counters: dict[str, Usage] = field(default_factory=dict)
    failing: bool = False
    used: int | None = 7

    def runs(self, name: str, started_at: float, **more: Any) -> None:
        self.states[name] = ContainerState(name, f"{name}-id", running=True, started_at=started_at, **more)

    def counts(self, name: str, cpu: float, memory: int = 10, read: int = 0, rx: int | None = None) -> None:
        network = None if rx is None else Network(rx_bytes=rx, tx_bytes=2 * rx)
        self.counters[name] = Usage(cpu, memory * MIB, 0, 1, read_bytes=read, network=network)

    async def usage(self, name: str) -> Usage:
        if self.failing:
            raise DriverError("gone")
        return self.counters[name]

    async def storage(self) -> Storage:
        if self.used is None:
            raise DriverError("this tier cannot tell")
        return Storage(self.used, 100)


class Subject:
    def __init__(self, given: SandboxSpec, sandbox: Box | None) -> None:
        self.spec = given
        self.sandbox: Any = sandbox


class Rig:
    def __init__(self, *subjects: Subject) -> None:
        self.subjects = list(subjects)
        self.clock = ManualClock(START)
        self.put: list[tuple[float, int, Sequence[TaskSample]]] = []
        self.sampler = Sampler(self, self, "n1", self.clock)

    def all(self) -> list[Subject]:
        return self.subjects

    async def put_samples(self, node: str, end: float, seconds: int, samples: Sequence[TaskSample]) -> None:
        assert node == "n1"
        self.put.append((end, seconds, samples))

    async def look(self, seconds: float = 20) -> list[tuple[int, Sequence[TaskSample]]]:
        """A look so much later; what it handed over."""
        before = len(self.put)
        self.clock.advance(seconds)
        await self.sampler.look(self.clock.now())
        return [(stretch, samples) for _, stretch, samples in self.put[before:]]


async def test_a_container_is_held_against_its_own_start_and_then_against_each_look() -> None:
    box = Box()
    rig = Rig(Subject(spec(container()), box))
    box.runs("main", START + 10)
    box.counts("main", 2.0, memory=30, rx=1000)
    ((seconds, (sample,)),) = await rig.look()
    assert seconds == 20
    (main,) = sample.containers
    assert (main.cpu_units, main.memory_mib) == (1024 * 0.2, 30)
    assert (sample.rx_rate, sample.tx_rate) == (100.0, 200.0)
    box.counts("main", 12.0, memory=60, rx=1000)
    ((_, (sample,)),) = await rig.look()
    assert (sample.containers[0].cpu_units, sample.rx_rate) == (512.0, 0.0)
    box.counts("main", 12.0, memory=90, read=500, rx=5000)
    (step, (seconds, (whole,))) = await rig.look()
    assert step[0] == 20
    assert step[1][0].containers[0].cpu_units == 0.0
    assert seconds == 60
    # Since its start 50 seconds ago.
    assert whole.containers[0].cpu_units == 1024 * 12 / 50
    assert (whole.containers[0].memory_mib, whole.containers[0].read_bytes) == (60, 500)
    assert (whole.ephemeral_used, whole.ephemeral_reserved, whole.rx_rate) == (7, 100, 100.0)
    box.counts("main", 72.0, rx=5000)
    await rig.look()
    await rig.look()
    (_, (seconds, (whole,))) = await rig.look()
    assert (seconds, whole.containers[0].cpu_units) == (60, 1024.0)


async def test_one_that_ran_before_this_daemon_is_told_of_from_the_second_look_on() -> None:
    box = Box()
    rig = Rig(Subject(spec(container()), box))
    box.runs("main", START - 10_000)
    box.counts("main", 9000.0)
    assert await rig.look() == []
    box.counts("main", 9005.0)
    ((_, (sample,)),) = await rig.look()
    assert sample.containers[0].cpu_units == 256.0
    (_, (seconds, (whole,))) = await rig.look()
    assert (seconds, whole.containers[0].cpu_units) == (60, 128.0)


async def test_a_restarted_container_counts_anew() -> None:
    box = Box()
    policy = RestartPolicy(ignored_exit_codes=(), attempt_period=60)
    rig = Rig(Subject(spec(container(restart=policy)), box))
    box.runs("main", START)
    box.counts("main", 10.0)
    await rig.look()
    box.runs("main", START + 30, restarts=1)
    box.counts("main", 4.0)
    ((_, (sample,)),) = await rig.look()
    assert (sample.containers[0].cpu_units, sample.containers[0].restarts) == (1024 * 4 / 20, 1)


async def test_what_ended_or_does_not_answer_is_left_out_and_harms_no_other() -> None:
    good, bad, none = Box(), Box(failing=True), Box()
    for box in (good, bad):
        box.runs("main", START)
        box.counts("main", 1.0)
    none.states["main"] = ContainerState("main", "id", running=False)
    good.used = None
    good_spec = spec(container())
    rig = Rig(
        Subject(spec(container()), bad),
        Subject(good_spec, good),
        Subject(spec(container()), none),
        Subject(spec(container()), None),
    )
    ((_, samples),) = await rig.look()
    assert [sample.id for sample in samples] == [good_spec.id]
    await rig.look()
    (_, (_, (whole,))) = await rig.look()
    assert (whole.ephemeral_used, whole.ephemeral_reserved) == (None, good_spec.ephemeral_bytes)


async def test_side_cars_are_told_apart_and_share_the_network() -> None:
    box = Box()
    rig = Rig(Subject(spec(container(), container("side")), box))
    for name, cpu in (("main", 1.0), ("side", 2.0)):
        box.runs(name, START)
        box.counts(name, cpu, rx=2000)
    ((_, (sample,)),) = await rig.look()
    assert [(c.name, c.cpu_units) for c in sample.containers] == [("main", 51.2), ("side", 102.4)]
    assert sample.rx_rate == 100.0


async def test_a_clock_that_is_put_back_makes_no_wild_rates() -> None:
    box = Box()
    rig = Rig(Subject(spec(container()), box))
    box.runs("main", START)
    box.counts("main", 1.0)
    await rig.look()
    box.counts("main", 2.0)
    assert await rig.look(-40) == []
    box.counts("main", 7.0)
    ((_, (sample,)),) = await rig.look()
    assert sample.containers[0].cpu_units == 256.0
