"""A command at a terminal, in a sandbox whose owner is another process: our end of node/shim/terminals.

Made by linked.py. What it reads is told to the shim, which sends no more than a window ahead.
"""

import asyncio
import base64
import os
from collections import deque
from typing import Any

from neargate.node.drivers.base import DriverError
from neargate.node.link import Link, ShimGone


class LinkedTerminal:
    def __init__(self, link: Link, among: dict[str, "LinkedTerminal"]) -> None:
        """among -- where messages to it are looked up, from `start` to its end."""
        self._link = link
        self._among = among
        self._id = os.urandom(8).hex()
        self._chunks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._code: int | None = None

    async def start(self, container: str, argv: tuple[str, ...], columns: int, rows: int) -> None:
        """Raise DriverError."""
        self._among[self._id] = self
        started = False
        try:
            await self._link.ask(
                "attach", terminal=self._id, container=container, argv=argv, columns=columns, rows=rows
            )
            started = True
        finally:
            if not started:  # refused, or whoever asked has gone meanwhile
                self.close()
                self._end(None)

    async def read(self) -> bytes:
        while not self._chunks and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._chunks:
            return b""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._link.tell("shown", terminal=self._id, bytes=len(data))
        return data

    async def write(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            await self._link.ask("input", terminal=self._id, data=base64.b64encode(data).decode())
        except ShimGone:
            self.lost()
        except DriverError as error:
            raise AssertionError(f"a shim refuses input: {error}") from error

    def resize(self, columns: int, rows: int) -> None:
        self._link.tell("resize", terminal=self._id, columns=columns, rows=rows)

    @property
    def exit_code(self) -> int | None:
        return self._code

    def close(self) -> None:
        if not self._ended:
            self._link.tell("hangup", terminal=self._id)

    # -- from the link ---------------------------------------------------------------------------------

    def told(self, message: dict[str, Any]) -> None:
        if message["event"] == "output":
            self._chunks.append(base64.b64decode(message["data"]))
            self._news.set()
        else:
            self._end(int(message["exit_code"]))

    def lost(self) -> None:
        """The connection to the sandbox has ended, and the command with it."""
        self._end(None)

    def _end(self, code: int | None) -> None:
        if not self._ended:
            self._ended, self._code = True, code
            self._among.pop(self._id, None)
            self._news.set()
