"""What tests put behind a load balancer: a web server of the standard library alone, run in containers.

GET /            "hello from $NAME"          GET /echo    the request as it arrived
GET /slow?N      answers after N seconds     GET /status?N  answers with that status
GET /socket      a WebSocket that echoes     POST /count  counts, and answers how often it was called
GET /peer        who asks, by its address    GET /cookie?a=b  sets that cookie

A datagram at the same port is answered with "$NAME" and its sender's address.
"""

import asyncio
import base64
import hashlib
import os
import socket
import struct
import sys


class WebTarget:
    def __init__(self, name: str) -> None:
        self.name = name
        self.counted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                continue
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether there may be another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:] if line)}
        length = int(headers.get("content-length", 0))
        body = await reader.readexactly(length) if length else b""
        if headers.get("upgrade", "").lower() == "websocket":
            await websocket(reader, writer, headers["sec-websocket-key"])
            return False
        status, answer = await self._respond(lines[0], head, body)
        if lines[0].startswith("GET /peer "):
            answer = str(writer.get_extra_info("peername")[0]).encode()
        if not status:
            return False
        _, is_cookie, cookie = lines[0].split(" ")[1].partition("/cookie?")
        rest = f"Set-Cookie: {cookie}\r\n" if is_cookie else ""
        rest += f"Server: web-target\r\nContent-Length: {len(answer)}\r\nX-Name: {self.name}\r\n\r\n"
        writer.write(f"HTTP/1.1 {status} Said\r\n{rest}".encode() + answer)
        return headers.get("connection", "").lower() != "close"

    async def _respond(self, line: str, head: str, body: bytes) -> tuple[int, bytes]:
        """Status 0: break off."""
        path, _, query = line.split(" ")[1].partition("?")
        if path == "/slow":
            await asyncio.sleep(float(query))
        if path == "/count":
            self.counted += 1
            return 200, str(self.counted).encode()
        if path == "/break":
            self.counted += 1
            return 0, b""
        if path == "/echo":
            return 200, head.encode() + body
        if path == "/status":
            return int(query), b""
        return 200, f"hello from {self.name}".encode()


async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    """Short frames only."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False)
    accept = base64.b64encode(digest.digest()).decode()
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"HTTP/1.1 101 Switching\r\n{upgrade}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while True:
        first, second = struct.unpack("BB", await reader.readexactly(2))
        mask = await reader.readexactly(4)
        data = await reader.readexactly(second & 0x7F)
        plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        writer.write(struct.pack("BB", first, len(plain)) + plain)
        if first & 0x0F == 8:
            return


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(f"{self._name} {addr[0]}\n".encode(), addr)


async def main() -> None:
    target = WebTarget(os.environ.get("NAME") or socket.gethostname())
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 80
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Datagrams(target.name), ("0.0.0.0", port))
    async with await asyncio.start_server(target.serve, "0.0.0.0", port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
