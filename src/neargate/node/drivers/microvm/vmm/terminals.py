"""Commands at a terminal inside a guest: which of the supervisor's peers each belongs to. Called by
supervisor.py.

The terminals themselves are in the guest, where the agent is a shim too (node/shim/terminals.py has the
messages); from there only what is well formed is passed on, to whoever asked for it, and no more than a
window ahead: what is not yet `shown` is in the daemon's memory.
"""

from collections.abc import Callable
from typing import Any

from neargate.node.drivers.microvm.vmm import told
from neargate.node.guest.frames import FrameError
from neargate.node.shim.peers import Peer
from neargate.node.shim.terminals import WINDOW

_MOST_ON_ITS_WAY = 2 * WINDOW
"""An agent reads on while there is room for a byte in the window, half of one at a time."""


class Terminals:
    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        """say -- to the guest."""
        self._say = say
        self._peers: dict[str, Peer] = {}
        self._on_its_way: dict[str, int] = {}

    def attached(self, peer: Peer, terminal: str) -> None:
        self._peers[terminal] = peer
        self._on_its_way[terminal] = 0

    def shown(self, terminal: str, count: int) -> None:
        if terminal in self._peers:
            self._on_its_way[terminal] = max(0, self._on_its_way[terminal] - count)

    def told(self, message: dict[str, Any]) -> None:
        """Raise FrameError on output of nothing, or beyond the window."""
        terminal = str(message.get("terminal"))
        peer = self._peers.get(terminal)
        if peer is None:
            return
        if message.get("event") == "output":
            data = told.base64_of(message.get("data"))
            self._on_its_way[terminal] += len(data) // 4 * 3 - data[-2:].count("=")
            if not data or self._on_its_way[terminal] > _MOST_ON_ITS_WAY:
                raise FrameError("a terminal's output is empty, or beyond its window")
            peer.send({"event": "output", "terminal": terminal, "data": data})
        else:
            del self._peers[terminal], self._on_its_way[terminal]
            code = told.exit_code(message.get("exit_code"))
            peer.send({"event": "ended", "terminal": terminal, "exit_code": 255 if code is None else code})

    def gone(self, peer: Peer) -> None:
        """Nobody reads what those at its terminals write."""
        for terminal in [name for name, owner in self._peers.items() if owner is peer]:
            del self._peers[terminal], self._on_its_way[terminal]
            self._say({"id": 0, "op": "hangup", "terminal": terminal})
