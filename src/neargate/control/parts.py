"""What the loops are handed, and the one way in which they hear of changes.

Made by main (services.call.House fits by shape); used by every loop of this floor.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from neargate.kit.clock import Clock
from neargate.kit.ids import Ids
from neargate.kit.settings import Settings
from neargate.state.store import Change, Kind, Store


class Parts(Protocol):
    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def metrics(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def ids(self) -> Ids: ...


class Watch:
    """Which records of some kinds changed since the last look.

    A cursor, no memory: a loop that starts anew gets None first and reads everything.
    """

    def __init__(self, store: Store, *kinds: Kind[Any]) -> None:
        self._store = store
        self._kinds = frozenset(kind.name for kind in kinds)
        self._cursor: int | None = None

    async def changed(self) -> Sequence[Change] | None:
        """Wait for changes and return them, each record once; None: read everything."""
        if self._cursor is None:
            self._cursor = self._store.head()
            return None
        while True:
            await self._store.wait(self._cursor)
            feed = await self._store.changes(self._cursor)
            self._cursor = feed.head
            if feed.gap:
                return None
            latest = {(c.kind, c.id): c for c in feed.changes if c.kind in self._kinds}
            if latest:
                return list(latest.values())
