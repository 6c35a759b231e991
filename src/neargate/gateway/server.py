"""The sockets: listens, makes a Connection per client, sweeps out those that overstay, stops in good order.

`serve` is called by `main`, inside the daemon's own loop. Each request's task is owned here.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, Protocol

from neargate.gateway.app import App
from neargate.gateway.asgi import ASGIApp
from neargate.gateway.budget import Budget
from neargate.gateway.http1 import HEAD_SECONDS, Connection
from neargate.gateway.tls import server_context
from neargate.gateway.websocket import WebSocket
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings, SettingsError
from neargate.wire.http import Request, Response

log = logging.getLogger(__name__)

_BACKLOG = 1024
_STOP_SECONDS = 5.0
_CONNECTIONS_PER_TASK = 64


class Answers(Protocol):
    """What stands behind the connections: the App, or what tasks find at 169.254.170.2."""

    def is_registry(self, path: str) -> bool:
        """Is the body to be streamed to `registry`?"""
        ...

    @property
    def registry(self) -> ASGIApp: ...

    async def answer(self, request: Request, source_ip: str) -> Response: ...

    def refuse(self, request: Request, error: ApiError) -> Response:
        """The answer to a request that could not be read whole."""
        ...


class Sockets(Protocol):
    """Who serves WebSockets."""

    def takes(self, path: str) -> bool: ...

    async def serve(self, socket: WebSocket) -> None: ...


class Server:
    """What the connections of one door share. `per_client` -- how many of them one address may hold."""

    def __init__(
        self,
        app: Answers,
        settings: Settings,
        per_client: int | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        self.app = app
        self._sockets = sockets
        self._per_client = per_client
        self._clients: Counter[str] = Counter()
        self.max_body_bytes = settings.max_body_bytes
        self.body_seconds = settings.request_timeout_seconds
        self.head_seconds = min(HEAD_SECONDS, settings.request_timeout_seconds)
        self.stopping = False
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        # Files are shared with the door, which must not run out of them by tasks' doing.
        self._max_connections = _connection_limit() // (4 if per_client is not None else 1)
        self._date = (0, b"")
        self.time = self._loop.time
        shared = per_client is not None
        self.budget = Budget(self.max_body_bytes, self.body_seconds, self.time, shared=shared)

    def serves_socket(self, path: str) -> bool:
        return self._sockets is not None and self._sockets.takes(path)

    async def serve_socket(self, socket: WebSocket) -> None:
        assert self._sockets is not None
        await self._sockets.serve(socket)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection's task failed", exc_info=error)

    def opened(self, connection: Connection) -> None:
        if len(self._connections) >= self._max_connections:
            # An idle client gives way; only where all are at work is the new one turned away.
            idle = next((c for c in self._connections if c.idle()), connection)
            idle.transport.abort()
        self._connections.add(connection)
        self._clients[connection.peer] += 1
        if self._per_client is not None and self._clients[connection.peer] > self._per_client:
            connection.transport.abort()

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._clients[connection.peer] -= 1
        if not self._clients[connection.peer]:
            del self._clients[connection.peer]

    def date_line(self) -> bytes:
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    async def sweep(self) -> None:
        """Every so often end what has passed its deadline; one sweep costs less than a timer per request."""
        pause = min(1.0, self.head_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = self.time()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.expire()

    async def stop(self) -> None:
        """Let requests under way finish for a while, then end everything."""
        self.stopping = True
        for connection in [c for c in self._connections if c.idle()]:
            connection.transport.close()
        for connection in list(self._connections):
            connection.going_away()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)


async def serve(
    app: App, settings: Settings, *, ready: Callable[[int], None], sockets: Sockets | None = None
) -> None:
    """Serve until cancelled. `ready` is called with the real port once clients may connect.

    Raises SettingsError where it would listen beyond loopback in clear text, or cannot listen at all.
    """
    check_exposure(settings)
    context = server_context(settings)
    server = Server(app, settings, sockets=sockets)
    listener = await _listen(server, settings, context)
    ready(listener.sockets[0].getsockname()[1])
    await _until_cancelled(server, listener)


async def serve_tasks(app: Answers, settings: Settings, listening: socket.socket) -> None:
    """Serve tasks, on a socket that only they reach, until cancelled. None of them gets all connections."""
    server = Server(app, settings, _CONNECTIONS_PER_TASK)
    loop = asyncio.get_running_loop()
    await _until_cancelled(server, await loop.create_server(lambda: Connection(server), sock=listening))


async def _until_cancelled(server: Server, listener: asyncio.Server) -> None:
    sweeper = asyncio.create_task(server.sweep())
    try:
        await sweeper
    finally:
        listener.close()
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper
        await server.stop()


def with_port(settings: Settings) -> Settings:
    """The settings with a free port in place of port 0, for those who must know it before the door opens."""
    if settings.port != 0:
        return settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((settings.host, 0))
        return dataclasses.replace(settings, port=probe.getsockname()[1])


def endpoint(settings: Settings) -> str:
    """The URL by which clients on this machine reach the door."""
    scheme = "https" if settings.tls_cert else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"{scheme}://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{settings.port}"


def check_exposure(settings: Settings) -> None:
    if settings.tls_cert or settings.insecure or _is_loopback(settings.host):
        return
    raise SettingsError(
        f"NEARGATE_HOST is {settings.host!r}, which others can reach: give --tls-cert and --tls-key "
        "(`--tls-cert generate` makes a certificate), or --insecure to listen in clear text all the same"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _listen(server: Server, settings: Settings, context: ssl.SSLContext | None) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(server),
            settings.host,
            settings.port,
            ssl=context,
            ssl_handshake_timeout=server.head_seconds if context else None,
            backlog=_BACKLOG,
        )
    except (OSError, socket.gaierror) as error:
        raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error}") from None


def _connection_limit() -> int:
    """Half of the files this process may open, after raising that to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(hard // 2, 10_000) if hard != resource.RLIM_INFINITY else 10_000
