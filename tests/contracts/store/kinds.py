"""Records of the store's contract suite, the implementations that run it, and how tests hold writes up."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neargate.model.record import Record, Scope
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Kind, Store

HERE = Scope("111111111111", "us-east-1")
THERE = Scope("111111111111", "eu-west-1")
OTHERS = Scope("222222222222", "us-east-1")


class Ship(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    port: str | None = None
    cargo: int = 0


class Crew(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str


SHIP = Kind(
    "ship",
    Ship,
    lambda r: r.id,
    {"port": lambda r: r.port, "laden": lambda r: "yes" if r.cargo else None},
)
CREW = Kind("crew", Crew, lambda r: r.name)


def ship(id: str, port: str | None = None, cargo: int = 0, scope: Scope = HERE) -> Ship:
    return Ship(account=scope.account, region=scope.region, id=id, port=port, cargo=cargo)


Open = Callable[..., AbstractAsyncContextManager[Store]]


@dataclass(frozen=True)
class Implementation:
    """open(directory, feed_kept=…) -- a store whose data are in the directory, as long as the context lasts.

    feed_kept -- how many changes the feed keeps at least; some more may be kept.
    """

    name: str
    open: Open


def _sqlite(directory: Path, **options: Any) -> AbstractAsyncContextManager[Store]:
    return SqliteStore(directory / "store.db", **options)


IMPLEMENTATIONS = (Implementation("sqlite", _sqlite),)


@asynccontextmanager
async def writer_held(store: Store) -> AsyncIterator[None]:
    """No write gets on inside the block: those made there wait together."""
    begun, go_on = threading.Event(), threading.Event()

    def body(tx: Any) -> None:
        begun.set()
        assert go_on.wait(60)

    async with asyncio.TaskGroup() as group:
        group.create_task(store.write(body))
        assert await asyncio.to_thread(begun.wait, 60)
        try:
            yield
        finally:
            go_on.set()
