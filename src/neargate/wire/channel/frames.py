"""The binary messages of Session Manager's data channel, and the JSON that stands in some of them. Pure.

off  len                                    off  len
  0    4  header length, 116                 56    8  flags: 1 SYN, 2 FIN
  4   32  message type, padded               64   16  message id, its low half first
 36    4  schema version, 1                  80   32  SHA-256 of the payload
 40    8  created, ms since the epoch       112    4  payload type
 48    8  sequence number                   116    4  payload length, then the payload
"""

import hashlib
import hmac
import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADER_LENGTH = 116
MAX_PAYLOAD = 64 * 1024
CHUNK = 1024
"""Bytes of a stream that go into one message, as AWS's agent and plugin cut them."""
_HEADER = struct.Struct(">I32sIQQQ16s32sII")
_SCHEMA = 1
_NO_ID = uuid.UUID(int=0)

INPUT, OUTPUT, ACKNOWLEDGE = "input_stream_data", "output_stream_data", "acknowledge"
CHANNEL_CLOSED = "channel_closed"
START, PAUSE = "start_publication", "pause_publication"

DATA, ERROR, SIZE, PARAMETER = 1, 2, 3, 4
HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 5, 6, 7
FLAG, STDERR, EXIT_CODE = 10, 11, 12
TERMINATE_SESSION = 2
"""The flag by which a client ends its session."""


class FrameError(Exception):
    """The other side does not keep to the layout; the message says where."""


@dataclass(frozen=True, slots=True)
class Frame:
    type: str
    sequence: int
    payload: bytes = field(repr=False)
    payload_type: int = 0
    flags: int = 0
    id: uuid.UUID = _NO_ID
    created_ms: int = 0


def encode(frame: Frame) -> bytes:
    digest = hashlib.sha256(frame.payload).digest()
    head = _HEADER.pack(
        HEADER_LENGTH, frame.type.encode().ljust(32), _SCHEMA, frame.created_ms, frame.sequence, frame.flags,
        _swapped(frame.id.bytes), digest, frame.payload_type, len(frame.payload),
    )  # fmt: skip
    return head + frame.payload


def decode(data: bytes) -> Frame:
    """Raise FrameError."""
    if len(data) < _HEADER.size:
        raise FrameError(f"a message has {len(data)} bytes: its header alone has {_HEADER.size}")
    header, kind, schema, created, sequence, flags, id, digest, payload_type, length = _HEADER.unpack_from(
        data
    )
    if header != HEADER_LENGTH:
        raise FrameError(f"the header length is {header}: it must be {HEADER_LENGTH}")
    if schema != _SCHEMA:
        raise FrameError(f"the schema version is {schema}: it must be {_SCHEMA}")
    payload = data[_HEADER.size :]
    if length != len(payload):
        raise FrameError(f"the payload length is {length}, but {len(payload)} bytes follow")
    if length > MAX_PAYLOAD:
        raise FrameError(f"a payload of {length} bytes: at most {MAX_PAYLOAD} are taken")
    if not hmac.compare_digest(digest, hashlib.sha256(payload).digest()):
        raise FrameError("the payload's digest is another one")
    try:
        text = kind.rstrip(b" \0").decode("ascii")
    except UnicodeDecodeError:
        raise FrameError("the message type is not ASCII") from None
    return Frame(text, sequence, payload, payload_type, flags, uuid.UUID(bytes=_swapped(id)), created)


def _swapped(id: bytes) -> bytes:
    return id[8:] + id[:8]


# --- the JSON in messages


def text(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def read(payload: bytes) -> dict[str, Any]:
    """A JSON object. Raise FrameError."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FrameError("a payload is not a JSON object")
    return found


def acknowledgement(frame: Frame, now_ms: int) -> Frame:
    """What tells the sender of a message that it is here."""
    payload = {
        "AcknowledgedMessageType": frame.type,
        "AcknowledgedMessageId": str(frame.id),
        "AcknowledgedMessageSequenceNumber": frame.sequence,
        "IsSequentialMessage": True,
    }
    return Frame(ACKNOWLEDGE, 0, text(payload), flags=3, id=uuid.uuid4(), created_ms=now_ms)


def acknowledged(payload: bytes) -> int:
    """The sequence number that an acknowledgement is of. Raise FrameError."""
    number = read(payload).get("AcknowledgedMessageSequenceNumber")
    if not isinstance(number, int) or isinstance(number, bool):
        raise FrameError("an acknowledgement has no sequence number")
    return number


def size(payload: bytes) -> tuple[int, int]:
    """(columns, rows) of a terminal. Raise FrameError."""
    found = read(payload)
    columns, rows = found.get("cols"), found.get("rows")
    if not isinstance(columns, int) or not isinstance(rows, int):
        raise FrameError("a size has no cols or rows")
    return min(max(columns, 0), 0xFFFF), min(max(rows, 0), 0xFFFF)


def flag(payload: bytes) -> int:
    """Raise FrameError."""
    if len(payload) != 4:
        raise FrameError("a flag has not four bytes")
    return int.from_bytes(payload, "big")
