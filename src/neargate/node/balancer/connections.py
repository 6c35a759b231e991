"""Which targets this machine still has TCP connections to. Called by drain.py.

Envoy closes what is idle as soon as a target drains, so what is left is being answered.
"""

import socket
from collections.abc import Collection
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_ENDED = frozenset(("03", "06", "07", "09", "0A"))
"""SYN_RECV, TIME_WAIT, CLOSE, LAST_ACK, LISTEN: nothing more is answered there."""


def busy(targets: Collection[tuple[str, int]], table: Path = _TABLE) -> set[tuple[str, int]]:
    """Those of the (address, port) that have a connection. Raise OSError."""
    wanted = {_written(address, port): (address, port) for address, port in targets}
    found = set()
    with table.open() as lines:
        next(lines)
        for line in lines:
            fields = line.split(maxsplit=4)
            if fields[2] in wanted and fields[3] not in _ENDED:
                found.add(wanted[fields[2]])
    return found


def _written(address: str, port: int) -> str:
    """As the kernel writes it: the address as a number of this machine's byte order."""
    return f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}:{port:04X}"
