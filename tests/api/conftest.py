"""`ecs`: the ECS room on a fresh store, without a door (tests/support/ecs.py)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ecs import Ecs, opened


@pytest.fixture
async def ecs(tmp_path: Path) -> AsyncIterator[Ecs]:
    async with opened(tmp_path) as room:
        yield room
