"""An EROFS image, written directly: file data goes to its final block as the layer is decompressed, and the
metadata follows once the tree is known. No scratch directory, no second copy, no mount, no root.

Called by builder.py. On-disk format: linux/fs/erofs/erofs_fs.h (uncompressed subset: flat plain and flat
inline inodes, inline extended attributes). tests/unit/oci/test_erofs.py holds it
against fsck.erofs and the kernel.

    block 0            superblock at 1024
    blocks 1 .. m-1    file data, in the order it came
    blocks m ..        inodes (64 bytes each, then xattrs, then an inline tail), then large directories
"""

import os
import stat
import struct
import threading
from collections.abc import Iterator

from neargate.oci.erofs_format import BLOCK, DIRENT, INLINE, MAGIC, PLAIN
from neargate.oci.tree import Node

_INODE = struct.Struct("<HHHHQIIIIQII16x")
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHH38x")
_COMPAT_MTIME = 2
_FILE_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}
_XATTR_PREFIXES = ((b"user.", 1), (b"security.", 6))
_ARENA = 256
"""Blocks that a layer reserves at a time for its small files."""
SMALL = 16 * BLOCK


class Space:
    """Blocks of the image, handed out to the layers that are written at the same time."""

    def __init__(self, fd: int, limit_bytes: int) -> None:
        self.fd = fd
        self._limit = limit_bytes // BLOCK
        self._next = 1
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        return self._next

    def reserve(self, blocks: int) -> int:
        """First of `blocks` blocks in a row. Raise OverflowError beyond the limit."""
        with self._lock:
            start, self._next = self._next, self._next + blocks
            if self._next > self._limit or self._next >= 1 << 32:
                raise OverflowError
            return start


class Arena:
    """Small files of one layer, gathered into one write per MiB."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._buffer = bytearray(_ARENA * BLOCK)
        self._start = 0
        self._used = _ARENA

    def add(self, data: bytes) -> int:
        """Block where `data` (at most SMALL bytes) will be."""
        blocks = -(-len(data) // BLOCK)
        if self._used + blocks > _ARENA:
            self.flush()
            self._start, self._used = self._space.reserve(_ARENA), 0
        at = self._used * BLOCK
        self._buffer[at : at + len(data)] = data
        self._used += blocks
        return self._start + at // BLOCK

    def flush(self) -> None:
        if self._start:
            write_at(self._space.fd, memoryview(self._buffer)[: self._used * BLOCK], self._start * BLOCK)
            self._buffer = bytearray(_ARENA * BLOCK)


def write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def finish(fd: int, space_used: int, top: Node) -> int:
    """Write the metadata of the tree and the superblock; the image's size in bytes."""
    nodes = list(_order(top))
    meta, plain = _place(nodes, space_used)
    buffer = bytearray(meta)
    extra: list[bytes] = []
    for number, node in enumerate(nodes, start=1):
        _emit(buffer, extra, number, node, plain.get(id(node), 0))
    total = space_used + meta // BLOCK + sum(map(len, extra)) // BLOCK
    write_at(fd, memoryview(bytes(buffer) + b"".join(extra)), space_used * BLOCK)
    os.truncate(fd, total * BLOCK)
    head = _SUPER.pack(
        MAGIC, 0, _COMPAT_MTIME, 12, 0, top.nid, len(nodes), 0, 0, total, space_used, 0, b"", b"", 0, 0, 0, 0
    )  # fmt: skip
    write_at(fd, memoryview(head), 1024)
    return total * BLOCK


def _order(top: Node) -> Iterator[Node]:
    """Every inode once, the root first; link counts are made on the way."""
    seen: set[int] = set()
    todo = [(top, top)]
    while todo:
        node, parent = todo.pop()
        if node.children is not None:
            node.links += 2
            if node is not parent:
                parent.links += 1
            todo.extend((child, node) for child in node.children.values())
            node.parent = parent
            node.size = _directory_size(node)
        else:
            node.links += 1
        if id(node) not in seen:
            seen.add(id(node))
            yield node


