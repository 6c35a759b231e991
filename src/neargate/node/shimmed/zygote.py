"""The daemon's end of the zygote (node/shim/zygote.py): start it, mount images, fork shims.

Called by driver.py. One request at a time on a packet socket; each takes the zygote about a millisecond.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import neargate
from neargate.node.drivers.base import DriverError, DriverUnavailable

_START = "import sys; sys.path.append(sys.argv.pop(1)); from {} import main; main()"
_MESSAGE = 1 << 20


class ZygoteGone(DriverError):
    """The zygote was killed, or never came up."""


class Zygote:
    def __init__(self, instance: str, images: Path, module: str = "neargate.node.shim.zygote") -> None:
        """module -- whose `main` is run."""
        self._start = _START.format(module)
        self._instance = instance
        self._images = images
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = False
        self._one_at_a_time = asyncio.Lock()
        self._exchanges: set[asyncio.Future[dict[str, Any]]] = set()

    async def start(self) -> None:
        """Raise DriverUnavailable with the cause."""
        self._images.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            packages = str(Path(neargate.__file__).parents[1])
            arguments = [f"neargate-{self._instance}", str(theirs.fileno()), str(self._images.resolve())]
            # -I -S: nothing but the standard library, and none of the user's environment
            command = [sys.executable, "-I", "-S", "-c", self._start, packages, *arguments]
            environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
            self._process = subprocess.Popen(  # noqa: ASYNC220 - once, at the start
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, cwd="/"
            )
        ours.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            ours.setsockopt(socket.SOL_SOCKET, option, _MESSAGE)
        self._socket = ours
        self._gone = False
        try:
            await self._answer()
        except DriverError as error:
            await self.stop()
            raise DriverUnavailable(str(error)) from None

    async def stop(self) -> None:
        """Closing the socket ends it; shims stay."""
        if self._exchanges:
            await asyncio.wait(self._exchanges)
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._process:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
            self._process = None

    async def mount(self, image: Path, target: Path) -> None:
        await self.ask({"op": "mount", "image": str(image), "target": str(target)})

    async def unmount(self, target: Path) -> None:
        with contextlib.suppress(DriverError):
            await self.ask({"op": "unmount", "target": str(target)})

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._gone and self._process.poll() is None

    async def fork(self, setup: dict[str, Any]) -> socket.socket:
        """Fork a shim; the first connection to it."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await self.ask({"op": "shim", "setup": setup}, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        return ours

    async def ask(self, request: dict[str, Any], *fds: int) -> dict[str, Any]:
        # Its own task, so that a cancelled caller leaves no answer behind that the next one would take
        # for its own.
        exchange = asyncio.ensure_future(
            self._exchange(json.dumps(request).encode(), [os.dup(fd) for fd in fds])
        )
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(exchange)

    async def _exchange(self, data: bytes, fds: list[int]) -> dict[str, Any]:
        try:
            async with self._one_at_a_time:
                if self._socket is None:
                    raise ZygoteGone("the driver is closed")
                try:
                    socket.send_fds(self._socket, [data], fds)
                except OSError as error:
                    self._gone = True
                    raise ZygoteGone(f"its zygote process has ended: {error}") from None
                return await self._answer()
        finally:
            for fd in fds:
                os.close(fd)

    async def _answer(self) -> dict[str, Any]:
        assert self._socket
        loop = asyncio.get_running_loop()
        try:
            data = await loop.sock_recv(self._socket, _MESSAGE)
        except OSError:  # killed with a request unread
            data = b""
        if not data:
            self._gone = True  # before the kernel has said so of the process, perhaps
            raise ZygoteGone("its zygote process has ended; see the daemon's standard error")
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise DriverError(str(answer["error"]))
        return answer
