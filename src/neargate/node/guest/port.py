"""The guest's end of the serial port: the agent's only peer, and where its containers' output goes.

Called by agent.py. `Port` stands where the shim has a Peer, `Output` where it has a SpoolWriter: the spool is
the supervisor's, on the host.
"""

import errno
import os
import time
from typing import Any

from neargate.node import spool
from neargate.node.guest import frames
from neargate.node.shim.peers import Peer

_READ = 1 << 17
_LIMIT = 16 << 20


def open_port(number: int) -> int:
    """A descriptor of the `number`th port of the machine."""
    suffix = f"p{number}"
    while not (found := [n for n in os.listdir("/dev") if n.startswith("vport") and n.endswith(suffix)]):
        time.sleep(0.01)  # the driver finds its ports a little after it is loaded
    return os.open(f"/dev/{found[0]}", os.O_RDWR | os.O_CLOEXEC)


class Port(Peer):
    def __init__(self) -> None:
        self.fd = open_port(1)
        self._reader = frames.Reader(_LIMIT)
        self.closed = False

    def receive(self) -> list[dict[str, Any]]:
        """Messages that have come; waits for the first bytes."""
        data = os.read(self.fd, _READ)
        if not data:  # nobody has the other end open yet, as in the moment in which a clone is born
            time.sleep(0.001)
        return [frames.message(payload) for _kind, payload in self._reader.feed(data)]

    def send(self, message: dict[str, Any]) -> None:
        self.write(frames.json_frame(message))

    def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENODEV, errno.EPIPE):
                    raise
                time.sleep(0.001)

    def close(self) -> None:
        os.close(self.fd)


class Output:
    """What one container writes, on its way to the supervisor: at most a window of it at a time."""

    def __init__(self, port: Port, container: str) -> None:
        self._port = port
        self._container = container
        self._underway = 0

    def taken(self, count: int) -> None:
        self._underway = max(0, self._underway - count)

    @property
    def full(self) -> bool:
        return self._underway >= frames.WINDOW

    def feed(self, stream: int, data: bytes) -> None:
        self._underway += len(data)
        self._port.write(frames.log_frame(frames.LOG, self._container, stream, data))

    def close_stream(self, stream: int) -> None:
        self._port.write(frames.log_frame(frames.CLOSED, self._container, stream))

    def finish(self) -> None:
        self._port.write(frames.log_frame(frames.FINISHED, self._container, spool.STDOUT))

    def reconfigure(self, limit: int, blocking: bool) -> None:
        """The spool's bounds are the supervisor's affair."""

    def reopen(self) -> None:
        self._underway = 0
