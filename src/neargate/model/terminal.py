"""A command at a terminal inside a container, as whoever looks at it has it: ECS Exec's seam to the node.

Implemented by the drivers; asked for by the gateway through services/cell, which knows the nodes.
"""

from typing import Protocol

from msgspec import Struct


class TerminalError(Exception):
    """The command cannot be run; the message says why and is fit for the user."""


class TerminalRequest(Struct, frozen=True, kw_only=True):
    sandbox: str
    container: str
    argv: tuple[str, ...]
    columns: int
    rows: int


class Terminal(Protocol):
    async def read(self) -> bytes:
        """What came next; empty at the end, when `exit_code` is known."""
        ...

    async def write(self, data: bytes) -> None:
        """Type. Waits while the command does not read; nothing happens after its end."""
        ...

    def resize(self, columns: int, rows: int) -> None: ...

    @property
    def exit_code(self) -> int | None:
        """128 + signal when a signal ended it; None while it runs, or if its sandbox was lost."""
        ...

    def close(self) -> None:
        """Hang up: the command is ended if it still runs. Idempotent."""
        ...
