"""An agent on the fake driver with a scripted control plane: what it is told and what it says can be held."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from neargate.kit.clock import Clock, SystemClock
from neargate.kit.errors import CellError
from neargate.model.sandbox import (
    Assignment,
    ContainerSpec,
    ContainerStatus,
    LogBatch,
    LogCursor,
    LogSink,
    SandboxSpec,
    SandboxStatus,
)
from neargate.node.agent import Agent
from neargate.node.cell import NodeFacts
from neargate.node.drivers.fake import FakeDriver, FakeImages, FakeSandbox
from neargate.node.logs import LogShipper

MIB = 1024 * 1024


def container(name: str = "main", image: str = "busybox", **settings: Any) -> ContainerSpec:
    return ContainerSpec(name=name, image=image, runtime_id=f"{secrets.token_hex(16)}-1", **settings)


def sink(group: str = "g", stream: str = "s") -> LogSink:
    return LogSink(group=group, stream=stream)


def spec(*containers: ContainerSpec, **settings: Any) -> SandboxSpec:
    defaults: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "interface": None,
        "cpu": 256,
        "memory": 512 * MIB,
        "account": "000000000000",
        "region": "us-east-1",
    }
    return SandboxSpec(containers=containers or (container(),), **{**defaults, **settings})


class FakeCell:
    """A control plane in memory. `down`: every call is refused. `missing`: log groups that do not exist."""

    def __init__(self) -> None:
        self.down = False
        self.missing: set[str] = set()
        self.facts: NodeFacts | None = None
        self.wanted: dict[str, Assignment] = {}
        self.reports: list[SandboxStatus] = []
        self.batches: list[int] = []
        self.lines: dict[str, list[str]] = {}
        self.streams: list[tuple[str, str]] = []
        self.manifests: dict[tuple[str, str, str, str], tuple[bytes, str, str]] = {}
        self.secrets: dict[str, tuple[str, str]] = {}
        self.values: dict[str, str] = {}
        """By `valueFrom`."""
        self.files: dict[str, bytes] = {}
        """Environment files by ARN."""
        self._cursors: dict[str, LogCursor] = {}
        self._cursor = 1
        self._changed = asyncio.Event()

    def serve_terminals(self, node: str, open: Any) -> AbstractContextManager[None]:
        return nullcontext()

    # -- what tests say --------------------------------------------------------------------------------

    def want(self, *specs: SandboxSpec, desired: Any = "RUNNING") -> None:
        for one in specs:
            self.wanted[one.id] = Assignment(spec=one, desired=desired)
        self._tell()

    def forget(self, id: str) -> None:
        del self.wanted[id]
        self._tell()

    def of(self, id: str) -> list[SandboxStatus]:
        return [status for status in self.reports if status.id == id]

    def last(self, id: str) -> SandboxStatus | None:
        return max(self.of(id), key=lambda s: s.sequence, default=None)

    def phases(self, id: str) -> list[str]:
        return list(dict.fromkeys(status.phase for status in self.of(id)))

    def _tell(self) -> None:
        self._cursor += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _check(self) -> None:
        if self.down:
            raise CellError("the control plane is down")

    # -- node/cell.Cell --------------------------------------------------------------------------------

    async def hello(self, facts: NodeFacts) -> None:
        self._check()
        self.facts = facts

    async def assignments(self, node: str, after: int) -> tuple[int, Sequence[Assignment]]:
        while after == self._cursor:
            await self._changed.wait()
        self._check()
        return self._cursor, list(self.wanted.values())

    async def report(self, node: str, statuses: Sequence[SandboxStatus]) -> None:
        await asyncio.sleep(0)
        self._check()
        self.batches.append(len(statuses))
        for status in statuses:
            self.reports.append(status)
            if status.phase == "STOPPED" and self.wanted.pop(status.id, None) is not None:
                self._tell()

    async def log_cursors(self, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
        self._check()
        return {id: self._cursors[id] for id in runtime_ids if id in self._cursors}

    async def put_logs(self, batches: Sequence[LogBatch]) -> None:
        self._check()
        for batch in batches:
            self.lines.setdefault(batch.sink.stream, []).extend(e.message for e in batch.events)
            self._cursors[batch.cursor.runtime_id] = batch.cursor

    async def open_log_stream(
        self, account: str, region: str, group: str, stream: str, create_group: bool, sandbox: str = ""
    ) -> None:
        self._check()
        if group in self.missing and not create_group:
            raise CellError("ResourceNotFoundException: The specified log group does not exist.")
        self.streams.append((group, stream))

    async def registry_secret(
        self, account: str, region: str, parameter: str, sandbox: str = ""
    ) -> tuple[str, str]:
        if parameter not in self.secrets:
            raise CellError(f"{parameter}: no such secret")
        return self.secrets[parameter]

    async def secret_values(
        self, account: str, region: str, sources: Sequence[str], sandbox: str = ""
    ) -> list[str]:
        self._check()
        missing = next((source for source in sources if source not in self.values), None)
        if missing is not None:
            raise CellError(f"unable to retrieve secrets from ssm: invalid ssm parameters: {missing}")
        return [self.values[source] for source in sources]

    async def environment_file(self, account: str, region: str, arn: str, sandbox: str = "") -> bytes:
        self._check()
        if arn not in self.files:
            raise CellError("NoSuchKey: The specified key does not exist.")
        return self.files[arn]

    async def registry_token(self, account: str, region: str, sandbox: str = "") -> tuple[str, str]:
        self._check()
        return "AWS", "token"

    async def registry_access(self, account: str, region: str, repository: str, sandbox: str) -> None:
        self._check()

    async def registry_manifest(
        self, account: str, region: str, repository: str, reference: str
    ) -> tuple[bytes, str, str]:
        key = (account, region, repository, reference)
        if key not in self.manifests:
            raise CellError(f"RepositoryNotFoundException: no repository {repository}")
        return self.manifests[key]


class RecordingDriver(FakeDriver):
    """`made`: every sandbox that was ever opened, swept ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[FakeSandbox] = []

    async def open(self, spec: SandboxSpec, directory: Path) -> FakeSandbox:
        sandbox = await super().open(spec, directory)
        self.made.append(sandbox)
        return sandbox


