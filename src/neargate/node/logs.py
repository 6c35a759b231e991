"""Ships containers' log spools to the control plane, or to a router: at once, in order, each line once.

Used by runner.py: `attach` when a container is made or found again, `drain` when its sandbox has ended, then
`detach`. One task per container reads its spool (spool_reader.py) and hands events and cursor to the cell, or
to its route (route.py).
Lines that are not shipped yet stay in the spool; this process holds at most _SLICES slices of 1 MiB, for all
containers together, given out in turn.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

from msgspec.structs import replace

from neargate.kit.clock import Clock
from neargate.model.multiline import MultilineError, Starts, line_starts
from neargate.model.sandbox import ContainerSpec, LogBatch, LogCursor, LogSink
from neargate.node.cell import Cell, CellError
from neargate.node.logs_watch import Watch
from neargate.node.route import Route, RouteError
from neargate.node.spool_reader import Limits, Place, Slice, read_spool

log = logging.getLogger(__name__)

_SLICES = 4
_EVENT_WAIT = 1.0
"""Seconds that the lines of a joined event wait for another line."""
_BACK_OFF = (0.1, 5.0)
_ROUTE_BACK_OFF = (0.05, 1.0)
_ROUTER_STARTS = 6
"""Failures in a row that nobody is told of: it takes a router a while until it listens."""
_REFUSED = 60.0
"""Seconds that lines wait for a log group that is gone; then they are dropped, as the awslogs driver does."""


@dataclass(slots=True, eq=False)
class _Feed:
    """One container's spool on its way. `refused_at`: since when its group is missing."""

    sandbox_id: str
    name: str
    runtime_id: str
    account: str
    region: str
    sink: LogSink
    spool: Path
    starts: Starts | None
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    cursor: LogCursor | None = None
    refused_at: float | None = None
    failures: int = 0
    route: Route | None = None
    """The way to a router, where it does not go to the control plane."""


