"""The web server that tests' services run: says its version and task, ends gracefully. Nothing but `asyncio`.

Environment: VERSION, said with each answer; SICK, health checks fail; EXITS, ends with that code at once;
PORT (8080). A SIGTERM closes the door, lets requests under way end, and leaves with 0.
"""

import asyncio
import os
import signal
import socket
import sys

VERSION = os.environ.get("VERSION", "1")
PORT = int(os.environ.get("PORT", "8080"))
_BUSY: set[asyncio.Transport] = set()


class Connection(asyncio.Protocol):
    def connection_made(self, transport):  # type: ignore[no-untyped-def]
        self.transport = transport
        self.buffer = b""
        _BUSY.add(transport)

    def connection_lost(self, error):  # type: ignore[no-untyped-def]
        _BUSY.discard(self.transport)

    def data_received(self, data):  # type: ignore[no-untyped-def]
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self.buffer[:end], self.buffer[end + 4 :]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.answer(head.split(b" ", 2)[1])

    def answer(self, path):  # type: ignore[no-untyped-def]
        sick = path.startswith(b"/health") and "SICK" in os.environ
        body = f"{VERSION} {socket.gethostname()}\n".encode()
        status = b"500 Internal Server Error" if sick else b"200 OK"
        head = b"HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)


async def main() -> None:
    if "EXITS" in os.environ:
        sys.exit(int(os.environ["EXITS"]))
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    server = await loop.create_server(Connection, "0.0.0.0", PORT, backlog=1024)
    await ending.wait()
    server.close()
    await asyncio.sleep(0.2)
    for transport in list(_BUSY):
        transport.close()
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