class Node:
    """What outlives a daemon here: the driver's sandboxes, the directory, the control plane."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.directory = directory
        self.clock = clock or SystemClock()
        self.cell = FakeCell()
        self.driver = RecordingDriver()
        self.images = FakeImages()
        self.agent: Agent

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Node"]:
        """A daemon, until the block ends: then it is cut off wherever it stands."""
        async with LogShipper(self.cell, self.clock) as logs:
            self.agent = Agent(
                cell=self.cell,
                driver=self.driver,
                images=self.images,
                logs=logs,
                directory=self.directory,
                node_id="node",
                clock=self.clock,
            )
            running = asyncio.create_task(self.agent.run())
            try:
                yield self
                assert not running.done(), running
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    def sandbox(self, one: SandboxSpec) -> FakeSandbox:
        return self.driver.sandboxes[one.id]

    async def run(self, one: SandboxSpec, phase: str = "RUNNING") -> SandboxStatus:
        self.cell.want(one)
        return await self.reached(one, phase)

    async def reached(self, one: SandboxSpec, phase: str) -> SandboxStatus:
        await eventually(
            lambda: (s := self.cell.last(one.id)) and s.phase == phase, f"{phase}", self.trace(one)
        )
        status = self.cell.last(one.id)
        assert status is not None
        return status

    async def gone(self, one: SandboxSpec) -> None:
        """STOPPED is reported and nothing of the sandbox is left."""
        await eventually(lambda: not (self.directory / one.id).exists(), "directory removed", self.trace(one))

    def trace(self, one: SandboxSpec) -> Callable[[], object]:
        return lambda: self.cell.of(one.id)[-2:]


def by_name(status: SandboxStatus) -> dict[str, ContainerStatus]:
    return {c.name: c for c in status.containers}


async def eventually(
    condition: Callable[[], Any], what: str, seen: Callable[[], object] = lambda: "", seconds: float = 10
) -> None:
    for _ in range(int(seconds / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"not within {seconds} s: {what}; {seen()}")
