"""A request and a response as plain values, between the sockets and the protocols.

Made by gateway/ of what came in; read and made by protocols.py.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """As sent, percent-encoded."""
    query: str
    """The query string as sent, without the question mark."""
    headers: dict[str, str]
    """By lower-case name; values of a repeated header are joined by commas."""
    body: bytes = b""


@runtime_checkable
class Stream(Protocol):
    """A body that is too large to be held. Whoever has it closes it, read or not."""

    size: int

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    stream: Stream | None = None
    """Sent in place of the body."""
