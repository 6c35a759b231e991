"""One small file out of an EROFS image, without a mount: the uncompressed subset that erofs.py writes, and
the compact inodes that mkfs.erofs makes besides.

Called by the microVM tier's supervisor. An image is hostile: each offset and size is checked against what was
read, and whatever is unusual (a link on the way, compression, chunks) is `Unreadable`, never followed.
On-disk format: linux/fs/erofs/erofs_fs.h.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from neargate.oci.erofs_format import BLOCK, DIRENT, INLINE, MAGIC, PLAIN

_SUPER = struct.Struct("<I8xBxH24xI36xI")
_KNOWN_INCOMPATIBLE = 1
"""What was compressed would be padded before, not after: nothing here is."""
_FORMAT = struct.Struct("<HHH")
_KNOWN_FORMAT = 0b1111
_COMPACT = struct.Struct("<8xI4xI")
_EXTENDED = struct.Struct("<8xQI")
_MOST_OF_DIRECTORY = 64 * BLOCK


class Unreadable(ValueError):
    """This reader does not know what the file says; a mount may."""


@dataclass(frozen=True, slots=True)
class _Inode:
    mode: int
    size: int
    layout: int
    block: int
    """First of its data."""
    tail: int
    """Offset of what follows its head, where an inline one's last part is."""


def read(image: str, path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of a regular file; None: there is none of that name. Raise Unreadable or
    OSError."""
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _Image(fd).read(path, limit)
    finally:
        os.close(fd)


class _Image:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        magic, bits, self._root, self._meta, incompatible = _SUPER.unpack(self._at(1024, _SUPER.size))
        if magic != MAGIC or 1 << bits != BLOCK or incompatible & ~_KNOWN_INCOMPATIBLE:
            raise Unreadable("not an image of this kind")

    def read(self, path: str, limit: int) -> bytes | None:
        inode = self._inode(self._root)
        for name in path.strip("/").split("/"):
            if not stat.S_ISDIR(inode.mode):
                raise Unreadable(f"{path}: not all of it are directories")
            nid = self._find(inode, name.encode())
            if nid is None:
                return None
            inode = self._inode(nid)
        if not stat.S_ISREG(inode.mode):
            raise Unreadable(f"{path}: not a regular file")
        return self._data(inode, min(inode.size, limit))

    def _inode(self, nid: int) -> _Inode:
        at = self._meta * BLOCK + nid * 32
        format_, xattrs, mode = _FORMAT.unpack(self._at(at, _FORMAT.size))
        if format_ & ~_KNOWN_FORMAT:
            raise Unreadable("an inode of an unknown kind")
        kind = _EXTENDED if format_ & 1 else _COMPACT
        size, block = kind.unpack(self._at(at, kind.size))
        head = 64 if format_ & 1 else 32
        tail = at + head + (12 + 4 * (xattrs - 1) if xattrs else 0)
        return _Inode(mode, size, format_ >> 1 & 7, block, tail)

    def _data(self, inode: _Inode, count: int) -> bytes:
        if inode.layout not in (PLAIN, INLINE):
            raise Unreadable("its data is not laid out flat")
        blocks = inode.size // BLOCK * BLOCK if inode.layout == INLINE else inode.size
        if inode.layout == INLINE and not 0 < inode.size - blocks <= BLOCK - inode.tail % BLOCK:
            raise Unreadable("an inline part that leaves its block")
        found = self._at(inode.block * BLOCK, min(count, blocks)) if blocks else b""
        if count > len(found):
            found += self._at(inode.tail, count - len(found))
        return found

    def _find(self, directory: _Inode, name: bytes) -> int | None:
        if directory.size > _MOST_OF_DIRECTORY:
            raise Unreadable("a very large directory")
        data = self._data(directory, directory.size)
        last, wanted = b"", None
        for at in range(0, len(data), BLOCK):
            for found, nid in _entries(data[at : at + BLOCK]):
                if found <= last:
                    raise Unreadable("a directory's names are not in order")
                last = found
                wanted = nid if found == name else wanted
        return wanted

    def _at(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._fd, count, offset)
        except (OSError, OverflowError) as error:
            raise Unreadable(str(error)) from None
        if len(data) != count:
            raise Unreadable("it ends too early")
        return data


def _entries(block: bytes) -> Iterator[tuple[bytes, int]]:
    """(name, inode's number) of a directory's block: heads, then the names that they point at."""
    if len(block) < DIRENT.size:
        raise Unreadable("a directory ends too early")
    _nid, first, _kind = DIRENT.unpack_from(block)
    if not first or first % DIRENT.size or first > len(block):
        raise Unreadable("a directory's heads are none")
    heads = [DIRENT.unpack_from(block, at) for at in range(0, first, DIRENT.size)]
    ends = [offset for _nid, offset, _kind in heads[1:]] + [len(block)]
    for (nid, start, _kind), end in zip(heads, ends, strict=True):
        yield block[start:end].split(b"\0", 1)[0], nid
