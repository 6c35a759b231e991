"""CBOR bodies: those of JSON but for blobs, timestamps and floats, which CBOR has types for.

Used by codec_cbor.py. cbor2 does the bytes; of its many tags only the epoch's is taken from a client.
"""

import io
from typing import IO, Any, NoReturn, cast

import cbor2

from neargate.wire import bounds, json_body
from neargate.wire.json_body import Reader, Writer, wrong
from neargate.wire.values import FLOATS, Malformed, timestamp_of

encode = cbor2.dumps

_EPOCH = 1
_MAX_DEPTH = 256
# Every tag that cbor2 would make something of: dates, big numbers, regular expressions, shared values, ...
_BUILT_IN = (0, *range(2, 6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


class _Epoch:
    __slots__ = ("seconds",)

    def __init__(self, seconds: Any) -> None:
        self.seconds = seconds


def _refuse(value: Any, immutable: bool) -> NoReturn:
    raise Malformed("The body has a CBOR tag that is not taken")


_TAGS = {_EPOCH: lambda value, immutable: _Epoch(value), **dict.fromkeys(_BUILT_IN, _refuse)}
_SAFELY: dict[str, Any] = {
    "tag_hook": _refuse,
    "semantic_decoders": _TAGS,
    "max_depth": _MAX_DEPTH,
    "strict_hashable_types": True,
}


class _Counted(io.RawIOBase):
    """A body read piece by piece: with each, other threads get a turn, and there may be only so many."""

    def __init__(self, body: bytes) -> None:
        self._read = io.BytesIO(body).read
        self._left = bounds.MAX_READS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise bounds.too_many(bounds.MAX_READS, "values")
        return self._read(size)


def decode(body: bytes) -> Any:
    try:
        if len(body) > bounds.LONG_BYTES:
            return cbor2.load(cast(IO[bytes], _Counted(body)), **_SAFELY)
        return cbor2.loads(body, **_SAFELY)
    except (cbor2.CBORError, ValueError) as problem:
        raise Malformed(f"The body is not valid CBOR: {problem}") from None


class Readers(json_body.Readers):
    def scalar(self, kind: str) -> Reader:
        if kind == "blob":
            return _read_blob
        if kind == "timestamp":
            return _read_timestamp
        return super().scalar(kind)


def _read_blob(value: Any) -> bytes:
    if type(value) is not bytes:
        raise wrong(value, "a Blob")
    return value


def _read_timestamp(value: Any) -> float:
    seconds = value.seconds if type(value) is _Epoch else value
    if type(seconds) not in (int, float):
        raise wrong(seconds, "a Timestamp")
    return timestamp_of(seconds)


class Writers(json_body.Writers):
    def scalar(self, kind: str, form: str) -> Writer | None:
        if kind == "timestamp":
            return lambda value: cbor2.CBORTag(_EPOCH, value)
        return float if kind in FLOATS else None
