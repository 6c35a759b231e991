"""Several drivers behind one: each sandbox goes to its own tier, and what does not work is left out."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from neargate.model.sandbox import SandboxSpec
from neargate.node.drivers.base import DriverError, DriverUnavailable
from neargate.node.drivers.fake import FakeDriver
from neargate.node.tiers import Tiers


class Tier(FakeDriver):
    def __init__(self, name: str, broken: str = "") -> None:
        super().__init__()
        self.name = name
        self.broken = broken
        self.inside = False
        self.kept: list[object] = []

    async def __aenter__(self) -> Self:
        if self.broken:
            raise DriverUnavailable(self.broken)
        self.inside = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside = False

    async def sweep(self, keep: object) -> None:
        self.kept.append(keep)


def spec(tier: str) -> SandboxSpec:
    return SandboxSpec(id="a" * 32, containers=(), interface=None, cpu=256, memory=1 << 29, tier=tier)


async def test_each_sandbox_is_opened_by_its_own_tier_and_no_other(tmp_path: Path) -> None:
    strong, weak = Tier("gvisor"), Tier("process")
    async with Tiers([strong, weak]) as tiers:
        assert (tiers.name, tiers.tiers) == ("gvisor", ("gvisor", "process"))
        await tiers.open(spec("process"), tmp_path)
        assert (len(strong.sandboxes), len(weak.sandboxes)) == (0, 1)
        with pytest.raises(DriverError, match="the microvm tier is not offered here, only gvisor, process"):
            await tiers.open(spec("microvm"), tmp_path)
        with pytest.raises(DriverError, match="microvm"):
            await tiers.adopt(spec("microvm"), tmp_path)
        await tiers.sweep({"x"})
        assert strong.kept == weak.kept == [{"x"}]
    assert not strong.inside and not weak.inside


async def test_what_does_not_work_is_left_out_and_the_weakest_alone_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Tiers([Tier("gvisor", "no runsc"), Tier("process")], weakest="one kernel for all") as tiers:
        assert tiers.tiers == ("process",)
    assert "one kernel for all" in caplog.text
    caplog.clear()
    async with Tiers([Tier("gvisor"), Tier("process")], weakest="one kernel for all") as tiers:
        assert tiers.name == "gvisor"
    assert caplog.text == ""


async def test_a_tier_that_is_required_is_never_replaced() -> None:
    other = Tier("process")
    with pytest.raises(DriverUnavailable, match="no runsc"):
        async with Tiers([other, Tier("gvisor", "no runsc")], required="gvisor"):
            raise AssertionError("not entered")
    assert not other.inside
    with pytest.raises(DriverUnavailable, match="no runsc; no crun"):
        async with Tiers([Tier("gvisor", "no runsc"), Tier("process", "no crun")]):
            raise AssertionError("not entered")
