"""Clones kept ready: machines already restored and warmed, that only wait to be told which sandbox they are.

Called by driver.py. Off by default. When on, each costs what an idle machine costs (see
docs/SPECIFICATION.md), for every size that has been asked for since the daemon's start; they end with the
daemon, running tasks do not.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from neargate.node.drivers.base import DriverError
from neargate.node.drivers.microvm.templates import uid_of
from neargate.node.drivers.microvm.vmm.scratch import READY as DISK

_PAUSE = 1.0
"""The task that took one is to start its containers first."""
log = logging.getLogger(__name__)


class ReadyClones:
    def __init__(
        self, count: int, directory: Path, fork: Callable[[dict[str, object]], Awaitable[socket.socket]]
    ) -> None:
        """count -- for each size. directory -- on the file system that their scratch disks are to be on."""
        self._count = count
        self._directory = directory
        self._fork = fork
        self._waiting: dict[str, list[socket.socket]] = defaultdict(list)
        self._filling: dict[str, asyncio.Task[None]] = {}

    async def take(self, template: dict[str, Any], setup: dict[str, object]) -> socket.socket | None:
        """Make a waiting clone the sandbox of `setup`, and return the connection to its supervisor, if any
        waits."""
        waiting = self._waiting[template["directory"]]
        connection = None
        while waiting and connection is None:
            connection = waiting.pop(0)
            try:
                line = json.dumps({"setup": setup}).encode() + b"\n"
                await asyncio.get_running_loop().sock_sendall(connection, line)
            except OSError:  # it was killed
                connection.close()
                connection = None
        return connection

    def fill(self, template: dict[str, Any]) -> None:
        key = template["directory"]
        task = self._filling.get(key)
        if self._count and (task is None or task.done()):
            self._filling[key] = asyncio.create_task(self._fill(template))

    async def _fill(self, template: dict[str, Any]) -> None:
        waiting = self._waiting[template["directory"]]
        await asyncio.sleep(_PAUSE)
        while len(waiting) < self._count:
            setup: dict[str, object] = {
                "ready": True,
                "template": template,
                "directory": str(self._directory.resolve()),
                "networked": True,
                "uid": uid_of(secrets.token_hex(16)),
            }
            try:
                connection = await self._fork(setup)
                waiting.append(await _made(connection))
            except DriverError as error:
                log.warning("no microVM can be kept ready: %s", error)
                return

    async def settled(self) -> None:
        """Wait until as many as wanted are ready."""
        await asyncio.gather(*self._filling.values(), return_exceptions=True)

    async def close(self) -> None:
        for task in self._filling.values():
            task.cancel()
        await self.settled()
        for connection in (c for waiting in self._waiting.values() for c in waiting):
            connection.close()
        self._waiting.clear()


def remove_disks(directory: Path) -> None:
    """Of clones of a former daemon whose supervisors were killed."""
    for path in directory.glob(f"{DISK}*"):
        path.unlink(missing_ok=True)


async def _made(connection: socket.socket) -> socket.socket:
    """Once it says that it is ready. Closes it, and with that ends the clone, if it fails or nobody waits."""
    try:
        data = b""
        while not data.endswith(b"\n"):
            more = await asyncio.get_running_loop().sock_recv(connection, 1 << 16)
            if not more:
                raise DriverError("it ended")
            data += more
        message = json.loads(data)
        if message.get("event") != "ready":
            raise DriverError(str(message.get("error")))
        return connection
    except BaseException:
        with contextlib.suppress(OSError):
            connection.close()
        raise
