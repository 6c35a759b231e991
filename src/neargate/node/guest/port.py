"""The guest's end of its ports: the agent's only peer, and where its containers' output goes.

Called by agent.py. A port is one of the serial ports that QEMU has, or of the vsock that Firecracker has,
where the guest listens and the host connects, anew in each clone. `Port` stands where the shim has a Peer,
`Output` where it has a SpoolWriter: the spool is the supervisor's, on the host.
"""

import errno
import os
import socket
import time
from typing import Any

from neargate.node import spool
from neargate.node.guest import frames
from neargate.node.shim.peers import Peer

_AGENT_PORT, _FILES_PORT = 1, 2
_BROKEN = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
_VSOCK = "/sys/module/vmw_vsock_virtio_transport"
"""There if the guest image is Firecracker's: no other loads that module."""
_listeners: dict[int, socket.socket] = {}
"""Of the ports of a vsock, by number. They outlive the freezing of a template, connections do not."""


def open_port(number: int) -> int:
    """A descriptor of the `number`th port of the machine."""
    if number in _listeners:
        return _accept(_listeners[number])
    suffix = f"p{number}"
    while not (found := [n for n in os.listdir("/dev") if n.startswith("vport") and n.endswith(suffix)]):
        time.sleep(0.01)  # the driver finds its ports a little after it is loaded
    return os.open(f"/dev/{found[0]}", os.O_RDWR | os.O_CLOEXEC)


def _accept(listener: socket.socket) -> int:
    """The first connection that is not broken already."""
    while True:
        connection, _address = listener.accept()
        try:
            if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return connection.detach()
        except BlockingIOError:
            return connection.detach()
        except OSError:
            pass
        connection.close()


def _listen(number: int) -> socket.socket:
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, number))
    listener.listen(4)
    return listener


class Port(Peer):
    def __init__(self) -> None:
        self.fd = open_port(_AGENT_PORT)
        self.closed = False

    def receive(self) -> list[dict[str, Any]]:
        """The next message; waits for it."""
        payload = frames.read(self.fd)
        if not payload:  # nobody has the other end open yet, as in the moment in which a clone is born
            time.sleep(0.001)
            return []
        return [frames.message(payload)]

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


class VsockPort(Port):
    """A connection that the host made. One that breaks, as at a template's freezing, makes way for the next,
    which is greeted as the first was."""

    def __init__(self) -> None:
        for number in (_AGENT_PORT, _FILES_PORT):
            _listeners[number] = _listen(number)
        super().__init__()

    def receive(self) -> list[dict[str, Any]]:
        try:
            payload = frames.read(self.fd)
        except OSError:
            payload = b""
        return [frames.message(payload)] if payload else self._meet_again()

    def _meet_again(self) -> list[dict[str, Any]]:
        os.close(self.fd)
        super().__init__()
        self.send({"event": "ready"})
        return []

    def write(self, data: bytes) -> None:
        """Nobody is told of an end before `receive` sees it."""
        try:
            while data:
                data = data[os.write(self.fd, data) :]
        except OSError as error:
            if error.errno not in _BROKEN:
                raise


def agent_port() -> Port:
    return VsockPort() if os.path.exists(_VSOCK) else Port()


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
