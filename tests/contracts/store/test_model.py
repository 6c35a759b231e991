"""The store against a plain dictionary: whatever is done in whatever order, both say the same."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from neargate.model.record import Scope
from neargate.state.store import Conflict, Store, Tx
from tests.contracts.store.kinds import HERE, OTHERS, SHIP, THERE, Implementation, Ship, ship

IDS = st.sampled_from(["", "a", "a/b", "B", "ö"]).map("ship-{}".format)
PORTS = st.sampled_from([None, "", "kiel", "kiel/2", "Ω"])
SHIPS = st.builds(ship, IDS, PORTS, st.integers(0, 2), st.sampled_from([HERE, THERE, OTHERS]))
SCOPES = st.sampled_from([None, HERE, THERE, OTHERS])
LIMITS = st.none() | st.integers(0, 4)


class Undone(Exception):
    pass


class Compared(RuleBasedStateMachine):
    implementation: Implementation

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Ship] = {}
        self.feed: list[tuple[str, bool]] = []
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.store = self._open()

    def _open(self) -> Store:
        self.opened = contextlib.AsyncExitStack()
        context = self.implementation.open(Path(self.directory.name))
        return self.runner.run(self.opened.enter_async_context(context))

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.directory.cleanup()

    def write(self, body: Callable[[Tx], Any]) -> Any:
        return self.runner.run(self.store.write(body))

    def read(self, body: Callable[[Tx], Any]) -> Any:
        return self.runner.run(self.store.read(body))

    def _set(self, record: Ship) -> None:
        if self.model.get(record.id) != record:
            self.model[record.id] = record
            self.feed.append((record.id, False))

    @rule(record=SHIPS)
    def put(self, record: Ship) -> None:
        self.write(lambda tx: tx.put(SHIP, record))
        self._set(record)

    @rule(record=SHIPS, expected=SHIPS)
    def put_expected(self, record: Ship, expected: Ship) -> None:
        if self.model.get(record.id) == expected:
            self.write(lambda tx: tx.put(SHIP, record, expected=expected))
            self._set(record)
        else:
            with pytest.raises(Conflict):
                self.write(lambda tx: tx.put(SHIP, record, expected=expected))

    @rule(record=SHIPS)
    def insert(self, record: Ship) -> None:
        if record.id in self.model:
            with pytest.raises(Conflict):
                self.write(lambda tx: tx.insert(SHIP, record))
        else:
            self.write(lambda tx: tx.insert(SHIP, record))
            self._set(record)

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        assert self.write(lambda tx: tx.delete(SHIP, id)) == (id in self.model)
        if self.model.pop(id, None) is not None:
            self.feed.append((id, True))

    @rule(records=st.lists(SHIPS, max_size=4), gone=IDS)
    def many_at_once(self, records: list[Ship], gone: str) -> None:
        self.write(lambda tx: ([tx.put(SHIP, record) for record in records], tx.delete(SHIP, gone)))
        for record in records:
            self._set(record)
        if self.model.pop(gone, None) is not None:
            self.feed.append((gone, True))

    @rule(records=st.lists(SHIPS, min_size=1, max_size=3), gone=IDS)
    def undone(self, records: list[Ship], gone: str) -> None:
        def body(tx: Tx) -> None:
            tx.delete(SHIP, gone)
            for record in records:
                tx.put(SHIP, record)
            raise Undone

        with pytest.raises(Undone):
            self.write(body)

    @rule()
    def open_anew(self) -> None:
        self.runner.run(self.opened.aclose())
        self.store = self._open()

    @rule(port=PORTS, after=IDS | st.just(""), limit=LIMITS)
    def find(self, port: str | None, after: str, limit: int | None) -> None:
        value = "None" if port is None else port
        here = sorted(s.id for s in self.model.values() if s.port is not None and s.port == value)
        right = [id for id in here if id > after][:limit]
        assert self.read(lambda tx: tx.ids(SHIP, "port", value, after=after, limit=limit)) == right
        found = self.read(lambda tx: tx.find(SHIP, "port", value, after=after, limit=limit))
        assert found == [self.model[id] for id in right]
        assert self.read(lambda tx: tx.count(SHIP, "port", value)) == len(here)

    @rule(until=st.sampled_from(["", "kiel", "z", "Ω"]), limit=st.integers(1, 3))
    def values(self, until: str, limit: int) -> None:
        ports = {s.port for s in self.model.values() if s.port is not None and s.port <= until}
        assert (
            self.read(lambda tx: tx.values(SHIP, "port", until=until, limit=limit)) == sorted(ports)[:limit]
        )

    @rule(scope=SCOPES, after=IDS | st.just(""), limit=LIMITS)
    def all(self, scope: Scope | None, after: str, limit: int | None) -> None:
        ours = [
            s for s in self.model.values() if scope in (None, Scope(s.account, s.region)) and s.id > after
        ]
        found = self.read(lambda tx: tx.all(SHIP, scope, after=after, limit=limit))
        assert found == sorted(ours, key=lambda s: s.id)[:limit]

    @invariant()
    def same(self) -> None:
        assert {s.id: s for s in self.read(lambda tx: tx.all(SHIP))} == self.model
        assert self.read(lambda tx: tx.count(SHIP, "laden", "yes")) == sum(
            1 for s in self.model.values() if s.cargo
        )
        feed = self.runner.run(self.store.changes(0, limit=10_000))
        assert [(c.id, c.deleted) for c in feed.changes] == self.feed
        assert [c.seq for c in feed.changes] == list(range(1, self.store.head() + 1))


def test_the_store_is_a_dictionary(implementation: Implementation) -> None:
    machine = type("Compared", (Compared,), {"implementation": implementation})
    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
