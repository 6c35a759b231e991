"""The resolver's process: opens its sockets, lets go of all rights, and serves. Started by keeper.py.

`python -m neargate.node.resolver --address A --clients CIDR --directory D --first-port N`. The port that was
free is told in `<directory>/port`, with the process's id.
"""

import argparse
import asyncio
import contextlib
import ctypes
import importlib
import os
import resource
import socket
import sys
from pathlib import Path

import dns.rdata

from neargate.node.resolver.book import PORT_FILE, Shelf
from neargate.node.resolver.forward import Forwarder, Upstream
from neargate.node.resolver.server import Server

_PORTS = 64
_NOBODY = 65534
_FILES, _MEMORY = 4096, 1 << 30
_PR_SET_NO_NEW_PRIVS = 38
_RECEIVE_BYTES = 1 << 20
_LOOK_SECONDS = 10.0


def open_sockets(address: str, first: int) -> tuple[socket.socket, socket.socket]:
    """For datagrams and for connections, on the first port that is free for both. Raise OSError."""
    for port in range(first, first + _PORTS):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            datagrams.bind((address, port))
            listener.bind((address, port))
        except OSError:
            datagrams.close()
            listener.close()
            if port == first + _PORTS - 1:
                raise
        else:
            return datagrams, listener
    raise OSError("no port")


def _tell(directory: Path, port: int) -> None:
    draft = directory / f"{PORT_FILE}.new"
    draft.write_text(f"{os.getpid()} {port}")
    draft.replace(directory / PORT_FILE)


def _let_go() -> None:
    """No rights are needed from here on, and none can be got back.

    Modules are: nobody may read where they are, so those that are loaded when they are used are loaded now.
    """
    dns.rdata.load_all_types()  # type: ignore[no-untyped-call]
    importlib.import_module("encodings.idna")
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="neargate.node.resolver")
    parser.add_argument("--address", required=True)
    parser.add_argument("--clients", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--first-port", type=int, required=True)
    parser.add_argument("--upstream", type=Path, default=Path("/etc/resolv.conf"))
    arguments = parser.parse_args()
    try:
        datagrams, listener = open_sockets(arguments.address, arguments.first_port)
    except OSError as error:
        sys.exit(f"no port of {arguments.address} can be opened: {error}")
    shelf = Shelf(os.open(arguments.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    _tell(arguments.directory, datagrams.getsockname()[1])
    _let_go()
    upstream = Upstream(arguments.upstream, arguments.address)
    server = Server(shelf, Forwarder(upstream.servers), arguments.clients)
    asyncio.run(_serve(server, shelf, datagrams, listener))


async def _serve(server: Server, shelf: Shelf, datagrams: socket.socket, listener: socket.socket) -> None:
    """Until it is ended, or its directory is gone: nobody would ever find it again to end it."""
    serving = asyncio.create_task(server.serve(datagrams, listener))
    while not serving.done() and not shelf.gone:
        await asyncio.wait({serving}, timeout=_LOOK_SECONDS)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    main()
