"""Volumes with a user of their own, mounted through our server: as whom all is done, and contents."""

import errno
import mmap
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from neargate.node.shim import kernel
from tests.support.mounted import (
    GID,
    OTHER_GID,
    UID,
    Mounter,
    mounting,
    names_in,
    owner_of,
    run_as,
    users_tree,
)

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return users_tree(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    with mounting(tmp_path) as mount:
        yield mount


# -- as whom all is done -----------------------------------------------------------------------------------


def test_every_user_is_the_access_points(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    for uid in (0, 1000, UID, 12345):
        assert run_as(uid, "os.umask(0o27)\nopen(sys.argv[1], 'w').write('x')", place / f"f{uid}") == ""
        assert (
            run_as(uid, "os.mkdir(sys.argv[1])\nos.symlink('a', sys.argv[1] + '/l')", place / f"d{uid}") == ""
        )
    for uid in (0, 1000, UID, 12345):
        for path in (tree / f"f{uid}", tree / f"d{uid}", tree / f"d{uid}/l"):
            assert owner_of(path) == (UID, GID)
        assert (tree / f"f{uid}").stat().st_mode & 0o777 == 0o640
        assert owner_of(place / f"f{uid}") == (UID, GID)
        for other in (0, 1000, 12345):
            assert run_as(other, "print(open(sys.argv[1], 'r+').read())", place / f"f{uid}") == "x\n"
            assert (
                run_as(other, "os.chmod(sys.argv[1], 0o640)\nos.utime(sys.argv[1])", place / f"f{uid}") == ""
            )


def test_what_the_access_points_user_may_not_do_nobody_may(tree: Path, mount: Mounter) -> None:
    (tree / "closed").write_text("closed")
    (tree / "closed").chmod(0o600)
    (tree / "shut").mkdir(mode=0o700)
    (tree / "open").write_text("open")
    (tree / "mine").write_text("mine")
    os.chown(tree / "mine", UID, GID)
    place = mount(tree).place
    for uid in (0, 1000, UID):
        assert run_as(uid, "open(sys.argv[1])", place / "closed") == "EACCES\n"
        assert run_as(uid, "os.listdir(sys.argv[1])", place / "shut") == "EACCES\n"
        assert run_as(uid, "os.stat(sys.argv[1])", place / "shut/x") == "EACCES\n"
        assert run_as(uid, "os.chdir(sys.argv[1])", place / "shut") == "EACCES\n"
        assert run_as(uid, "open(sys.argv[1], 'a')", place / "open") == "EACCES\n"
        assert run_as(uid, "os.chmod(sys.argv[1], 0o777)", place / "open") == "EPERM\n"
        assert run_as(
            uid, "print(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[1], os.W_OK))", place / "open"
        ) == ("True False\n")
    for uid, gid in ((1000, -1), (0, -1), (-1, 1)):
        assert run_as(0, f"os.chown(sys.argv[1], {uid}, {gid})", place / "mine") == "EPERM\n"
    assert run_as(0, f"os.chown(sys.argv[1], {UID}, {GID})", place / "mine") == ""
    assert owner_of(tree / "mine") == (UID, GID)


def test_its_further_groups_are_its_own(tree: Path, mount: Mounter) -> None:
    (tree / "groups").write_text("groups")
    os.chown(tree / "groups", 0, OTHER_GID)
    (tree / "groups").chmod(0o660)
    mine, others = mount(tree, user=(UID, GID, OTHER_GID)).place, mount(tree, "other").place
    assert run_as(1000, "print(open(sys.argv[1], 'r+').read())", mine / "groups") == "groups\n"
    assert run_as(0, "open(sys.argv[1])", others / "groups") == "EACCES\n"
    assert run_as(0, "open(sys.argv[1], 'w')\nos.chown(sys.argv[1], -1, 7000)", mine / "new") == ""
    assert owner_of(tree / "new") == (UID, OTHER_GID)


def test_numbers_are_those_of_the_sandbox(tree: Path, mount: Mounter) -> None:
    base = 1 << 30
    (tree / "high").write_text("")
    os.chown(tree / "high", 70000, 65536)
    place = mount(tree, base=base).place
    (place / "mine").write_text("")
    assert owner_of(place / "mine") == (base + UID, base + GID)
    assert owner_of(place / "high") == (70000, 65536)
    os.chown(place / "mine", base + UID, base + GID)
    with pytest.raises(PermissionError):
        os.chown(place / "mine", base + 1, -1)
    assert owner_of(tree / "mine") == (UID, GID)


def test_a_kernel_that_checks_by_itself_is_told_what_the_user_may(tree: Path, mount: Mounter) -> None:
    (tree / "open").write_text("open")
    (tree / "open").chmod(0o604)
    place = mount(tree, lenient=True).place
    assert (place / "open").stat().st_mode & 0o777 == 0o644
    for path in (place / "file", place / "dir"):
        path.mkdir(mode=0o700) if path.name == "dir" else path.touch(0o600)
        os.chown(path, 1234, 1234)  # as it gives away what it has just made
        assert owner_of(path) == (UID, GID)
        assert path.stat().st_mode & 0o777 == (0o777 if path.name == "dir" else 0o666)
        with pytest.raises(PermissionError):
            os.chown(path, 1234, 1234)
        assert (tree / path.name).stat().st_mode & 0o777 == (0o700 if path.name == "dir" else 0o600)


def test_times(tree: Path, mount: Mounter) -> None:
    (tree / "anybodys").touch()
    (tree / "anybodys").chmod(0o666)
    place = mount(tree).place
    assert run_as(0, "os.utime(sys.argv[1])", place / "anybodys") == ""  # who may write it may touch it, ...
    assert run_as(0, "os.utime(sys.argv[1], (1, 1))", place / "anybodys") == "EPERM\n"  # ... and no more
    (place / "old").touch()
    os.utime(place / "old", ns=(-1_500_000_000, -2_500_000_000))  # before 1970
    for path in (place / "old", tree / "old"):
        assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (-1_500_000_000, -2_500_000_000)


# -- contents ----------------------------------------------------------------------------------------------


def test_contents_are_one_with_the_trees(tree: Path, mount: Mounter) -> None:
    """Seen at once by who has a file open, either way, and mapped, too."""
    mounts = [tree, mount(tree).place, mount(tree, "two").place]
    (mounts[1] / "f").write_bytes(bytes(8192))
    os.truncate(mounts[1] / "f", 8192)
    files = [os.open(path / "f", os.O_RDWR) for path in mounts]
    maps = [mmap.mmap(fd, 8192) for fd in files]
    for number, fd in enumerate(files):
        os.pwrite(fd, b"%d" % number, number)
        assert [os.pread(other, 1, number) for other in files] == [b"%d" % number] * 3
        maps[number][4096] = number + 65
        assert [m[4096] for m in maps] == [number + 65] * 3
        assert [os.pread(other, 1, 4096) for other in files] == [b"%c" % (number + 65)] * 3
        os.ftruncate(fd, 10000 + number)
        assert [os.lseek(other, 0, os.SEEK_END) for other in files] == [10000 + number] * 3
        assert [(path / "f").stat().st_size for path in mounts] == [10000 + number] * 3
    for m in maps:
        m.close()
    for fd in files:
        os.close(fd)


def test_names_are_one_with_the_trees(tree: Path, mount: Mounter) -> None:
    mounts = [tree, mount(tree).place, mount(tree, "two").place]
    for one in mounts:
        (one / "a").write_text("a")
        assert all((other / "a").read_text() == "a" for other in mounts)
        (one / "a").rename(one / "b")
        assert not any((other / "a").exists() for other in mounts)
        (one / "b").chmod(0o604)
        assert [(other / "b").stat().st_mode & 0o777 for other in mounts] == [0o604] * 3
        (one / "c").hardlink_to(one / "b")
        assert [(other / "b").stat().st_nlink for other in mounts] == [2] * 3
        assert len({(other / n).stat().st_ino for other in mounts for n in "bc"}) == 1
        (one / "b").unlink()
        (one / "c").unlink()
        os.chown(tree, UID, GID)
        assert [names_in(other) for other in mounts] == [[], [], []]


def test_an_open_file_outlives_its_name(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    with (place / "f").open("w+b", buffering=0) as file:
        file.write(b"one")
        (place / "f").unlink()
        file.write(b"two")
        os.fsync(file.fileno())
        assert os.pread(file.fileno(), 9, 0) == b"onetwo" and os.fstat(file.fileno()).st_nlink == 0
        (place / "f").write_bytes(b"other")
        (place / "g").write_bytes(b"over")
        (place / "g").rename(place / "f")
        assert os.pread(file.fileno(), 9, 0) == b"onetwo"
    assert (tree / "f").read_bytes() == b"over"


def test_holes(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    with (place / "f").open("w+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"x" * 4096, 1 << 30)
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 1 << 30
        assert (place / "f").stat().st_blocks <= 64
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        assert (tree / "f").stat().st_blocks >= 2048
    punch = ["fallocate", "--punch-hole", "--length", str(1 << 20), str(place / "f")]
    subprocess.run(punch, check=True)
    assert (tree / "f").stat().st_blocks <= 64
    assert (tree / "f").stat().st_size == (1 << 30) + 4096


def test_a_full_file_system_says_so(tree: Path, mount: Mounter) -> None:
    kernel.mount("tmpfs", str(tree), "tmpfs", 0, "size=1m,mode=777")
    try:
        place = mount(tree).place
        with (place / "f").open("wb", buffering=0) as file, pytest.raises(OSError) as caught:
            for _ in range(32):
                file.write(bytes(1 << 16))
        assert caught.value.errno == errno.ENOSPC
        assert os.statvfs(place).f_bavail == 0
    finally:
        kernel.umount(str(tree))


def test_a_file_system_too_deep_for_the_kernel_to_read(tree: Path, mount: Mounter) -> None:
    """There the server does it: slower, and the same."""
    below = mount(tree).place
    place = mount(below, "above").place
    (place / "f").write_bytes(b"x" * 300000)
    assert (place / "f").read_bytes() == (tree / "f").read_bytes() == b"x" * 300000
    with (place / "f").open("r+b", buffering=0) as file:
        assert os.pread(file.fileno(), 2, 0) == b"xx"
        (tree / "f").write_bytes(b"other")
        assert os.pread(file.fileno(), 9, 0) == b"other"
        with mmap.mmap(file.fileno(), 5) as mapped:
            mapped[0] = 65
            mapped.flush()
    assert (tree / "f").read_bytes() == b"Ather"


def test_nothing_leads_out(tree: Path, mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tree / "up").symlink_to("../secret")
    (tree / "a").mkdir()
    os.chown(tree / "a", UID, GID)
    place = mount(tree).place
    inside = os.open(place / "a", os.O_PATH)
    (tree / "a").rename(tmp_path / "away")
    assert str((place / "up").readlink()) == "../secret"  # followed where it is read, so in the container
    with pytest.raises(OSError):
        os.open("../secret", os.O_RDONLY, dir_fd=inside)
    os.close(inside)
    with pytest.raises(PermissionError):
        os.mknod(place / "disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
