"""An acknowledged write survives kill -9 of the process, at any moment; every write is whole or absent."""

import random
import subprocess
import sys
from pathlib import Path

from neargate.state.store import Store, Tx
from tests.contracts.store.kinds import SHIP, Implementation, Ship

ROUNDS = 10


def write_and_kill(implementation: Implementation, directory: Path, round: int, lines: int) -> set[str]:
    """The ids that a writing process acknowledged until it was killed, some `lines` of them."""
    command = [sys.executable, "-m", "tests.contracts.store.writer"]
    arguments = [implementation.name, str(directory), str(round)]
    root = Path(__file__).parents[3]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    assert process.returncode == -9
    ids = {line.decode().strip() for line in told if line.endswith(b"\n")}
    assert len(ids) >= lines
    return ids


async def test_acknowledged_writes_survive_kill_9(implementation: Implementation, tmp_path: Path) -> None:
    chance = random.Random(4)
    acknowledged: set[str] = set()
    for round in range(ROUNDS):
        acknowledged |= write_and_kill(implementation, tmp_path, round, chance.randint(1, 400))
        async with implementation.open(tmp_path) as store:
            await check(store, acknowledged)


async def check(store: Store, acknowledged: set[str]) -> None:
    def body(tx: Tx) -> tuple[list[Ship], list[str], int]:
        return tx.all(SHIP), tx.ids(SHIP, "port", "kiel"), tx.count(SHIP, "laden", "yes")

    ships, indexed, laden = await store.read(body)
    pairs: dict[str, dict[str, int]] = {}
    for ship in ships:
        id, side = ship.id.split("/")
        pairs.setdefault(id, {})[side] = ship.cargo
    assert acknowledged <= pairs.keys()
    assert all(sides.keys() == {"left", "right"} and len({*sides.values()}) == 1 for sides in pairs.values())
    assert sorted(sides["left"] for sides in pairs.values()) == list(range(1, len(pairs) + 1))
    assert indexed == [ship.id for ship in ships] and laden == len(ships)
    feed = await store.changes(0, limit=10_000_000)
    assert store.head() == feed.head == len(ships) and not feed.gap
    assert {c.id for c in feed.changes} == set(indexed)
