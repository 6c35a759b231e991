"""Records, indexes, lists and counters."""

import pytest
from msgspec.structs import replace

from neargate.state.store import Conflict, Store, Tx
from tests.contracts.store.kinds import CREW, HERE, OTHERS, SHIP, THERE, Crew, Ship, ship


async def put(store: Store, *ships: Ship) -> None:
    await store.write(lambda tx: [tx.put(SHIP, s) for s in ships])


async def found(store: Store, index: str, value: str) -> list[str]:
    """Ids by index, asked for in all three ways."""
    records = await store.read(lambda tx: tx.find(SHIP, index, value))
    ids = await store.read(lambda tx: tx.ids(SHIP, index, value))
    assert [r.id for r in records] == ids
    assert await store.read(lambda tx: tx.count(SHIP, index, value)) == len(ids)
    return ids


async def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    written = ship("π/ünï—code '\"\\ ☂", "a%_b", 2**53)
    assert await store.write(lambda tx: tx.put(SHIP, written)) == written
    assert await store.read(lambda tx: tx.get(SHIP, written.id)) == written
    assert await store.read(lambda tx: tx.get(SHIP, "none")) is None
    assert await found(store, "port", "a%_b") == [written.id]


async def test_kinds_do_not_see_each_other(store: Store) -> None:
    await put(store, ship("x"))
    await store.write(lambda tx: tx.put(CREW, Crew(account="1", region="r", name="x")))
    assert await store.write(lambda tx: tx.delete(SHIP, "x"))
    assert await store.read(lambda tx: tx.all(SHIP)) == []
    assert [c.name for c in await store.read(lambda tx: tx.all(CREW))] == ["x"]


async def test_expected_is_what_must_be_there(store: Store) -> None:
    first = ship("x", cargo=1)
    await put(store, first)
    second = replace(first, cargo=2)
    await store.write(lambda tx: tx.put(SHIP, second, expected=first))
    with pytest.raises(Conflict, match="x"):
        await store.write(lambda tx: tx.put(SHIP, replace(first, cargo=3), expected=first))
    assert await store.read(lambda tx: tx.get(SHIP, "x")) == second
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.put(SHIP, ship("none"), expected=ship("none", cargo=1)))
    assert await store.read(lambda tx: tx.get(SHIP, "none")) is None


async def test_insert_takes_only_free_ids(store: Store) -> None:
    await store.write(lambda tx: tx.insert(SHIP, ship("x")))
    for again in (ship("x"), ship("x", cargo=1)):
        with pytest.raises(Conflict, match="x"):
            await store.write(lambda tx, again=again: tx.insert(SHIP, again))
    assert await store.read(lambda tx: tx.get(SHIP, "x")) == ship("x")


async def test_delete_says_whether_it_was_there(store: Store) -> None:
    await put(store, ship("x", "kiel", 1))
    assert await store.write(lambda tx: tx.delete(SHIP, "x")) is True
    assert await store.write(lambda tx: tx.delete(SHIP, "x")) is False
    assert await found(store, "port", "kiel") == await found(store, "laden", "yes") == []
    await store.write(lambda tx: tx.insert(SHIP, ship("x", "kiel")))
    assert await found(store, "port", "kiel") == ["x"]


async def test_indexes_follow_the_record(store: Store) -> None:
    await put(store, ship("a", "kiel"), ship("b", "kiel", 1), ship("c"))
    assert await found(store, "port", "kiel") == ["a", "b"]
    assert await found(store, "laden", "yes") == ["b"]
    await put(store, ship("a", "bremen", 5), ship("b"), ship("c", "kiel"))
    assert await found(store, "port", "kiel") == ["c"]
    assert await found(store, "port", "bremen") == ["a"]
    assert await found(store, "laden", "yes") == ["a"]
    assert await found(store, "port", "None") == await found(store, "port", "") == []


async def test_an_empty_index_value_is_a_value(store: Store) -> None:
    await put(store, ship("a", ""), ship("b"))
    assert await found(store, "port", "") == ["a"]


