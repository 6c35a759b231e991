"""One daemon's connection to a shim: lines of JSON, never waiting for a slow reader.

Called by main.py. A peer that reads nothing while a large send buffer fills up is cut off.
"""

import json
import socket
from typing import Any

_READ = 1 << 18
_MESSAGE = 4 << 20
_SEND_BUFFER = 1 << 20


class Peer:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(0.2)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._buffer = b""
        self.closed = False

    def receive(self) -> list[dict[str, Any]]:
        """The whole messages that have come; `closed` is set at the end of the stream."""
        try:
            data = self._socket.recv(_READ)
        except OSError:
            data = b""
        if not data or len(self._buffer) > _MESSAGE:
            self.closed = True
            return []
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            self.closed = True
            return []
        return [message for message in messages if isinstance(message, dict)]

    def send(self, message: dict[str, Any]) -> None:
        if self.closed:
            return
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # gone, or stuck: it will connect again and be told everything
            self.closed = True
            try:
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the loop, which then lets go of it
            except OSError:
                return

    def answer(self, number: int, error: str | None, answer: dict[str, Any] | None) -> None:
        """To a request of its."""
        self.send({"id": number, "error": error} if error is not None else {"id": number, "ok": answer or {}})

    def close(self) -> None:
        self._socket.close()
