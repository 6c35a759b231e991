"""Hands statuses over to the control plane: those of many sandboxes in one call, the newest of each.

Runners `put`; agent.py owns `run`. One call is under way at a time, so reports never overtake each other, and
what happens meanwhile is gathered for the next one.
"""

import asyncio
import logging

from neargate.kit.clock import Clock
from neargate.model.sandbox import SandboxStatus
from neargate.node.cell import Cell, CellError

log = logging.getLogger(__name__)

LEAST_PAUSE, MOST_PAUSE = 0.1, 5.0


class Reports:
    def __init__(self, cell: Cell, node: str, clock: Clock) -> None:
        self._cell = cell
        self._node = node
        self._clock = clock
        self._waiting: dict[str, SandboxStatus] = {}
        self._some = asyncio.Event()
        self._kept: dict[str, asyncio.Future[None]] = {}

    def put(self, status: SandboxStatus) -> None:
        """A newer status of a sandbox takes the place of one that waits."""
        self._waiting[status.id] = status
        self._some.set()

    async def kept(self, sandbox: str) -> None:
        """Wait until all that was put of a sandbox is with the control plane, however long it takes."""
        future = self._kept.setdefault(sandbox, asyncio.get_running_loop().create_future())
        try:
            await asyncio.shield(future)
        finally:
            if not future.done():
                future.cancel()
                self._kept.pop(sandbox, None)

    async def run(self) -> None:
        pause = LEAST_PAUSE
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, {}
            try:
                await self._cell.report(self._node, tuple(batch.values()))
            except CellError as error:
                log.warning("reports wait: %s", error, extra={"sandboxes": len(batch)})
            except Exception:
                log.exception("reports could not be handed over", extra={"sandboxes": len(batch)})
            else:
                pause = LEAST_PAUSE
                self._settle(batch)
                continue
            self._waiting = batch | self._waiting
            self._some.set()
            await self._clock.sleep(pause)
            pause = min(pause * 2, MOST_PAUSE)

    def _settle(self, batch: dict[str, SandboxStatus]) -> None:
        for sandbox in batch:
            if sandbox not in self._waiting and (future := self._kept.pop(sandbox, None)) is not None:
                future.set_result(None)
