"""EROFS images of our own making, mounted by the kernel and checked by fsck.erofs, against what went in."""

import contextlib
import itertools
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neargate.node.shim import kernel
from neargate.oci import digest as digests
from neargate.oci.builder import BuildError, build
from tests.unit.oci.archive import hardlink, member, symlink, tar

pytestmark = pytest.mark.root
LIMIT = 1 << 30
_numbers = itertools.count()


def made(place: Path, *layers: bytes, limit: int = LIMIT) -> Path:
    """The image of these tars."""
    number = next(_numbers)
    blobs = []
    for at, layer in enumerate(layers):
        blob = place / f"{number}.{at}.tar"
        blob.write_bytes(layer)
        blobs.append((blob, digests.of(layer)))
    image = place / f"{number}.erofs"
    size = build(blobs, image, limit)
    assert image.stat().st_size == size
    for blob, _ in blobs:
        blob.unlink()
    return image


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[Path]:
    target = image.with_suffix(".mnt")
    target.mkdir()
    kernel.mount_erofs(str(image), str(target))
    try:
        yield target
    finally:
        kernel.umount(str(target))
        target.rmdir()


@dataclass
class Found:
    """What the kernel says of one file."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    nlink: int
    content: Any = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


def seen(root: Path) -> dict[str, Found]:
    found: dict[str, Found] = {}
    todo = [root]
    while todo:
        path = todo.pop()
        status = path.lstat()
        content: Any = None
        if stat.S_ISDIR(status.st_mode):
            todo += path.iterdir()
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
            assert status.st_size == len(content)
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(path.readlink())
        elif not stat.S_ISFIFO(status.st_mode):
            content = (os.major(status.st_rdev), os.minor(status.st_rdev))
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        found[str(path.relative_to(root))] = Found(
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink, content, xattrs
        )
    return found


def fsck(image: Path) -> None:
    done = subprocess.run(["fsck.erofs", str(image)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "<E>" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_all_kinds_of_files(tmp_path: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service+ep
    big = os.urandom(3_000_001)
    image = made(
        tmp_path,
        tar(
            member("./", mode=0o751, uid=1, gid=2, mtime=1_000_000),
            member("d/", mode=0o1777, uid=3, gid=4, mtime=2_000_000),
            member("d/empty", mtime=5),
            member(
                "d/small", b"hello\n", mode=0o4755, uid=70_000, gid=3_000_000_000, mtime=1_700_000_000.125
            ),
            member("d/block", b"b" * 4096),
            member("d/block1", b"c" * 4097),
            member("d/big", big, mode=0o600),
            member("d/cap", b"x", xattrs={"security.capability": capability, "user.note": b"a\xffb"}),
            symlink("l", "d/small"),
            symlink("far", "t" * 3999),
            hardlink("hard", "d/small"),
            hardlink("hard2", "d/small"),
            member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            member("disk", type=tarfile.BLKTYPE, devmajor=259, devminor=700),
            member("pipe", type=tarfile.FIFOTYPE, mode=0o620),
            member("naïve \n\t'\"", b"odd"),
            member("n" * 255, b"long"),
        ),
    )
    fsck(image)
    with mounted(image) as root:
        found = seen(root)
    top = found.pop(".")
    assert (top.mode, top.uid, top.gid, top.mtime_ns, top.nlink) == (stat.S_IFDIR | 0o751, 1, 2, 10**15, 3)
    d = found.pop("d")
    assert (d.mode, d.uid, d.gid, d.mtime_ns, d.nlink) == (stat.S_IFDIR | 0o1777, 3, 4, 2 * 10**15, 2)
    small = Found(stat.S_IFREG | 0o4755, 70_000, 3_000_000_000, 1_700_000_000_125_000_000, 3, b"hello\n")
    regular = stat.S_IFREG | 0o644
    assert found == {
        "d/empty": Found(regular, 0, 0, 5 * 10**9, 1, b""),
        "d/small": small,
        "hard": small,
        "hard2": small,
        "d/block": Found(regular, 0, 0, 0, 1, b"b" * 4096),
        "d/block1": Found(regular, 0, 0, 0, 1, b"c" * 4097),
        "d/big": Found(stat.S_IFREG | 0o600, 0, 0, 0, 1, big),
        "d/cap": Found(
            regular, 0, 0, 0, 1, b"x", {"security.capability": capability, "user.note": b"a\xffb"}
        ),
        "l": Found(stat.S_IFLNK | 0o777, 0, 0, 0, 1, b"d/small"),
        "far": Found(stat.S_IFLNK | 0o777, 0, 0, 0, 1, b"t" * 3999),
        "null": Found(stat.S_IFCHR | 0o666, 0, 0, 0, 1, (1, 3)),
        "disk": Found(stat.S_IFBLK | 0o644, 0, 0, 0, 1, (259, 700)),
        "pipe": Found(stat.S_IFIFO | 0o620, 0, 0, 0, 1),
        "naïve \n\t'\"": Found(regular, 0, 0, 0, 1, b"odd"),
        "n" * 255: Found(regular, 0, 0, 0, 1, b"long"),
    }


@pytest.mark.parametrize("count", [0, 1, 100, 101, 400, 5000])
def test_directories_of_any_size(tmp_path: Path, count: int) -> None:
    names = [f"{n:x}{'y' * (n % 40)}" for n in range(count)]
    image = made(tmp_path, tar(member("d/"), *(member(f"d/{name}", name.encode()) for name in names)))
    fsck(image)
    with mounted(image) as root:
        assert sorted(path.name for path in (root / "d").iterdir()) == sorted(names)
        assert all((root / "d" / name).read_bytes() == name.encode() for name in names)
        assert not (root / "d" / "missing").exists()


def test_directories_in_directories(tmp_path: Path) -> None:
    path = "/".join(f"d{n}" for n in range(200))
    image = made(tmp_path, tar(member(f"{path}/f", b"deep")))
    with mounted(image) as root:
        assert (root / path / "f").read_bytes() == b"deep"
        assert (root / path / ".." / ".." / "d198" / "d199" / "f").read_bytes() == b"deep"
        assert (root / "d0" / "..").samefile(root)
        assert (root / path / "..").samefile((root / path).parent)


def test_directory_entries_that_end_at_a_block_s_edge(tmp_path: Path) -> None:
    """12 bytes and a name each, `.` and `..` first: some of these fill 4096 bytes to the last one."""
    for length in range(1, 256, 23):
        fitting = (4096 - 27) // (12 + length)
        names = [f"{n:03d}".ljust(length, "z")[:length] for n in range(fitting + 3)]
        names = sorted(set(names))
        image = made(tmp_path, tar(*(member(f"d/{name}") for name in names)))
        fsck(image)
        with mounted(image) as root:
            assert sorted(path.name for path in (root / "d").iterdir()) == names


def test_extended_attributes_up_to_the_bound(tmp_path: Path) -> None:
    given = {f"user.{n}": bytes([n]) * (n * 40) for n in range(12)}
    image = made(tmp_path, tar(member("d/", xattrs=given), member("f", b"x", xattrs=given)))
    with mounted(image) as root:
        found = seen(root)
    assert found["f"].xattrs == found["d"].xattrs == given


def test_layers_with_whiteouts(tmp_path: Path) -> None:
    image = made(
        tmp_path,
        tar(member("a/keep", b"1"), member("a/gone", b"1"), member("b/x", b"1"), member("same", b"1")),
        tar(member("a/.wh.gone"), member("b/.wh..wh..opq"), member("b/y", b"2"), member("same", b"22")),
        tar(hardlink("again", "a/keep")),
    )
    fsck(image)
    with mounted(image) as root:
        found = {name: one.content for name, one in seen(root).items() if one.content is not None}
    assert found == {"a/keep": b"1", "again": b"1", "b/y": b"2", "same": b"22"}


def test_nothing_of_a_hostile_layer_reaches_the_host(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    image = made(
        tmp_path,
        tar(
            symlink("up", f"../../../../../../..{tmp_path}"),
            member("up/outside", b"evil"),
            symlink("up/l", "/etc"),
        ),
    )
    assert outside.read_text() == "mine"
    with mounted(image) as root:
        assert (root / str(tmp_path).lstrip("/") / "outside").read_bytes() == b"evil"


def test_an_image_without_layers(tmp_path: Path) -> None:
    image = made(tmp_path)
    fsck(image)
    with mounted(image) as root:
        assert list(root.iterdir()) == []


def test_a_limit_of_the_unpacked_size(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="larger than 4000000 bytes when unpacked"):
        made(tmp_path, tar(member("big", b"x" * 5_000_000)), limit=4_000_000)
    with pytest.raises(BuildError, match="larger than 4000000 bytes when decompressed"):
        made(tmp_path, tar(member("small")) + bytes(5_000_000), limit=4_000_000)
    two = tar(member("a", b"x" * 3_000_000)), tar(member("b", b"y" * 3_000_000))
    with pytest.raises(BuildError, match="larger than 4000000 bytes when unpacked"):
        made(tmp_path, *two, limit=4_000_000)


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) < 256)
CONTENTS = st.one_of(
    st.binary(max_size=50), st.integers(4000, 70_000).map(lambda n: os.urandom(64) * (n // 64 + 1))
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Path -> member, parents before children; every kind of file."""
    folders = [""]
    found: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for _ in range(draw(st.integers(0, 25))):
        path = draw(st.sampled_from(folders)) + draw(NAMES)
        if path in found:
            continue
        about: dict[str, Any] = {
            "mode": draw(st.integers(0, 0o7777)),
            "uid": draw(st.integers(0, 2**32 - 2)),
            "gid": draw(st.integers(0, 2**32 - 2)),
            "mtime": draw(st.integers(0, 2**40)),
        }
        kind = draw(st.sampled_from(["file", "file", "dir", "dir", "link", "fifo", "char"]))
        if kind == "dir":
            found[path] = member(path + "/", **about)
            folders.append(path + "/")
        elif kind == "file":
            values = st.dictionaries(
                st.sampled_from(["user.a", "user.b"]), st.binary(min_size=1, max_size=99)
            )
            found[path] = member(path, draw(CONTENTS), xattrs=draw(values), **about)
        elif kind == "link":
            found[path] = member(path, type=tarfile.SYMTYPE, linkname=draw(NAMES), **about)
        elif kind == "fifo":
            found[path] = member(path, type=tarfile.FIFOTYPE, **about)
        else:
            numbers = {"devmajor": draw(st.integers(0, 4095)), "devminor": draw(st.integers(0, 2**20 - 1))}
            found[path] = member(path, type=tarfile.CHRTYPE, **numbers, **about)
    return found


