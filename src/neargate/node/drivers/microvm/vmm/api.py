"""Firecracker's API: HTTP over a Unix socket, as much of it as its requests need.

Called by firecracker_vm.py. Ours because it is in every supervisor, which http.client and what that imports
would make 2.5 MB larger.
"""

import json
import socket
import time

from neargate.node.drivers.microvm.vmm.firecracker import Request
from neargate.node.drivers.microvm.vmm.vm import VmError

_HEAD = 1 << 16
_BODY = 1 << 20


class ApiError(VmError):
    """Firecracker refused, or has ended; the message names the request and has its own cause."""


class Api:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def ask(self, request: Request, seconds: float = 60) -> None:
        """Wait until it is done. Raise ApiError."""
        what = f"{request.method} {request.path}"
        body = json.dumps(request.body).encode()
        head = (
            f"{what} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(head.encode() + body)
            status, answer = self._answer(time.monotonic() + seconds)
        except OSError as error:  # a timeout, too
            raise ApiError(f"{what}: Firecracker does not answer: {error}") from None
        except ValueError:
            raise ApiError(f"{what}: Firecracker's answer is no HTTP") from None
        if not 200 <= status < 300:
            raise ApiError(f"{what}: {_fault(answer) or f'HTTP status {status}'}")

    def close(self) -> None:
        self._socket.close()

    def _answer(self, deadline: float) -> tuple[int, bytes]:
        """(status, body). Raise OSError, ValueError."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(deadline)
            if len(data) > _HEAD:
                raise ValueError("a head without end")
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        version, status = first.split(b" ")[:2]
        if not version.startswith(b"HTTP/1."):
            raise ValueError("another protocol")
        length = 0
        for line in lines:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        if not 0 <= length <= _BODY:
            raise ValueError("a body too large")
        while len(body) < length:
            body += self._more(deadline)
        return int(status), body[:length]

    def _more(self, deadline: float) -> bytes:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("it has ended")
        return data


def _fault(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["fault_message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace").strip()[:1000]
