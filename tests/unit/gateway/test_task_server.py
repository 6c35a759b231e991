"""The connections that tasks have: none of them gets all."""

import asyncio
import contextlib
import socket
from pathlib import Path

from neargate.gateway import server
from neargate.gateway.asgi import ASGIApp
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings
from neargate.wire.http import Request, Response

ASK = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


class Echo:
    """Answers with the path and who asks."""

    registry: ASGIApp

    def is_registry(self, path: str) -> bool:
        return False

    def refuse(self, request: Request, error: ApiError) -> Response:
        return Response(error.status or 400, {}, error.code.encode())

    async def answer(self, request: Request, source_ip: str) -> Response:
        return Response(200, {}, f"{request.path} {source_ip}".encode())


async def ask(address: tuple[str, int], source: str) -> tuple[asyncio.StreamWriter, bytes]:
    """A connection that stays open, and the first answer on it; nothing if it was turned away."""
    reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
    writer.write(ASK)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return writer, await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return writer, b""


async def test_one_task_cannot_hold_every_connection(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        serving = asyncio.create_task(server.serve_tasks(Echo(), settings, listening))
        try:
            held = [await ask(address, "127.0.0.2") for _ in range(server._CONNECTIONS_PER_TASK)]
            assert {body for _, body in held} == {b"/x 127.0.0.2"}
            assert (await ask(address, "127.0.0.2"))[1] == b""
            assert (await ask(address, "127.0.0.3"))[1] == b"/x 127.0.0.3"
            for writer, _ in held:
                writer.close()
                await writer.wait_closed()
            while (await ask(address, "127.0.0.2"))[1] == b"":  # noqa: ASYNC110 - the server sees the ends shortly
                await asyncio.sleep(0.01)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
