"""What is sent to a socket that a container listens at: log lines, to a router among the sandbox's own.

Made by main.py; lives in the shim's loop, which alone sees the sandbox's volumes. The message:

    -> {"op": "post", "sender", "volume", "socket", "fresh", "answered", "data"}     <- {"data"}

Each sender has one connection at a time, which stays open between messages; `fresh` begins another one. The
answer comes once all is written, or with `answered` once the other side has said something: its first bytes.
Bytes are Base64. Whoever made the socket is hostile: it is opened without following any link.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neargate.node.shim.main import Shim

_ANSWER = 4096
_REFUSED = "the router has ended the connection"

Done = Callable[..., None]


class Posts:
    """All of a shim's, by their senders."""

    def __init__(self, shim: Shim) -> None:
        self._shim = shim
        self._all: dict[str, Post] = {}

    def answer(self, request: dict[str, Any], done: Done) -> None:
        sender = str(request["sender"])
        post = self._all.get(sender)
        if post and (request["fresh"] or post.waits):
            post.end()
            post = None
        if not post:
            try:
                connection = connect(self._shim.volume(request["volume"]), request["socket"])
            except OSError as error:
                return done(f"the router's socket: {(error.strerror or '').lower()}")
            post = self._all[sender] = Post(self._shim, connection, lambda: self._all.pop(sender, None))
        post.send(base64.b64decode(request["data"]), request["answered"], done)


class Post:
    """One connection; at most one message is on its way."""

    def __init__(self, shim: Shim, connection: socket.socket, forget: Callable[[], object]) -> None:
        self._shim, self._socket, self._forget = shim, connection, forget
        self._data = b""
        self._answered = False
        self._done: Done | None = None
        shim.watch(connection.fileno(), self._ready)

    @property
    def waits(self) -> bool:
        return self._done is not None

    def send(self, data: bytes, answered: bool, done: Done) -> None:
        self._data, self._answered, self._done = data, answered, done
        self._write()

    def _ready(self, _fd: int) -> None:
        try:
            said = self._socket.recv(_ANSWER)
        except BlockingIOError:
            return self._write()
        except OSError:
            said = b""
        if not said:
            return self.end()
        if self._answered and not self._data:  # all else that it says is no answer
            self._finish(said)

    def _write(self) -> None:
        while self._data:
            try:
                self._data = self._data[self._socket.send(self._data) :]
            except BlockingIOError:
                return self._watch(select.EPOLLIN | select.EPOLLOUT)
            except OSError:
                return self.end()
        self._watch(select.EPOLLIN)
        if self.waits and not self._answered:
            self._finish(b"")

    def _watch(self, events: int) -> None:
        self._shim.unwatch(self._socket.fileno())
        self._shim.watch(self._socket.fileno(), self._ready, events)

    def _finish(self, said: bytes) -> None:
        done, self._done = self._done, None
        if done:
            done(None, {"data": base64.b64encode(said).decode()})

    def end(self) -> None:
        self._shim.unwatch(self._socket.fileno())
        self._socket.close()
        self._forget()
        done, self._done = self._done, None
        if done:
            done(_REFUSED)


def connect(directory: str, name: str) -> socket.socket:
    """Connect to a socket in a directory that a container fills. Raise OSError."""
    top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.open(os.path.basename(name), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    finally:
        os.close(top)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(20, "it is no socket", name)
        connection.setblocking(False)  # a full queue is told, not waited for
        connection.connect(f"/proc/self/fd/{found}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(found)
    return connection
