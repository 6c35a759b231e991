"""The protocol between a virtual machine and its supervisor: framed messages.

Used on both sides (node/guest/agent.py, drivers/microvm/vmm). FRAME = kind, payload length; then the payload.
JSON frames are the messages of node/shim/main.py's protocol and a few more (vmm/birth.py has what is in a
`born`, plan.py what a `start` has besides):

    supervisor -> guest   {"op": "rehearse", ..., "start"}              as born, then that -> ready
                          {"op": "release"}                             let go of the scratch disk -> ready
                          {"op": "born", ...}                           be this sandbox -> states or failed
                          {"op": "taken", "container", "bytes"}         log bytes that the spool has taken
    guest -> supervisor   {"event": "ready"}                            booted; a template is frozen here

A LOG frame carries what a container wrote: LOG_HEAD = stream, length of the container's name; the name; the
bytes. A guest is hostile: the supervisor bounds what it takes (`Reader.limit`) and checks each field.
"""

import json
import os
import struct
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii
from typing import Any

FRAME = struct.Struct("<BI")
LOG_HEAD = struct.Struct("<BB")
JSON, LOG, CLOSED, FINISHED = 1, 2, 3, 4
"""CLOSED: one stream has ended. FINISHED: all of them have. Both have a LOG frame's payload without bytes."""
_DECODER = json.JSONDecoder()
_WORDS = {True: "true", False: "false"}
WINDOW = 128 * 1024
"""Log bytes of one container that may be on their way."""


class FrameError(Exception):
    """The other side does not keep to the protocol."""


def json_frame(message: dict[str, Any]) -> bytes:
    data = _json(message).encode()
    return FRAME.pack(JSON, len(data)) + data


def _json(value: Any) -> str:
    """As json.dumps, whose encoder is much code for the two messages of a container's start."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode_basestring_ascii(key)}:{_json(value[key])}" for key in value]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_json(item) for item in value]) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return _WORDS[value]
    return repr(value) if type(value) is int else json.dumps(value)


def read(fd: int) -> bytes:
    """The payload of the next frame, from a descriptor whose reads wait; empty at the stream's end. For a
    guest, which believes its supervisor: who does not, reads with `Reader`. Raise OSError."""
    head = _exactly(fd, FRAME.size)
    if not head:
        return head
    _kind, length = FRAME.unpack(head)
    return _exactly(fd, length)


def _exactly(fd: int, count: int) -> bytes:
    parts = [os.read(fd, count)]
    left = count - len(parts[0])
    while left and parts[-1]:
        parts.append(os.read(fd, left))
        left -= len(parts[-1])
    return b"" if left else b"".join(parts)


def log_frame(kind: int, container: str, stream: int, data: bytes = b"") -> bytes:
    name = container.encode()
    head = LOG_HEAD.pack(stream, len(name)) + name
    return FRAME.pack(kind, len(head) + len(data)) + head + data


def log_parts(payload: bytes) -> tuple[str, int, bytes]:
    """(container, stream, bytes). Raise FrameError."""
    if len(payload) < LOG_HEAD.size:
        raise FrameError("a log frame is too short")
    stream, length = LOG_HEAD.unpack_from(payload)
    end = LOG_HEAD.size + length
    if len(payload) < end:
        raise FrameError("a log frame is too short")
    return payload[LOG_HEAD.size : end].decode(errors="replace"), stream, payload[end:]


class Reader:
    """Puts frames together out of the bytes that come."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(kind, payload) of each frame that is whole. Raise FrameError on one beyond the limit."""
        buffer, at = self._buffer + data, 0
        while len(buffer) - at >= FRAME.size:
            kind, length = FRAME.unpack_from(buffer, at)
            if length > self._limit:
                self._buffer = b""
                raise FrameError(f"a frame of {length} bytes: at most {self._limit} are taken")
            if len(buffer) - at - FRAME.size < length:
                break
            at += FRAME.size + length
            yield kind, buffer[at - length : at]
        self._buffer = buffer[at:]


def message(payload: bytes) -> dict[str, Any]:
    """Raise FrameError on anything but a JSON object."""
    text, end = "", -1
    try:
        text = payload.decode()
        found, end = _DECODER.raw_decode(text)  # without what a loader does besides
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or end != len(text):
        raise FrameError("a frame is not a JSON object")
    return found
