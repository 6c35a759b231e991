"""The file tree that layers add up to, in memory: nothing of a hostile layer ever touches the host's files.

Called by builder.py, layer after layer; read by erofs.py. Rules (OCI image specification, layer changesets):
whiteouts hide only what lower layers have; a symlink in the way is followed inside the root; `..` is refused.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from neargate.oci.tar import Entry, TarError

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_PATH_MAX = 4096
_NAME_MAX = 255
_TARGET_MAX = 4000
"""Bytes of a symbolic link: what fits beside its inode in one block."""
_DEPTH_MAX = 256
_FOLLOW_MAX = 40
_TYPES = {
    b"0": stat.S_IFREG,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}
_MOUNTED_DIRECTORIES = (b"dev", b"proc", b"sys")
_MOUNTED_FILES = (b"hostname", b"hosts", b"resolv.conf")
"""In /etc."""
# Kept extended attributes. trusted.overlay.* would steer the overlay that tasks mount on top of the image.
_KEPT = (b"user.", b"security.capability")
_XATTR_VALUE_MAX = 3072
_XATTR_TOTAL_MAX = 3500


class Node:
    """A file of the image. `children` is a dict for directories and None else."""

    __slots__ = (
        "block",
        "children",
        "gid",
        "layer",
        "links",
        "mode",
        "mtime",
        "mtime_nsec",
        "nid",
        "parent",
        "rdev",
        "size",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, mode: int, layer: int) -> None:
        self.mode = mode
        self.layer = layer
        self.uid = self.gid = self.mtime = self.mtime_nsec = self.rdev = self.size = self.block = self.nid = 0
        self.links = 0
        self.target = b""
        self.parent: Node | None = None
        """Of directories, once erofs.py has ordered the tree."""
        self.xattrs: dict[bytes, bytes] = {}
        self.children: dict[bytes, Node] | None = {} if stat.S_ISDIR(mode) else None


@dataclass(slots=True)
class Change:
    """One entry of a layer, with the block where its data went."""

    entry: Entry
    block: int = 0


def root() -> Node:
    return Node(stat.S_IFDIR | 0o755, 0)


def apply(top: Node, layer: int, changes: Iterable[Change]) -> None:
    """Lay one layer over the tree. Raise TarError on an entry that cannot be."""
    changes = list(changes)
    for change in changes:
        parts = split(change.entry.path)
        if parts and parts[-1].startswith(_WHITEOUT):
            _whiteout(top, layer, parts)
    for change in changes:
        parts = split(change.entry.path)
        if parts and parts[-1].startswith(_WHITEOUT):
            continue
        _add(top, layer, parts, change)


def add_mount_points(top: Node) -> None:
    """Where something is mounted in every container: what an image lacks of these each container would have
    to make for itself, in its own layer. (Docker lays them over an image, too.)"""
    assert top.children is not None
    for name in _MOUNTED_DIRECTORIES:
        top.children.setdefault(name, Node(stat.S_IFDIR | 0o755, 0))
    etc = top.children.setdefault(b"etc", Node(stat.S_IFDIR | 0o755, 0)).children
    if etc is not None:  # else it is a link, or no directory
        for name in _MOUNTED_FILES:
            etc.setdefault(name, Node(stat.S_IFREG | 0o644, 0))


def split(path: bytes) -> list[bytes]:
    """Components of a path in the image. Raise TarError if it climbs or is too long."""
    if len(path) > _PATH_MAX or b"\0" in path:
        raise TarError(f"{path[:200]!r}: path is too long or has a NUL")
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise TarError(f"{path.decode('utf-8', 'replace')!r} climbs out of the image")
    if len(parts) > _DEPTH_MAX or any(len(part) > _NAME_MAX for part in parts):
        raise TarError(f"{path[:200]!r}: path is too deep or a name is too long")
    return parts


def _walk(top: Node, parts: list[bytes], layer: int, *, create: bool) -> Node | None:
    """The directory at `parts`, symlinks followed inside the root; None if it is not there."""
    todo = list(reversed(parts))
    trail = [top]
    followed = 0
    while todo:
        name = todo.pop()
        here = trail[-1]
        if name == b"..":
            if len(trail) > 1:
                trail.pop()
            continue
        assert here.children is not None
        child = here.children.get(name)
        if child is not None and stat.S_ISLNK(child.mode):
            followed += 1
            if followed > _FOLLOW_MAX:
                raise TarError(f"{b'/'.join(parts).decode('utf-8', 'replace')!r}: too many symbolic links")
            if child.target.startswith(b"/"):
                trail = [top]
            steps = [part for part in child.target.split(b"/") if part not in (b"", b".")]
            todo.extend(reversed(steps))
            continue
        if child is None or child.children is None:
            if not create:
                return None
            child = Node(stat.S_IFDIR | 0o755, layer)
            here.children[name] = child
        trail.append(child)
        if len(trail) > 2 * _DEPTH_MAX:
            raise TarError("the tree is too deep")
    return trail[-1]


def _whiteout(top: Node, layer: int, parts: list[bytes]) -> None:
    parent = _walk(top, parts[:-1], layer, create=False)
    if parent is None or parent.children is None:
        return
    if parts[-1] == _OPAQUE:
        parent.children.clear()  # whiteouts come first, so all that is here is of lower layers
    else:
        parent.children.pop(parts[-1][len(_WHITEOUT) :], None)


def _add(top: Node, layer: int, parts: list[bytes], change: Change) -> None:
    entry = change.entry
    if not parts:
        if entry.kind == b"5":
            _describe(top, entry)
        return
    parent = _walk(top, parts[:-1], layer, create=True)
    assert parent is not None and parent.children is not None
    name = parts[-1]
    if entry.kind == b"1":
        parent.children[name] = _linked(top, layer, entry)
        return
    old = parent.children.get(name)
    if entry.kind == b"5" and old is not None and old.children is not None:
        _describe(old, entry)
        old.layer = layer
        return
    node = Node(_TYPES[entry.kind] | entry.mode, layer)
    _describe(node, entry)
    node.size, node.block = entry.size, change.block
    if entry.kind == b"2":
        if not entry.link or len(entry.link) > _TARGET_MAX or b"\0" in entry.link:
            raise TarError(f"{entry.path!r}: symbolic link target is empty or too long")
        node.target, node.size, node.xattrs = entry.link, len(entry.link), {}
    node.rdev = (entry.minor & 0xFF) | entry.major << 8 | (entry.minor & ~0xFF) << 12
    parent.children[name] = node


def _linked(top: Node, layer: int, entry: Entry) -> Node:
    parts = split(entry.link)
    holder = _walk(top, parts[:-1], layer, create=False) if parts else None
    target = holder.children.get(parts[-1]) if holder is not None and holder.children is not None else None
    if target is None or target.children is not None:
        raise TarError(f"{entry.path!r}: hard link to {entry.link!r}, which is not a file of the image")
    return target


def _describe(node: Node, entry: Entry) -> None:
    mode = 0o777 if entry.kind == b"2" else entry.mode
    node.mode = stat.S_IFMT(node.mode) | mode
    node.uid, node.gid = entry.uid, entry.gid
    node.mtime, node.mtime_nsec = entry.mtime, entry.mtime_nsec
    kept = {k: v for k, v in entry.xattrs.items() if k.startswith(_KEPT) and len(k) <= _NAME_MAX}
    total = sum(len(k) + len(v) + 8 for k, v in kept.items())
    if total > _XATTR_TOTAL_MAX or any(len(v) > _XATTR_VALUE_MAX for v in kept.values()):
        raise TarError(f"{entry.path!r}: extended attributes of more than {_XATTR_TOTAL_MAX} bytes")
    node.xattrs = kept