def expected(info: tarfile.TarInfo, data: bytes) -> tuple[Any, ...]:
    kind, content = {
        tarfile.DIRTYPE: (stat.S_IFDIR, None),
        tarfile.REGTYPE: (stat.S_IFREG, data),
        tarfile.SYMTYPE: (stat.S_IFLNK, info.linkname.encode()),
        tarfile.FIFOTYPE: (stat.S_IFIFO, None),
        tarfile.CHRTYPE: (stat.S_IFCHR, (info.devmajor, info.devminor)),
    }[info.type]
    mode = 0o777 if kind == stat.S_IFLNK else info.mode
    prefix = "SCHILY.xattr."
    xattrs = {
        key.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
        for key, value in info.pax_headers.items()
        if key.startswith(prefix)
    }
    return kind | mode, info.uid, info.gid, int(info.mtime) * 10**9, content, xattrs


@given(trees(), st.integers(1, 3))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_tree(tmp_path: Path, tree: dict[str, tuple[tarfile.TarInfo, bytes]], parts: int) -> None:
    """In one layer or in several, what goes in is what the kernel shows."""
    members = list(tree.values())
    cuts = [len(members) * n // parts for n in range(parts + 1)]
    wanted = {path: expected(info, data) for path, (info, data) in tree.items()}
    image = made(tmp_path, *(tar(*members[a:b]) for a, b in itertools.pairwise(cuts)))
    with mounted(image) as root:
        found = seen(root)
    del found["."]
    assert {
        path: (one.mode, one.uid, one.gid, one.mtime_ns, one.content, one.xattrs)
        for path, one in found.items()
    } == wanted
    fsck(image)
    image.unlink()
