"""The store's interface: kinds of records, transactions, the change feed. Every implementation passes
tests/contracts/store.

services/ and control/ call `read` and `write` with a function of the transaction. A write function runs
alone (writes are serial), may run on another thread, and does no other I/O; when `write` returns, the change
is on disk. A worked example:

    async def rename(store: Store, id: str, name: str) -> Cluster:
        def body(tx: Tx) -> Cluster:
            cluster = tx.get(CLUSTER, id)
            if cluster is None:
                raise ApiError("ClusterNotFoundException", "Cluster not found.")
            return tx.put(CLUSTER, replace(cluster, name=name))
        return await store.write(body)

An exception out of the function undoes this write and no other, and reaches the caller.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from neargate.model.record import Record, Scope

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class StoreError(Exception):
    """The store could not do it (disk full, damaged file, closed, bad SQL); nothing of a write was kept."""


class Conflict(StoreError):
    """The record is no longer what the caller had read."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of record: its name in the store, its identity, and the indexes that `find` may use.

    id -- unique within the kind, over all accounts and regions (an ARN where there is one).
    indexes -- name -> value of a record, or None to leave it out of that index.
    """

    name: str
    record: type[R]
    id: Callable[[R], str]
    indexes: Mapping[str, Callable[[R], str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    seq: int
    kind: str
    id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """Changes after a sequence number, in order. `gap`: older ones were trimmed, so read everything anew."""

    changes: Sequence[Change]
    head: int
    gap: bool = False


class Tx(Protocol):
    """A transaction. Reads see one snapshot and the transaction's own writes."""

    def get(self, kind: Kind[R], id: str) -> R | None: ...

    def find(
        self, kind: Kind[R], index: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[R]:
        """Records whose `index` has `value`, ordered by id, with ids greater than `after`."""
        ...

    def count(self, kind: Kind[R], index: str, value: str) -> int: ...

    def ids(
        self, kind: Kind[R], index: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[str]:
        """Like find, but only the records' ids: nothing is decoded."""
        ...

    def values(self, kind: Kind[R], index: str, *, until: str, limit: int = 1000) -> list[str]:
        """Distinct values of an index up to and including `until`, in order of text."""
        ...

    def all(
        self, kind: Kind[R], scope: Scope | None = None, *, after: str = "", limit: int | None = None
    ) -> list[R]:
        """All records of a kind (of one scope), ordered by id, with ids greater than `after`."""
        ...

    def put(self, kind: Kind[R], record: R, *, expected: R | None = None) -> R:
        """Write a record whole; one that is stored so already is no change.

        With `expected`, raise Conflict unless the stored one equals it.
        """
        ...

    def insert(self, kind: Kind[R], record: R) -> R:
        """Write a new record; raise Conflict if its id is taken."""
        ...

    def delete(self, kind: Kind[R], id: str) -> bool:
        """True if it was there."""
        ...

    def next(self, counter: str) -> int:
        """The next value (1, 2, …) of a named counter; gaps only where a write was undone."""
        ...

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Portable SQL, for the rooms of state/ that own a table; `?` marks parameters."""
        ...

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None: ...


class Store(Protocol):
    async def read(self, body: Callable[[Tx], T]) -> T:
        """Run a short read on a snapshot that holds every write acknowledged before the call."""
        ...

    async def scan(self, body: Callable[[Tx], T]) -> T:
        """Like read, for long ones: on a thread, so that the caller's loop goes on."""
        ...

    async def write(self, body: Callable[[Tx], T]) -> T:
        """Run a write; return once it is on disk. It happens even if the caller is cancelled meanwhile."""
        ...

    async def changes(self, after: int, limit: int = 1000) -> Feed: ...

    def head(self) -> int:
        """Sequence number of the newest acknowledged change."""
        ...

    async def wait(self, after: int) -> int:
        """Return the head once it is greater than `after`. Raise StoreError if the store is closed first."""
        ...
