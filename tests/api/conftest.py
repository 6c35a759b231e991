"""`ecs`: the ECS room on a fresh store, without a door (tests/support/ecs.py). `ready`: with things in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ecs import Ecs, container, definition, opened


@pytest.fixture
async def ecs(tmp_path: Path) -> AsyncIterator[Ecs]:
    async with opened(tmp_path) as room:
        yield room


@pytest.fixture
async def ready(ecs: Ecs) -> Ecs:
    """With a node, cluster `default` of both providers, and definition `web` with a tag of its own."""
    await ecs.add_node()
    await ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
    containers = (container(), container("side", essential=False))
    await ecs.register_task_definition(**definition(*containers), tags=[{"key": "of", "value": "definition"}])
    return ecs