class LogShipper:
    """Use as an async context manager; it owns all tasks and threads that ship."""

    def __init__(self, cell: Cell, clock: Clock) -> None:
        self._cell = cell
        self._clock = clock
        self._feeds: dict[str, _Feed] = {}
        self._turns = asyncio.Semaphore(_SLICES)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="log-spool")
        self._watch = Watch()

    async def __aenter__(self) -> "LogShipper":
        async with AsyncExitStack() as stack:
            stack.callback(self._threads.shutdown, wait=False, cancel_futures=True)
            await stack.enter_async_context(self._watch)
            self._group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.push_async_callback(self._cancel_all)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _cancel_all(self) -> None:
        for feed in list(self._feeds.values()):
            if feed.task is not None:
                feed.task.cancel()
        self._feeds.clear()

    def attach(
        self,
        sandbox_id: str,
        container: ContainerSpec,
        account: str,
        region: str,
        spool: Path,
        route: Route | None = None,
    ) -> None:
        """Ship this container's spool from where it stands. Does nothing without a log sink, or twice."""
        if container.log is None or container.runtime_id in self._feeds:
            return
        sink = container.log
        try:
            starts = line_starts(sink.datetime_format, sink.multiline_pattern)
        except MultilineError as error:
            log.warning("lines are not joined: %s", error, extra={"sandbox": sandbox_id})
            starts = None
        spool.mkdir(parents=True, exist_ok=True)
        feed = _Feed(
            sandbox_id,
            container.name,
            container.runtime_id,
            account,
            sink.region or region,
            sink,
            spool,
            starts,
            route=route,
        )
        self._feeds[container.runtime_id] = feed
        self._watch.add(spool, feed.dirty.set)
        feed.task = self._group.create_task(self._run(feed), name=f"logs-{container.runtime_id}")

    async def drain(self, sandbox_id: str, timeout: float, router: str = "") -> bool:
        """Wait until the sandbox's spools are closed and shipped whole. False after `timeout` seconds.

        router -- only those that go to that one.
        """
        feeds = [feed for feed in self._of(sandbox_id) if not router or feed.sink.router == router]
        for feed in feeds:
            feed.dirty.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for feed in feeds:
                    await feed.done.wait()
        return all(feed.done.is_set() for feed in feeds)

    def detach(self, sandbox_id: str, *, routed: bool = False) -> None:
        """Let the sandbox's spools go; what is not shipped stays in them. routed -- those with a route."""
        for feed in self._of(sandbox_id):
            if routed and feed.route is None:
                continue
            del self._feeds[feed.runtime_id]
            self._watch.remove(feed.spool)
            if feed.task is not None:
                feed.task.cancel()

    def _of(self, sandbox_id: str) -> list[_Feed]:
        return [feed for feed in self._feeds.values() if feed.sandbox_id == sandbox_id]

    async def _run(self, feed: _Feed) -> None:
        flush = False
        while True:
            feed.dirty.clear()
            try:
                part = await self._ship(feed, flush)
            except CellError as error:
                await self._failed(feed, error)
                continue
            except RouteError as error:
                await self._route_failed(feed, error)
                continue
            except Exception:
                # One container's spool must not stop those of the others.
                log.exception("a log spool could not be read", extra={"sandbox": feed.sandbox_id})
                await self._failed(feed, None)
                continue
            feed.failures, flush = 0, False
            if part is not None:
                flush = await self._wait(feed, part)

    async def _ship(self, feed: _Feed, flush: bool) -> Slice | None:
        """Read and hand over one slice. None if there was something, so that more may follow at once."""
        if feed.route is not None:  # small slices: they wait for routers, and hold up nobody else's
            return await feed.route.ship(partial(self._read, feed, False))
        async with self._turns:
            before = feed.cursor or await self._resume(feed)
            place = Place(before.offset, before.skip)
            part = await self._read(feed, flush, place, None)
            if part.place == place and part.ended == before.ended:
                return part
            offset, skip = part.place
            after = LogCursor(runtime_id=feed.runtime_id, offset=offset, skip=skip, ended=part.ended)
            await self._put(feed, part, before, after)
            feed.cursor = after
        return None

    async def _read(self, feed: _Feed, flush: bool, place: Place, limits: Limits | None) -> Slice:
        loop = asyncio.get_running_loop()
        routed = feed.route is not None
        return await loop.run_in_executor(
            self._threads, read_spool, feed.spool, place, feed.starts, flush, limits, routed
        )

    async def _resume(self, feed: _Feed) -> LogCursor:
        kept = await self._cell.log_cursors([feed.runtime_id])
        feed.cursor = kept.get(feed.runtime_id) or LogCursor(runtime_id=feed.runtime_id)
        return feed.cursor

    async def _put(self, feed: _Feed, part: Slice, before: LogCursor, after: LogCursor) -> None:
        batch = LogBatch(
            account=feed.account,
            region=feed.region,
            sink=feed.sink,
            events=tuple(part.events),
            cursor=after,
            after=before,
        )
        try:
            await self._cell.put_logs([batch])
        except CellError as error:
            since = feed.refused_at
            if not _missing(error) or since is None or self._clock.now() - since <= _REFUSED:
                raise
            if await self._reopened(feed):
                raise
            await self._cell.put_logs([replace(batch, events=())])
            log.warning("%d log events dropped: %s", len(part.events), error, extra=_who(feed))
            return
        if part.events:
            feed.refused_at = None

    async def _failed(self, feed: _Feed, error: CellError | None) -> None:
        """Make a stream that has gone anew, or wait. The cursor is asked for again: it may have moved."""
        feed.cursor = None
        if error is not None and _missing(error):
            if await self._reopened(feed):
                return
        elif error is not None and feed.failures == 0:
            log.warning("log events wait: %s", error, extra=_who(feed))
        await self._back_off(feed, _BACK_OFF)

    async def _route_failed(self, feed: _Feed, error: RouteError) -> None:
        if feed.failures == _ROUTER_STARTS:
            log.warning("log lines wait: %s", error, extra=_who(feed))
        await self._back_off(feed, _ROUTE_BACK_OFF)

    async def _back_off(self, feed: _Feed, bounds: tuple[float, float]) -> None:
        least, most = bounds
        await self._clock.sleep(min(least * 2 ** min(feed.failures, 10), most))
        feed.failures += 1

    async def _reopened(self, feed: _Feed) -> bool:
        sink = feed.sink
        try:
            await self._cell.open_log_stream(
                feed.account, feed.region, sink.group, sink.stream, sink.create_group, feed.sandbox_id
            )
        except CellError as error:
            if feed.refused_at is None:
                feed.refused_at = self._clock.now()
                log.warning("log events wait: %s", error, extra=_who(feed))
            return False
        return True

    async def _wait(self, feed: _Feed, part: Slice) -> bool:
        """Until something is written. True if lines of a joined event have waited long enough."""
        if part.ended:
            if not feed.done.is_set():
                _say_dropped(feed)
            feed.done.set()
        else:
            feed.done.clear()
        try:
            async with asyncio.timeout(_EVENT_WAIT if part.pending else None):
                await feed.dirty.wait()
        except TimeoutError:
            return True
        return False


def _say_dropped(feed: _Feed) -> None:
    with suppress(FileNotFoundError):
        text = (feed.spool / "dropped").read_text()
        log.warning("the container wrote more than its log buffer holds; dropped: %s", text, extra=_who(feed))


def _missing(error: CellError) -> bool:
    return "ResourceNotFoundException" in str(error)


def _who(feed: _Feed) -> dict[str, str]:
    where = {"router": feed.sink.router} if feed.route else {"group": feed.sink.group}
    return {"sandbox": feed.sandbox_id, "container": feed.name, **where}
