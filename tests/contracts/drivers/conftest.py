"""The rig of a test: a driver of its own instance and address range, and nothing left of it afterwards."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.drivers.rig import TIERS, Rig, build_image
from tests.contracts.drivers.traces import traces

_subnets = itertools.count()


@pytest.fixture(scope="session")
def image_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(tmp_path_factory.mktemp("image"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(tiers, why): other tiers cannot be asked this")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of other tiers are not there at all: nothing passes by being skipped."""
    items[:] = [item for item in items if _applies(item)]


def _applies(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("only")
    tier = getattr(item, "callspec", None) and item.callspec.params.get("tier")
    return marker is None or tier is None or tier in marker.args[0]


_SLOW = {"microvm": pytest.mark.microvm}
"""Without KVM a guest is emulated: `make microvm` runs these, the default run does not."""


@pytest.fixture(params=[pytest.param(tier, marks=_SLOW.get(tier, ())) for tier in TIERS])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def rig(tmp_path: Path, image_path: Path, tier: str) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, image_path, next(_subnets), tier)
    await rig.driver.__aenter__()
    try:
        yield rig
    finally:
        await rig.close()
    assert traces(rig.instance, rig.directory) == []
