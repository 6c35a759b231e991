"""A process to be killed: writes to a store and prints the id of each acknowledged write.

Run by test_durability.py: python -m tests.contracts.store.writer IMPLEMENTATION DIRECTORY ROUND
"""

import asyncio
import os
import sys
from pathlib import Path

from neargate.state.store import Store, Tx
from tests.contracts.store.kinds import IMPLEMENTATIONS, SHIP, ship

WRITERS = 20


async def write_on(store: Store, name: str) -> None:
    """Each write is a pair of records and one number of a counter."""
    for n in range(1_000_000):
        id = f"{name}-{n:06}"

        def body(tx: Tx, id: str = id) -> None:
            number = tx.next("pairs")
            tx.insert(SHIP, ship(f"{id}/left", "kiel", number))
            tx.insert(SHIP, ship(f"{id}/right", "kiel", number))

        await store.write(body)
        os.write(1, f"{id}\n".encode())


async def main(implementation: str, directory: str, round: str) -> None:
    (found,) = (i for i in IMPLEMENTATIONS if i.name == implementation)
    async with found.open(Path(directory)) as store, asyncio.TaskGroup() as group:
        for n in range(WRITERS):
            group.create_task(write_on(store, f"{round}-{n:02}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
