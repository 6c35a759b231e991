"""Commands at a terminal inside a guest: which of the supervisor's peers each belongs to. Called by
supervisor.py.

The terminals themselves are in the guest, where the agent is a shim too (node/shim/terminals.py has the
messages); from there only what is well formed is passed on, to whoever asked for it.
"""

from collections.abc import Callable
from typing import Any

from neargate.node.drivers.microvm.vmm import told
from neargate.node.shim.peers import Peer


class Terminals:
    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        """say -- to the guest."""
        self._say = say
        self._peers: dict[str, Peer] = {}

    def attached(self, peer: Peer, terminal: str) -> None:
        self._peers[terminal] = peer

    def told(self, message: dict[str, Any]) -> None:
        terminal = str(message.get("terminal"))
        peer = self._peers.get(terminal)
        if peer is None:
            return
        if message.get("event") == "output":
            peer.send({"event": "output", "terminal": terminal, "data": told.base64_of(message.get("data"))})
        else:
            del self._peers[terminal]
            code = told.exit_code(message.get("exit_code"))
            peer.send({"event": "ended", "terminal": terminal, "exit_code": 255 if code is None else code})

    def gone(self, peer: Peer) -> None:
        """Nobody reads what those at its terminals write."""
        for terminal in [name for name, owner in self._peers.items() if owner is peer]:
            del self._peers[terminal]
            self._say({"id": 0, "op": "hangup", "terminal": terminal})