def _place(nodes: list[Node], meta_block: int) -> tuple[int, dict[int, int]]:
    """Give each inode its nid; (bytes of the inode area, block of each directory that is not inline)."""
    at = 64  # nid 0 means none
    large: list[Node] = []
    for node in nodes:
        size = 64 + _xattr_size(node.xattrs)
        if _is_inline(node):
            size += node.size
        elif node.children is not None:
            large.append(node)
        if at % BLOCK + size > BLOCK:
            at += -at % BLOCK
        node.nid = at // 32
        at += size + -size % 64
    meta = at + -at % BLOCK
    block = meta_block + meta // BLOCK
    plain: dict[int, int] = {}
    for node in large:
        plain[id(node)] = block
        block += -(-node.size // BLOCK)
    return meta, plain


def _is_inline(node: Node) -> bool:
    inlined = node.children is not None or stat.S_ISLNK(node.mode)
    return inlined and 64 + _xattr_size(node.xattrs) + node.size <= BLOCK


def _emit(buffer: bytearray, extra: list[bytes], number: int, node: Node, block: int) -> None:
    inline = _is_inline(node)
    place = block or node.block
    if stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        place = node.rdev
    xattrs = _xattr_bytes(node.xattrs)
    count = (len(xattrs) - 12) // 4 + 1 if xattrs else 0
    at = node.nid * 32
    layout = INLINE if inline else PLAIN
    _INODE.pack_into(
        buffer, at, 1 | layout << 1, count, node.mode, 0, node.size, place, number,
        node.uid, node.gid, node.mtime, node.mtime_nsec, node.links,
    )  # fmt: skip
    buffer[at + 64 : at + 64 + len(xattrs)] = xattrs
    tail = at + 64 + len(xattrs)
    if node.children is not None:
        body = _directory(node)
        if inline:
            buffer[tail : tail + len(body)] = body
        else:
            extra.append(body + bytes(-len(body) % BLOCK))
    elif stat.S_ISLNK(node.mode):
        buffer[tail : tail + len(node.target)] = node.target


def _xattr_size(xattrs: dict[bytes, bytes]) -> int:
    return len(_xattr_bytes(xattrs)) if xattrs else 0


def _xattr_bytes(xattrs: dict[bytes, bytes]) -> bytes:
    if not xattrs:
        return b""
    out = bytearray(12)
    for name, value in sorted(xattrs.items()):
        prefix, index = next((p, i) for p, i in _XATTR_PREFIXES if name.startswith(p))
        short = name[len(prefix) :]
        out += struct.pack("<BBH", len(short), index, len(value)) + short + value
        out += bytes(-len(out) % 4)
    return bytes(out)


def _blocks(node: Node) -> Iterator[list[bytes]]:
    """Names of a directory, `.` and `..` among them, sorted and cut into blocks."""
    assert node.children is not None
    batch: list[bytes] = []
    used = 0
    for name in sorted((b".", b"..", *node.children)):
        need = DIRENT.size + len(name)
        if used + need > BLOCK:
            yield batch
            batch, used = [], 0
        batch.append(name)
        used += need
    yield batch


def _directory_size(node: Node) -> int:
    *full, last = _blocks(node)
    return len(full) * BLOCK + sum(DIRENT.size + len(name) for name in last)


def _directory(node: Node) -> bytes:
    assert node.children is not None
    parts: list[bytes] = []
    for names in _blocks(node):
        offset = len(names) * DIRENT.size
        heads = bytearray()
        for name in names:
            child = _child(node, name)
            heads += DIRENT.pack(child.nid, offset, _FILE_TYPES[stat.S_IFMT(child.mode)])
            offset += len(name)
        parts.append(bytes(heads) + b"".join(names))
    padded = [part + bytes(-len(part) % BLOCK) for part in parts[:-1]]
    return b"".join([*padded, parts[-1]])


def _child(node: Node, name: bytes) -> Node:
    if name == b".":
        return node
    if name == b"..":
        return node.parent or node
    assert node.children is not None
    return node.children[name]