async def test_an_index_that_the_kind_has_not_is_a_mistake(store: Store) -> None:
    for look in (
        lambda tx: tx.find(SHIP, "prot", "kiel"),
        lambda tx: tx.ids(SHIP, "prot", "kiel"),
        lambda tx: tx.count(SHIP, "prot", "kiel"),
        lambda tx: tx.values(SHIP, "prot", until="z"),
    ):
        with pytest.raises(KeyError, match="ship has no index prot"):
            await store.read(look)


IDS = ["B", "a", "a/1", "a/10", "a/2", "b", "é", "中", "\U0001f6a2"]


async def test_lists_are_in_the_order_of_code_points(store: Store) -> None:
    await put(store, *(ship(id, "kiel") for id in reversed(IDS)))
    assert [s.id for s in await store.read(lambda tx: tx.all(SHIP))] == IDS == sorted(IDS)
    assert await found(store, "port", "kiel") == IDS


@pytest.mark.parametrize("limit", [None, 0, 1, 3, 100])
@pytest.mark.parametrize("after", ["", "A", "a", "a/1", "é", "\U0001f6a2", "\U0001f6a3"])
async def test_after_and_limit(store: Store, after: str, limit: int | None) -> None:
    await put(store, *(ship(id, "kiel") for id in IDS), ship("a/3", "bremen", 0, THERE))
    right = [id for id in IDS if id > after][:limit]
    assert await store.read(lambda tx: tx.ids(SHIP, "port", "kiel", after=after, limit=limit)) == right
    records = await store.read(lambda tx: tx.find(SHIP, "port", "kiel", after=after, limit=limit))
    assert [s.id for s in records] == right
    records = await store.read(lambda tx: tx.all(SHIP, HERE, after=after, limit=limit))
    assert [s.id for s in records] == right
    records = await store.read(lambda tx: tx.all(SHIP, after=after, limit=limit))
    assert [s.id for s in records] == [id for id in sorted([*IDS, "a/3"]) if id > after][:limit]


async def test_a_scope_is_an_account_in_a_region(store: Store) -> None:
    await put(store, ship("a"), ship("b", scope=THERE), ship("c", scope=OTHERS), ship("d"))
    for scope, ids in ((HERE, ["a", "d"]), (THERE, ["b"]), (OTHERS, ["c"]), (None, ["a", "b", "c", "d"])):
        assert [s.id for s in await store.read(lambda tx, s=scope: tx.all(SHIP, s))] == ids
    await put(store, ship("a", scope=THERE))
    assert [s.id for s in await store.read(lambda tx: tx.all(SHIP, THERE))] == ["a", "b"]
    assert [s.id for s in await store.read(lambda tx: tx.all(SHIP, HERE))] == ["d"]


async def test_values_of_an_index(store: Store) -> None:
    await put(store, ship("1", "b"), ship("2", "a"), ship("3", "b"), ship("4", "c"), ship("5"), ship("6", ""))
    assert await store.read(lambda tx: tx.values(SHIP, "port", until="b")) == ["", "a", "b"]
    assert await store.read(lambda tx: tx.values(SHIP, "port", until="z", limit=2)) == ["", "a"]
    assert await store.read(lambda tx: tx.values(SHIP, "laden", until="z")) == []


async def test_counters_count_by_name(store: Store) -> None:
    assert await store.write(lambda tx: [tx.next("a"), tx.next("a"), tx.next("b")]) == [1, 2, 1]
    assert await store.write(lambda tx: tx.next("a")) == 3

    def undone(tx: Tx) -> None:
        tx.next("b")
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(undone)
    assert await store.write(lambda tx: tx.next("b")) in (2, 3)


async def test_a_transaction_reads_its_own_writes(store: Store) -> None:
    def body(tx: Tx) -> None:
        tx.put(SHIP, ship("a", "kiel"))
        assert tx.ids(SHIP, "port", "kiel") == ["a"]
        tx.put(SHIP, ship("a", "bremen"))
        assert tx.count(SHIP, "port", "kiel") == 0 and tx.values(SHIP, "port", until="z") == ["bremen"]
        tx.delete(SHIP, "a")
        assert tx.get(SHIP, "a") is None and tx.all(SHIP) == []
        tx.insert(SHIP, ship("a", "wismar"))

    await store.write(body)
    assert await found(store, "port", "wismar") == ["a"]
