"""The rig of a test: a driver of its own instance and address range, and nothing left of it afterwards."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.drivers.rig import Rig, build_image
from tests.contracts.drivers.traces import traces

_subnets = itertools.count()


@pytest.fixture(scope="session")
def image_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
async def rig(tmp_path: Path, image_path: Path, worker_id: str) -> AsyncIterator[Rig]:
    number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    rig = Rig(tmp_path, image_path, number * 12 + next(_subnets) % 12)
    await rig.driver.__aenter__()
    try:
        yield rig
    finally:
        await rig.close()
    assert traces(rig.instance, rig.directory) == []
