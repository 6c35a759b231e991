"""A router that speaks Fluentd's forward protocol, as a program of a container: it says each record as JSON.

Run in an image of tests/support/python_image.py. First it says its configuration file, then lines of {"tag",
"time": [seconds, nanoseconds], "record", "chunk"}; last, that it was asked to stop. Tests that play the
router themselves use its `unpacker`.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import Any

import msgpack

CONFIG = "/fluent-bit/etc/fluent-bit.conf"
SOCKET = "/var/run/fluent.sock"


def _extension(code: int, data: bytes) -> Any:
    assert code == 0 and len(data) == 8, (code, data)
    return [int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big")]


def unpacker() -> msgpack.Unpacker:
    """Feed it bytes; it gives whole messages: [tag, [[time, record], ...], options]."""
    return msgpack.Unpacker(raw=False, ext_hook=_extension, max_buffer_size=8 << 20)


def acknowledgement(chunk: str) -> bytes:
    return bytes(msgpack.packb({"ack": chunk}))


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _serve(connection: socket.socket) -> None:
    messages = unpacker()
    while data := connection.recv(1 << 16):
        messages.feed(data)
        for tag, entries, options in messages:
            assert options["size"] == len(entries)
            for time, record in entries:
                _say(tag=tag, time=time, record=record, chunk=options.get("chunk"))
            if "chunk" in options:
                connection.sendall(acknowledgement(options["chunk"]))


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with open(CONFIG) as file:  # noqa: PTH123
        text = file.read()
    try:
        os.unlink(CONFIG)  # noqa: PTH108
        kept = False
    except OSError:
        kept = True
    _say(config=text, kept=kept)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)  # noqa: PTH108
    inputs = [socket.socket(socket.AF_UNIX), socket.socket()]
    inputs[1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    inputs[0].bind(SOCKET)
    inputs[1].bind(("127.0.0.1", 24224))
    for listener in inputs:
        listener.listen(16)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    signal.sigwait([signal.SIGTERM])
    _say(stopped=True)


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
