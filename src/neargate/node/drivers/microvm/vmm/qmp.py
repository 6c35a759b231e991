"""QEMU's monitor, as much of it as a machine needs; the supervisor waits for each answer.

Called by qemu.py.
"""

import json
import os
import socket
from typing import Any

from neargate.node.drivers.microvm.vmm.vm import VmError

_SECONDS = 60


class QmpError(VmError):
    """QEMU refused, or has ended; the message is its own."""


class Qmp:
    def __init__(self, connection: socket.socket) -> None:
        """Greets: QEMU has started when this returns. Raise QmpError."""
        self._socket = connection
        self._socket.settimeout(_SECONDS)
        self._buffer = b""
        self._message()
        self.ask("qmp_capabilities")

    def ask(self, command: str, *fds: int, **arguments: Any) -> Any:
        """Raise QmpError. Descriptors go along (for getfd, add-fd)."""
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        data = json.dumps({"execute": command, "arguments": names}).encode() + b"\n"
        try:
            if fds:
                socket.send_fds(self._socket, [data], list(fds))
            else:
                self._socket.sendall(data)
        except OSError as error:
            raise QmpError(f"QEMU has ended: {error}") from None
        while True:
            message = self._message()
            if "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def give(self, name: str, path: str, flags: int) -> None:
        """Open a file for QEMU, as descriptor `name`."""
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            self.ask("getfd", fd, fdname=name)
        finally:
            os.close(fd)

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(1 << 16)
            except OSError as error:
                raise QmpError(f"QEMU does not answer: {error}") from None
            if not data:
                raise QmpError("QEMU has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
