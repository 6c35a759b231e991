"""Several tiers on one machine behind the interface of one driver: each sandbox is opened by its own tier.

Made by select.py; called by runner.py and agent.py through drivers/base. The first driver is the default one.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from neargate.model.sandbox import SandboxSpec
from neargate.node.drivers.base import Driver, DriverError, DriverUnavailable, RangeTaken, Sandbox

log = logging.getLogger(__name__)


class Tiers:
    def __init__(self, drivers: Sequence[Driver], *, required: str = "", weakest: str = "") -> None:
        """drivers -- the default one first, not entered. Those that do not work here are left out.
        required -- the tier that must work; empty: any.
        weakest -- what to warn of when none but the last works."""
        self._candidates = drivers
        self._required = required
        self._weakest = weakest
        self._drivers: dict[str, Driver] = {}
        self._stack = AsyncExitStack()

    @property
    def name(self) -> str:
        return next(iter(self._drivers))

    @property
    def tiers(self) -> Sequence[str]:
        return tuple(self._drivers)

    async def __aenter__(self) -> Self:
        causes = []
        async with AsyncExitStack() as stack:
            for driver in self._candidates:
                try:
                    self._drivers[driver.name] = await stack.enter_async_context(driver)
                except DriverUnavailable as error:
                    if driver.name == self._required or isinstance(error, RangeTaken):
                        raise
                    log.info("the %s tier is not offered here: %s", driver.name, error)
                    causes.append(str(error))
            if not self._drivers:
                raise DriverUnavailable("; ".join(causes))
            if self._weakest and self.name == self._candidates[-1].name:
                log.warning(self._weakest)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def open(self, spec: SandboxSpec, directory: Path) -> Sandbox:
        return await self._of(spec).open(spec, directory)

    async def adopt(self, spec: SandboxSpec, directory: Path) -> Sandbox | None:
        return await self._of(spec).adopt(spec, directory)

    async def sweep(self, keep: Collection[str]) -> None:
        for driver in self._drivers.values():
            await driver.sweep(keep)

    async def teardown(self) -> None:
        for driver in self._drivers.values():
            await driver.teardown()

    def _of(self, spec: SandboxSpec) -> Driver:
        """Never another tier than the one that was asked for."""
        try:
            return self._drivers[spec.tier]
        except KeyError:
            offered = ", ".join(self._drivers)
            raise DriverError(f"the {spec.tier} tier is not offered here, only {offered}") from None
