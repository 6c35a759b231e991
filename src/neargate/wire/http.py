"""A request and a response as plain values, between the sockets and the protocols.

Made by gateway/ of what came in; read and made by protocols.py.
"""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
