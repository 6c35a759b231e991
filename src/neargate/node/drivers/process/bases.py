"""Which ids the users of each sandbox are outside: no two sandboxes of a driver have the same ones.

Called by driver.py. A place of 65536 ids is a sandbox's from the moment it is taken, and for as long as its
record is there: the shim writes it first and removes it last (node/shim/birth.py), with the place in it, so
a later daemon finds what is taken.
"""

import json
from pathlib import Path

from neargate.node.drivers.base import DriverError
from neargate.node.shim.birth import FIRST_BASE

_IDS = 65536
_PLACES = 16384


class Bases:
    def __init__(self, records: Path) -> None:
        """records -- the directory that has a record of each sandbox."""
        self._records = records
        self._holders: dict[int, str] = {}
        """By first id. Some may be gone meanwhile: it is looked when somebody else wants theirs."""
        self._opening: set[str] = set()
        """They have no record yet."""

    def find(self) -> None:
        """Learn what the sandboxes of an earlier daemon have."""
        for path in self._records.iterdir():
            try:
                base = json.loads(path.read_text()).get("uid_base", first(path.name))
            except (OSError, ValueError):
                continue
            if base:
                self._holders[base] = path.name

    def take(self, sandbox: str) -> int:
        """The first of its ids; `settle` must follow. Raise DriverError if there are none left."""
        start = first(sandbox)
        for step in range(_PLACES):
            base = FIRST_BASE + (start - FIRST_BASE + step * _IDS) % (_PLACES * _IDS)
            holder = self._holders.get(base, sandbox)
            if holder == sandbox or not self._lives(holder):
                self._holders[base] = sandbox
                self._opening.add(sandbox)
                return base
        raise DriverError("the ids of all user namespaces are taken")

    def settle(self, sandbox: str) -> None:
        """It is open, or has failed: its record tells from here on whether it is there."""
        self._opening.discard(sandbox)

    def _lives(self, sandbox: str) -> bool:
        return sandbox in self._opening or (self._records / sandbox).exists()


def first(sandbox: str) -> int:
    """Where the search for a place begins: spread by the sandbox's id, so that daemons that know nothing of
    each other seldom meet."""
    return FIRST_BASE + _IDS * (int(sandbox[:8], 16) % _PLACES)
