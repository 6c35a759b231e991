"""The resolver under clients that are out to take it from others."""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import dns.message
import pytest

from neargate.model import zones
from neargate.node.resolver import server as server_module
from neargate.node.resolver.__main__ import open_sockets
from neargate.node.resolver.book import FILE, Shelf
from neargate.node.resolver.forward import Forwarder
from neargate.node.resolver.server import Server
from tests.unit.node.test_resolver import DOCUMENT


async def test_who_does_not_take_answers_loses_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would cost one of the process's files for as long as its client likes."""
    monkeypatch.setattr(server_module, "_IDLE_SECONDS", 0.5)
    (tmp_path / FILE).write_bytes(zones.encode(DOCUMENT))
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    datagrams, listener = open_sockets("127.0.0.1", 45_000 + os.getpid() % 15_000)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # less that the kernel holds
    listener.listen()
    server = Server(Shelf(directory), Forwarder(tuple), "127.0.0.0/8")
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(datagrams, listener))
    query = dns.message.make_query("web.corp.internal", "A").to_wire()
    loop = asyncio.get_running_loop()
    for count in (900, 100):  # it has to be waited for; and all was said, but is not taken
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await asyncio.wait_for(loop.sock_sendall(client, (len(query).to_bytes(2) + query) * count), 20)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await loop.sock_sendall(client, b"\0")
                    await asyncio.sleep(0.05)
        client.close()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    os.close(directory)
