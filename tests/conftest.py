"""Fixtures for every suite: `door`, a daemon with the fake driver, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.door import Door


@pytest.fixture(scope="session")
def shared_door() -> Iterator[Door]:
    """One daemon per test process; use `door`, which is emptied after each test."""
    from tests.support.door import Door  # the whole daemon: only for tests that ask for it

    door = Door().start()
    yield door
    door.stop()


@pytest.fixture
def door(shared_door: Door) -> Iterator[Door]:
    yield shared_door
    shared_door.forget()
