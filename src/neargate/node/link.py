"""The daemon's end of one shim's socket: requests with answers, and the states that it tells.

Called by linked.py and the drivers. The protocol is described in node/shim/main.py.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neargate.node.drivers.base import DriverError

VERSION = 1
_LINE = 16 << 20
_HELLO_SECONDS = 30


class ShimGone(DriverError):
    """The connection has ended: the shim died, or was destroyed."""


def connect(directory: Path) -> socket.socket:
    """Connect to the shim of a directory. Raise OSError if none listens."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(5)
        connection.connect(f"/proc/self/fd/{fd}/shim.sock")  # a socket's path has 108 characters at most
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(fd)
    return connection


class Link:
    """`told` gets each message that is no answer; `gone` is called once if the other side ends it."""

    def __init__(self, told: Callable[[dict[str, Any]], None], gone: Callable[[], None]) -> None:
        self._told, self._gone = told, gone
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def open(self, connection: socket.socket) -> None:
        """Returns after the first message. Raise DriverError with the shim's cause."""
        reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=_LINE)
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                first = await _message(reader)
        except TimeoutError:
            self._writer.close()
            raise DriverError(f"the shim has said nothing for {_HELLO_SECONDS} s") from None
        except BaseException:
            self._writer.close()
            raise
        if first.get("event") != "states":
            self._writer.close()
            raise DriverError(str(first.get("error", "the shim speaks another protocol")))
        if first["version"] != VERSION:
            self._writer.close()
            raise DriverError(
                f"the shim speaks version {first['version']} of the protocol, this daemon {VERSION}"
            )
        self._told(first)
        self._reading = asyncio.create_task(self._read(reader))  # owned: close() cancels and awaits it

    async def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Raise DriverError with the shim's cause, ShimGone if it has gone."""
        if self._writer is None or self._reading is None or self._reading.done():
            raise ShimGone("the sandbox is gone")
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
            result: dict[str, Any] = await answer
            return result
        finally:
            self._waiting.pop(number, None)

    def tell(self, op: str, **arguments: Any) -> None:
        """Ask for something whose answer nobody waits for."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps({"id": 0, "op": op, **arguments}).encode() + b"\n")

    def break_off(self) -> None:
        """End the connection as if the other side had."""
        if self._writer:
            self._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        if self._reading:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
        if self._writer:
            self._writer.close()
            self._writer = None
        self._give_up("the sandbox is gone")

    def _give_up(self, why: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ShimGone(why))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await _message(reader)
                if "event" in message:
                    self._told(message)
                    continue
                waiting = self._waiting.get(message["id"])
                if waiting is None or waiting.done():
                    continue
                if "error" in message:
                    waiting.set_exception(DriverError(str(message["error"])))
                else:
                    waiting.set_result(message["ok"])
        except ShimGone as error:
            self._gone()
            self._give_up(str(error))


async def _message(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, OSError):
        raise ShimGone("the sandbox's shim process has ended") from None
    message: dict[str, Any] = json.loads(line)
    return message
