"""The log shipper on a real spool and a real store: nothing lost, nothing twice, at once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neargate.kit.clock import SystemClock
from neargate.kit.errors import ApiError
from neargate.model.logs import StoredEvent, group_id
from neargate.model.sandbox import ContainerSpec, LogBatch, LogCursor, LogSink
from neargate.node.cell import CellError
from neargate.node.logs import LogShipper
from neargate.node.spool import STDERR, STDOUT, SpoolWriter
from neargate.services.cell import log_intake
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx

ACCOUNT, REGION, SANDBOX = "000000000000", "us-east-1", "a" * 32


class StoreCell:
    """The part of node.cell.Cell that logs use, on the real intake. `trouble`: calls to fail first."""

    def __init__(self, store: SqliteStore) -> None:
        self.house: Any = SimpleNamespace(logs=store, clock=SystemClock())
        self.trouble = 0

    async def log_cursors(self, runtime_ids: Sequence[str]) -> dict[str, LogCursor]:
        return await log_intake.log_cursors(self.house, runtime_ids)

    async def put_logs(self, batches: Sequence[LogBatch]) -> None:
        if self.trouble > 0:
            self.trouble -= 1
            raise CellError("cannot be reached")
        try:
            await log_intake.put_logs(self.house, batches)
        except ApiError as error:
            raise CellError(str(error)) from error

    async def open_log_stream(
        self, account: str, region: str, group: str, stream: str, create_group: bool, sandbox: str = ""
    ) -> None:
        try:
            await log_intake.open_log_stream(self.house, account, region, group, stream, create_group)
        except ApiError as error:
            raise CellError(str(error)) from error


@asynccontextmanager
async def cell_on(directory: Path) -> AsyncIterator[StoreCell]:
    async with SqliteStore(directory / "logs.db") as store:
        yield StoreCell(store)


def container(name: str = "web", **sink: Any) -> ContainerSpec:
    log = LogSink(group="/ecs/app", stream=f"ecs/{name}", create_group=True, **sink)
    return ContainerSpec(name=name, image="i", runtime_id=f"{SANDBOX}-{name}", log=log)


async def stored(cell: StoreCell, name: str = "web") -> list[str]:
    def body(tx: Tx) -> list[StoredEvent]:
        group = tx.get(LOG_GROUP, group_id(ACCOUNT, REGION, "/ecs/app"))
        stream = log_events.get_stream(tx, group.number, f"ecs/{name}") if group else None
        if stream is None:
            return []
        return list(log_events.read(tx, stream.number, log_events.START, log_events.END))

    return [event.message.decode() for event in await cell.house.logs.scan(body)]


async def becomes(cell: StoreCell, messages: list[str]) -> None:
    async with asyncio.timeout(5):
        while (found := await stored(cell)) != messages:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)
    assert found == messages


def shipper(cell: StoreCell) -> LogShipper:
    return LogShipper(cell, SystemClock())  # type: ignore[arg-type]


async def test_a_line_is_stored_within_300_ms_and_the_end_is_noticed(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell, shipper(cell) as ship:
        ship.attach(SANDBOX, container(), ACCOUNT, REGION, tmp_path / "spool")
        writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
        await asyncio.sleep(0.1)
        times = []
        for i in range(5):
            began = time.monotonic()
            writer.feed(STDOUT, b"line %d\n" % i)
            while len(await stored(cell)) <= i:
                await asyncio.sleep(0.005)
                assert time.monotonic() - began < 5
            times.append(time.monotonic() - began)
        assert sorted(times)[2] < 0.3, times
        assert not await ship.drain(SANDBOX, 0.05)
        writer.feed(STDERR, b"no newline")
        writer.close_stream(STDERR)
        writer.finish()
        assert await ship.drain(SANDBOX, 5)
        assert (await stored(cell))[-1] == "no newline"
        ship.detach(SANDBOX)
        writer.close()


@pytest.mark.parametrize("pattern", ["", "^line [0-9]*0$"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_shipper_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, seed: int, pattern: str
) -> None:
    chance = random.Random(seed)
    lines = [f"line {i}" for i in range(4000)]
    spec = container(multiline_pattern=pattern)
    spool = tmp_path / "spool"
    async with cell_on(tmp_path) as cell:

        async def write() -> None:
            writer = SpoolWriter(str(spool), 1 << 30, True)
            data = "".join(line + "\n" for line in lines).encode()
            while data:
                cut = chance.randint(1, 600)
                writer.feed(STDOUT, data[:cut])
                data = data[cut:]
                if chance.random() < 0.2:
                    await asyncio.sleep(0.002)
            writer.finish()
            writer.close()

        async def run() -> None:
            async with shipper(cell) as ship:
                ship.attach(SANDBOX, spec, ACCOUNT, REGION, spool)
                await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            kills = 0
            while kills < 15 or not writing.done():
                task = asyncio.ensure_future(run())
                await asyncio.sleep(chance.random() * 0.04)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                kills += 1
        async with shipper(cell) as ship:
            ship.attach(SANDBOX, spec, ACCOUNT, REGION, spool)
            assert await ship.drain(SANDBOX, 10)
        events = await stored(cell)
        assert [x for event in events for x in event.split("\n") if x] == lines
        if pattern:
            assert len(events) < 1500


async def test_joined_lines_are_stored_after_a_second_without_another(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell, shipper(cell) as ship:
        ship.attach(SANDBOX, container(datetime_format="%Y-%m-%d"), ACCOUNT, REGION, tmp_path / "spool")
        writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
        writer.feed(STDOUT, b"2026-01-01 a\n  more\n2026-01-02 b\n  rest\n")
        await asyncio.sleep(0.5)
        assert await stored(cell) == ["2026-01-01 a\n  more\n"]
        await asyncio.sleep(1.0)
        assert (await stored(cell))[1:] == ["2026-01-02 b\n  rest\n"]
        writer.close()


async def test_a_cell_that_fails_is_asked_again(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell, shipper(cell) as ship:
        cell.trouble = 3
        ship.attach(SANDBOX, container(), ACCOUNT, REGION, tmp_path / "spool")
        writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
        writer.feed(STDOUT, b"a\nb\n")
        writer.finish()
        assert await ship.drain(SANDBOX, 5)
        assert await stored(cell) == ["a", "b"]
        writer.close()


async def test_a_loud_container_does_not_hold_up_a_quiet_one(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell, shipper(cell) as ship:
        loud = SpoolWriter(str(tmp_path / "loud"), 1 << 30, True)
        quiet = SpoolWriter(str(tmp_path / "quiet"), 1 << 20, True)
        for _ in range(200):
            loud.feed(STDOUT, b"%063d\n" % 1 * 1000)
        for name in ("loud", "quiet"):
            ship.attach(SANDBOX, container(name), ACCOUNT, REGION, tmp_path / name)
        await asyncio.sleep(0.2)
        quiet.feed(STDOUT, b"hello\n")
        began = time.monotonic()
        while not await stored(cell, "quiet"):
            await asyncio.sleep(0.01)
            assert time.monotonic() - began < 3
        assert len(await stored(cell, "loud")) < 200_000, "the loud one was through before"
        loud.close()
        quiet.close()


async def test_a_cursor_that_moved_refuses_old_events(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell:
        spec = container()
        assert spec.log is not None
        await cell.open_log_stream(ACCOUNT, REGION, spec.log.group, spec.log.stream, True)
        start = LogCursor(runtime_id="r")
        batch = LogBatch(
            account=ACCOUNT,
            region=REGION,
            sink=spec.log,
            events=(),
            cursor=LogCursor(runtime_id="r", offset=9),
            after=start,
        )
        await cell.put_logs([batch])
        with pytest.raises(CellError, match="stands at 9"):
            await cell.put_logs([batch])


async def test_lines_of_a_group_that_is_gone_wait_and_then_are_dropped(tmp_path: Path) -> None:
    class Hasty(SystemClock):
        """A minute of back-off in a moment."""

        ahead = 0.0

        def now(self) -> float:
            return super().now() + self.ahead

        async def sleep(self, seconds: float) -> None:
            self.ahead += seconds
            await asyncio.sleep(0)

    async with cell_on(tmp_path) as cell:
        clock = Hasty()
        async with LogShipper(cell, clock) as ship:  # type: ignore[arg-type]
            spec = container()
            assert spec.log is not None
            log = LogSink(group=spec.log.group, stream=spec.log.stream)
            spec = ContainerSpec(name="web", image="i", runtime_id="r", log=log)
            ship.attach(SANDBOX, spec, ACCOUNT, REGION, tmp_path / "spool")
            writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
            writer.feed(STDOUT, b"lost\n")
            writer.finish()
            assert await ship.drain(SANDBOX, 5)
            assert clock.ahead > 60
            await cell.open_log_stream(ACCOUNT, REGION, log.group, log.stream, True)
            writer.reopen()
            writer.feed(STDOUT, b"kept\n")
            await becomes(cell, ["kept"])
            writer.close()


async def test_a_stream_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell, shipper(cell) as ship:
        ship.attach(SANDBOX, container(), ACCOUNT, REGION, tmp_path / "spool")
        writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
        writer.feed(STDOUT, b"a\n")
        await becomes(cell, ["a"])

        def forget(tx: Tx) -> None:
            log_events.delete_streams(tx, 1)

        await cell.house.logs.write(forget)
        writer.feed(STDOUT, b"b\n")
        writer.finish()
        assert await ship.drain(SANDBOX, 5)
        assert await stored(cell) == ["b"]
        writer.close()


async def test_without_inotify_spools_are_polled(tmp_path: Path) -> None:
    async with cell_on(tmp_path) as cell:
        ship = shipper(cell)
        ship._watch._libc = SimpleNamespace(inotify_init1=lambda flags: -1)  # type: ignore[assignment]
        async with ship:
            ship.attach(SANDBOX, container(), ACCOUNT, REGION, tmp_path / "spool")
            writer = SpoolWriter(str(tmp_path / "spool"), 1 << 20, True)
            await asyncio.sleep(0.2)
            for line in ("a", "b"):
                writer.feed(STDOUT, f"{line}\n".encode())
                await becomes(cell, ["a", "b"][: "ab".index(line) + 1])
            writer.finish()
            assert await ship.drain(SANDBOX, 5)
            writer.close()
