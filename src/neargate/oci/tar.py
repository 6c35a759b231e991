"""Tar streams of image layers: ustar, pax and GNU headers, parsed by hand because a layer may be hostile
and has tens of thousands of entries (the standard library's reader is far slower and keeps every member).

Called by builder.py in the child process. Paths are bytes, as the file system has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 512
_META_LIMIT = 1024 * 1024
"""Bytes of one extended header: a real one has a few hundred."""
_FILE, _LINK, _SYMLINK, _CHAR, _BLOCK, _DIR, _FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_HEADER_ONLY = (_LINK, _SYMLINK, _CHAR, _BLOCK, _DIR, _FIFO)
_XATTR = b"SCHILY.xattr."
_ID_LIMIT = 2**32


class TarError(ValueError):
    """The stream is no tar that may become an image; the message names the entry."""


@dataclass(slots=True)
class Entry:
    path: bytes
    kind: bytes
    """Type flag: 0 file, 1 hard link, 2 symlink, 3 and 4 devices, 5 directory, 6 fifo."""
    mode: int
    uid: int
    gid: int
    mtime: int
    mtime_nsec: int
    size: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


class Stream:
    """Bytes from an iterator of chunks, taken without copying where it can be."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer at the end of the stream."""
        if len(self._view) >= count:
            taken, self._view = self._view[:count], self._view[count:]
            return bytes(taken)
        parts: list[bytes] = []
        self.each(count, lambda view: parts.append(bytes(view)), strict=False)
        return b"".join(parts)

    def each(self, count: int, sink: Callable[[memoryview], object], *, strict: bool = True) -> None:
        """Hand the next `count` bytes to `sink`, piece by piece."""
        while count:
            if not self._view:
                chunk = next(self._chunks, None)
                if chunk is None:
                    if strict:
                        raise TarError("unexpected end of the layer")
                    return
                self._view = memoryview(chunk)
            piece, self._view = self._view[:count], self._view[count:]
            count -= len(piece)
            sink(piece)

    def drain(self) -> None:
        self._view = memoryview(b"")
        for _ in self._chunks:
            pass


def _nothing(_: memoryview) -> None:
    pass


class Reader:
    """Entries of a tar stream: `next`, then `data` (or not), then `next` again."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0

    def data(self, sink: Callable[[memoryview], object]) -> None:
        left, self._left = self._left, 0
        self._stream.each(left, sink)

    def next(self) -> Entry | None:
        """The next entry, its extended headers applied; None at the end (the stream is then drained)."""
        pax: dict[bytes, bytes] = {}
        long_name: bytes | None = None
        long_link: bytes | None = None
        while True:
            self._stream.each(self._left + self._padding, _nothing)
            self._left = self._padding = 0
            block = self._stream.take(BLOCK)
            if not block or block.count(0) == BLOCK:
                self._stream.drain()
                return None
            if len(block) < BLOCK:
                raise TarError("unexpected end of the layer inside a header")
            _verify(block)
            kind, size = block[156:157], _number(block[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                body = self._meta(size)
                if kind == b"x":
                    pax = _pax(body)
                elif kind == b"L":
                    long_name = body.split(b"\0", 1)[0]
                elif kind == b"K":
                    long_link = body.split(b"\0", 1)[0]
                continue
            entry = _entry(block, kind, size, pax, long_name, long_link)
            self._left, self._padding = entry.size, -entry.size % BLOCK
            return entry

    def _meta(self, size: int) -> bytes:
        if not 0 <= size <= _META_LIMIT:
            raise TarError(f"an extended header of {size} bytes: at most {_META_LIMIT} are accepted")
        body = self._stream.take(size)
        self._stream.each(-size % BLOCK, _nothing)
        if len(body) < size:
            raise TarError("unexpected end of the layer inside an extended header")
        return body


def _verify(block: bytes) -> None:
    stored = _number(block[148:156])
    if sum(block) - sum(block[148:156]) + 8 * 32 != stored:
        raise TarError("invalid tar header (checksum does not fit)")


def _number(field: bytes) -> int:
    """Octal text, or GNU's base 256 where the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value
    text = field.strip(b" \0")
    text = text.split(b"\0", 1)[0].rstrip(b" ")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise TarError(f"invalid number {field!r} in a tar header") from None


def _entry(
    block: bytes, kind: bytes, size: int, pax: dict[bytes, bytes], name: bytes | None, link: bytes | None
) -> Entry:
    path = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        path = block[345:500].split(b"\0", 1)[0] + b"/" + path
    path = pax.get(b"path", name if name is not None else path)
    if kind in (b"\0", b"7"):
        kind = _FILE
    if kind == _FILE and path.endswith(b"/"):
        kind = _DIR
    if kind not in _HEADER_ONLY and kind != _FILE:
        raise TarError(f"{_show(path)}: tar entries of type {kind!r} are not supported")
    if any(key.startswith(b"GNU.sparse.") for key in pax):
        raise TarError(f"{_show(path)}: sparse tar entries are not supported")
    if b"size" in pax:
        size = _decimal(pax[b"size"])
    mtime, nsec = _time(pax[b"mtime"]) if b"mtime" in pax else (_number(block[136:148]), 0)
    linked = pax.get(b"linkpath", link if link is not None else block[157:257].split(b"\0", 1)[0])
    entry = Entry(
        path,
        kind,
        _number(block[100:108]) & 0o7777,
        _decimal(pax[b"uid"]) if b"uid" in pax else _number(block[108:116]),
        _decimal(pax[b"gid"]) if b"gid" in pax else _number(block[116:124]),
        mtime,
        nsec,
        0 if kind in _HEADER_ONLY else size,
        linked,
        _number(block[329:337]) if kind in (_CHAR, _BLOCK) else 0,
        _number(block[337:345]) if kind in (_CHAR, _BLOCK) else 0,
    )
    if pax:
        entry.xattrs = {key[len(_XATTR) :]: v for key, v in pax.items() if key.startswith(_XATTR)}
    _bound(entry)
    return entry


def _bound(entry: Entry) -> None:
    if not 0 <= entry.uid < _ID_LIMIT or not 0 <= entry.gid < _ID_LIMIT:
        raise TarError(f"{_show(entry.path)}: owner {entry.uid}:{entry.gid} is out of range")
    if entry.size < 0:
        raise TarError(f"{_show(entry.path)}: negative size")
    if not 0 <= entry.major < 4096 or not 0 <= entry.minor < 1 << 20:
        raise TarError(f"{_show(entry.path)}: device {entry.major}:{entry.minor} is out of range")
    if not 0 <= entry.mtime < 1 << 62:
        entry.mtime = entry.mtime_nsec = 0


def _pax(body: bytes) -> dict[bytes, bytes]:
    """Records `<length> <key>=<value>\\n`; a later one wins."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 20)
        if space < 0:
            raise TarError("invalid pax header")
        end = at + _decimal(body[at:space])
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(body) or not equals or body[end - 1] != 0x0A:
            raise TarError("invalid pax header")
        if value or key.startswith(_XATTR):
            records[key] = value
        else:
            records.pop(key, None)  # an empty value means the header's own
        at = end
    return records


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise TarError(f"invalid number {text[:40]!r} in a pax header")
    return int(text)


def _time(text: bytes) -> tuple[int, int]:
    whole, _, fraction = text.partition(b".")
    if whole.startswith(b"-"):
        return 0, 0
    return _decimal(whole), int((fraction[:9] or b"0").ljust(9, b"0")) if fraction[:9].isdigit() else 0


def _show(path: bytes) -> str:
    return repr(path[:200].decode("utf-8", "replace"))
