"""Every test of this directory runs once per implementation of the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.state.store import Store
from tests.contracts.store.kinds import IMPLEMENTATIONS, Implementation


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda i: i.name)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    found: Implementation = request.param
    return found


@pytest.fixture
async def store(implementation: Implementation, tmp_path: Path) -> AsyncIterator[Store]:
    async with implementation.open(tmp_path) as store:
        yield store
