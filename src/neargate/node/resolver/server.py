"""Takes queries over UDP and TCP, answers ours, forwards the rest. Run by __main__.py on two open sockets."""

import asyncio
import ipaddress
import logging
import socket
from typing import cast

import dns.message

from neargate.node.resolver.answers import Answerer, read
from neargate.node.resolver.book import Shelf
from neargate.node.resolver.bounds import (
    ALL_CONNECTIONS,
    ALL_UNDER_WAY,
    CONNECTIONS,
    UNDER_WAY,
    Rate,
    Slots,
)
from neargate.node.resolver.forward import Forwarder

log = logging.getLogger(__name__)
_IDLE_SECONDS = 10.0
_MOST_COMPLAINTS = 20
_BACKLOG = 128


class Server:
    def __init__(self, shelf: Shelf, forwarder: Forwarder, clients: str) -> None:
        """clients -- the range whose addresses are answered."""
        self._shelf = shelf
        self._forwarder = forwarder
        self._clients = ipaddress.IPv4Network(clients)
        self._rate = Rate()
        self._complaints = _MOST_COMPLAINTS
        self._queries = Slots(UNDER_WAY, ALL_UNDER_WAY)
        self._connections = Slots(CONNECTIONS, ALL_CONNECTIONS)

    async def serve(self, datagrams: socket.socket, listener: socket.socket) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self, group), sock=datagrams
            )
            streams = await asyncio.start_server(self._connected, sock=listener, backlog=_BACKLOG)
            try:
                await streams.serve_forever()
            finally:
                transport.close()

    def hears(self, client: str) -> bool:
        return ipaddress.IPv4Address(client) in self._clients and self._rate.allows(client)

    async def answer(self, data: bytes, client: str, *, stream: bool) -> bytes | None:
        """None: it is no query, and nothing is said."""
        query = read(data)
        if query is None:
            return None
        try:
            return await self._answer(query, data, client, stream=stream)
        except Exception:  # a name that no part of this was made for must not end it for all
            if self._complaints:
                self._complaints -= 1
                log.exception("a query cannot be answered", extra={"client": client})
            return None

    async def _answer(self, query: dns.message.Message, data: bytes, client: str, *, stream: bool) -> bytes:
        answerer = Answerer(query, self._shelf.book)
        with self._queries.taken(client) as free:
            if answerer.ours:
                response = await answerer.answer(self._forwarder.ask_message if free else _nobody)
                return answerer.wire(response, stream=stream)
            answer = await self._forwarder.ask(data, stream=stream) if free else None
            return answer if answer is not None else answerer.failure()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.get_extra_info("peername")[0]
        try:
            with self._connections.taken(client) as free:
                if free and self.hears(client):
                    await self._converse(reader, writer, client)
                    writer.close()
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()  # who does not take what is left is not waited for until it does

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        while self.hears(client):
            async with asyncio.timeout(_IDLE_SECONDS):
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            answer = await self.answer(data, client, stream=True)
            if answer is None:
                return
            async with asyncio.timeout(_IDLE_SECONDS):
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()


async def _nobody(query: dns.message.Message) -> None:
    """For a client that has too much under way."""
    return None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server, group: asyncio.TaskGroup) -> None:
        self._server = server
        self._group = group
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._server.hears(addr[0]):
            self._group.create_task(self._answer(data, addr))

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = await self._server.answer(data, addr[0], stream=False)
        if answer is not None:
            self._transport.sendto(answer, addr)
