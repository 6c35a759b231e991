"""Volumes with a user of their own, mounted through our server: with this machine's kernel and processes."""

import errno
import fcntl
import mmap
import os
import secrets
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import neargate
from neargate.node.shares import backing
from neargate.node.shim import kernel
from tests.support.cgroups import remove_group
from tests.support.reachable import reachable

pytestmark = pytest.mark.root
UID, GID, OTHER_GID = 5000, 6000, 7000
_INSTANCE = secrets.token_hex(3)

_PARENT = """
import os, select, signal, sys
sys.path.append(sys.argv[1])
from neargate.node.shares.files import Terms
from neargate.node.shares.mounted import Server, Share
instance, tree, place, base, lenient, *user = sys.argv[2:]
root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
terms = Terms(0, int(base), lenient == "True", lenient == "True")
server = Server(instance, [Share(root, tuple(map(int, user)), terms, place)])
while True:
    print(server.pid, flush=True)
    while not select.select([0], [], [], 0.01)[0]:
        if server.pid and os.waitpid(server.pid, os.WNOHANG)[0]:
            server.died()
            print(server.pid, flush=True)
    os.read(0, 1)
    server.close()
    sys.exit()
"""


class Mounted:
    """A tree as its access point's users see it, at `place`."""

    def __init__(self, tree: Path, place: Path, base: int, lenient: bool, user: tuple[int, ...]) -> None:
        self.place = place
        packages = str(Path(neargate.__file__).parents[1])
        words = [packages, _INSTANCE, str(tree), str(place), str(base), str(lenient), *map(str, user)]
        command = [sys.executable, "-I", "-S", "-c", _PARENT, *words]
        self.parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.broker = self.told()

    def told(self) -> int:
        """The process that the server's parent waits for; said at its birth."""
        assert self.parent.stdout
        return int(self.parent.stdout.readline())

    @property
    def server(self) -> int:
        children = Path(f"/proc/{self.broker}/task/{self.broker}/children")
        deadline = time.monotonic() + 10
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(found[0])

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.parent.communicate(b"x", timeout=20)
        if self.parent.returncode:  # it was killed
            kernel.umount(str(self.place))
        else:
            assert not self.place.parent.exists()


Mounter = Callable[..., Mounted]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = reachable(tmp_path) / "tree"
    path.mkdir()
    os.chown(path, UID, GID)
    return path


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    with ExitStack() as stack:

        def mount(
            tree: Path,
            name: str = "mnt",
            *,
            base: int = 0,
            lenient: bool = False,
            user: tuple[int, ...] = (UID, GID),
        ) -> Mounted:
            mounted = Mounted(tree, tmp_path / name / "0", base, lenient, user)
            stack.callback(mounted.close)
            return mounted

        yield mount
    remove_group(_INSTANCE)


def _run(uid: int, script: str, *arguments: object) -> str:
    """What a Python script of another user says: its last line is the name of the error, if there was one."""
    body = "".join(f"    {line}\n" for line in script.splitlines())
    code = f"import errno, fcntl, os, sys\nos.setgid({uid})\nos.setuid({uid})\ntry:\n{body}"
    code += "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


# -- as whom all is done -----------------------------------------------------------------------------------


def test_every_user_is_the_access_points(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    for uid in (0, 1000, UID, 12345):
        assert _run(uid, "os.umask(0o27)\nopen(sys.argv[1], 'w').write('x')", place / f"f{uid}") == ""
        assert (
            _run(uid, "os.mkdir(sys.argv[1])\nos.symlink('a', sys.argv[1] + '/l')", place / f"d{uid}") == ""
        )
    for uid in (0, 1000, UID, 12345):
        for path in (tree / f"f{uid}", tree / f"d{uid}", tree / f"d{uid}/l"):
            assert _owner(path) == (UID, GID)
        assert (tree / f"f{uid}").stat().st_mode & 0o777 == 0o640
        assert _owner(place / f"f{uid}") == (UID, GID)
        for other in (0, 1000, 12345):
            assert _run(other, "print(open(sys.argv[1], 'r+').read())", place / f"f{uid}") == "x\n"
            assert _run(other, "os.chmod(sys.argv[1], 0o640)\nos.utime(sys.argv[1])", place / f"f{uid}") == ""


def test_what_the_access_points_user_may_not_do_nobody_may(tree: Path, mount: Mounter) -> None:
    (tree / "closed").write_text("closed")
    (tree / "closed").chmod(0o600)
    (tree / "shut").mkdir(mode=0o700)
    (tree / "open").write_text("open")
    (tree / "mine").write_text("mine")
    os.chown(tree / "mine", UID, GID)
    place = mount(tree).place
    for uid in (0, 1000, UID):
        assert _run(uid, "open(sys.argv[1])", place / "closed") == "EACCES\n"
        assert _run(uid, "os.listdir(sys.argv[1])", place / "shut") == "EACCES\n"
        assert _run(uid, "os.stat(sys.argv[1])", place / "shut/x") == "EACCES\n"
        assert _run(uid, "os.chdir(sys.argv[1])", place / "shut") == "EACCES\n"
        assert _run(uid, "open(sys.argv[1], 'a')", place / "open") == "EACCES\n"
        assert _run(uid, "os.chmod(sys.argv[1], 0o777)", place / "open") == "EPERM\n"
        assert _run(
            uid, "print(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[1], os.W_OK))", place / "open"
        ) == ("True False\n")
    for uid, gid in ((1000, -1), (0, -1), (-1, 1)):
        assert _run(0, f"os.chown(sys.argv[1], {uid}, {gid})", place / "mine") == "EPERM\n"
    assert _run(0, f"os.chown(sys.argv[1], {UID}, {GID})", place / "mine") == ""
    assert _owner(tree / "mine") == (UID, GID)


def test_its_further_groups_are_its_own(tree: Path, mount: Mounter) -> None:
    (tree / "groups").write_text("groups")
    os.chown(tree / "groups", 0, OTHER_GID)
    (tree / "groups").chmod(0o660)
    mine, others = mount(tree, user=(UID, GID, OTHER_GID)).place, mount(tree, "other").place
    assert _run(1000, "print(open(sys.argv[1], 'r+').read())", mine / "groups") == "groups\n"
    assert _run(0, "open(sys.argv[1])", others / "groups") == "EACCES\n"
    assert _run(0, "open(sys.argv[1], 'w')\nos.chown(sys.argv[1], -1, 7000)", mine / "new") == ""
    assert _owner(tree / "new") == (UID, OTHER_GID)


def test_numbers_are_those_of_the_sandbox(tree: Path, mount: Mounter) -> None:
    base = 1 << 30
    (tree / "high").write_text("")
    os.chown(tree / "high", 70000, 65536)
    place = mount(tree, base=base).place
    (place / "mine").write_text("")
    assert _owner(place / "mine") == (base + UID, base + GID)
    assert _owner(place / "high") == (70000, 65536)
    os.chown(place / "mine", base + UID, base + GID)
    with pytest.raises(PermissionError):
        os.chown(place / "mine", base + 1, -1)
    assert _owner(tree / "mine") == (UID, GID)


def test_a_kernel_that_checks_by_itself_is_told_what_the_user_may(tree: Path, mount: Mounter) -> None:
    (tree / "open").write_text("open")
    (tree / "open").chmod(0o604)
    place = mount(tree, lenient=True).place
    assert (place / "open").stat().st_mode & 0o777 == 0o644
    for path in (place / "file", place / "dir"):
        path.mkdir(mode=0o700) if path.name == "dir" else path.touch(0o600)
        os.chown(path, 1234, 1234)  # as it gives away what it has just made
        assert _owner(path) == (UID, GID)
        assert path.stat().st_mode & 0o777 == (0o777 if path.name == "dir" else 0o666)
        with pytest.raises(PermissionError):
            os.chown(path, 1234, 1234)
        assert (tree / path.name).stat().st_mode & 0o777 == (0o700 if path.name == "dir" else 0o600)


def test_times(tree: Path, mount: Mounter) -> None:
    (tree / "anybodys").touch()
    (tree / "anybodys").chmod(0o666)
    place = mount(tree).place
    assert _run(0, "os.utime(sys.argv[1])", place / "anybodys") == ""  # who may write it may touch it, ...
    assert _run(0, "os.utime(sys.argv[1], (1, 1))", place / "anybodys") == "EPERM\n"  # ... and no more
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
        assert [_names(other) for other in mounts] == [[], [], []]


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


# -- locks -------------------------------------------------------------------------------------------------

_TRY = "fd = os.open(sys.argv[1], os.O_RDWR)\nfcntl.{}(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\nprint('got')"


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_hold_between_all(tree: Path, mount: Mounter, kind: str) -> None:
    mounts = [tree, mount(tree).place, mount(tree, "two").place]
    (mounts[1] / "f").touch(0o666)
    for one in mounts:
        with (one / "f").open("r+b") as file:
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            for other in mounts:
                assert _run(0, _TRY.format(kind), other / "f") == "EAGAIN\n"
            getattr(fcntl, kind)(file, fcntl.LOCK_UN)
            assert _run(0, _TRY.format(kind), mounts[1] / "f") == "got\n"
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
        assert [_run(0, _TRY.format(kind), other / "f") for other in mounts] == ["got\n"] * 3


def test_a_lock_is_waited_for(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    (place / "f").touch()
    waited = threading.Event()
    with (tree / "f").open("r+b") as holder, (place / "f").open("r+b") as file:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def wait() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            waited.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not waited.wait(0.2)
        (place / "other").touch()  # nobody else waits
        fcntl.flock(holder, fcntl.LOCK_UN)
        assert waited.wait(5)
        thread.join()


def test_a_processes_locks_are_its_own(tree: Path, mount: Mounter) -> None:
    """Not its open files': it has no quarrel with itself, and none of them with what it has inherited."""
    place = mount(tree).place
    (place / "f").write_text("0123456789")
    one, two = (os.open(place / "f", os.O_RDWR) for _ in range(2))
    fcntl.lockf(one, fcntl.LOCK_EX)
    fcntl.lockf(two, fcntl.LOCK_EX)
    again = "try:\n    fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    again += "except OSError as error:\n    print(error.errno)\n"
    child = [sys.executable, "-I", "-S", "-c", f"import fcntl, sys\n{again}", str(one)]
    done = subprocess.run(child, pass_fds=[one], capture_output=True, text=True, timeout=20)
    assert done.stdout == f"{errno.EAGAIN}\n"
    # the child has closed the file, which is none of its parent's locks
    assert _run(0, _TRY.format("lockf"), tree / "f") == "EAGAIN\n"
    os.close(two)  # as POSIX has it: with any of them all locks are gone
    assert _run(0, _TRY.format("lockf"), tree / "f") == "got\n"
    os.close(one)


def test_an_open_files_own_locks_end_with_it(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    (place / "f").touch()
    lock = struct.pack("hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    for _ in range(2):
        with (place / "f").open("r+b") as file:
            fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
            assert _run(0, _TRY.format("lockf"), tree / "f") == "EAGAIN\n"
        deadline = time.monotonic() + 5  # a kernel tells of it when it comes to that
        while (said := _run(0, _TRY.format("lockf"), tree / "f")) != "got\n":
            assert said == "EAGAIN\n" and time.monotonic() < deadline


def test_a_lock_is_got_while_others_ask_without_end(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    (place / "f").touch()
    waited = threading.Event()
    with (tree / "f").open("r+b") as holder, (place / "f").open("r+b") as file:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def wait() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            waited.set()

        script = "import os, sys\nwhile True:\n    os.stat(sys.argv[1])"
        busy = subprocess.Popen([sys.executable, "-I", "-S", "-c", script, str(place / "f")])
        thread = threading.Thread(target=wait)
        thread.start()
        try:
            assert not waited.wait(0.5)
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert waited.wait(5)
        finally:
            busy.kill()
            busy.wait()
            thread.join()


# -- its processes -----------------------------------------------------------------------------------------


def test_the_server_sees_nothing_but_the_volume(tree: Path, mount: Mounter) -> None:
    mounted = mount(tree)
    (mounted.place / "f").touch()
    for pid, powers in ((mounted.server, 0b11011111), (mounted.broker, 1 << 21 | 1 << 7 | 1 << 6)):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["CapPrm"], 16) == powers
        assert status["NoNewPrivs"] == "1"
        assert _names(Path(f"/proc/{pid}/root")) == ["old", "proc"]
        assert _names(Path(f"/proc/{pid}/root/old")) == []
        for kind in ("mnt", "net", "ipc", "uts"):
            assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    pids = Path(f"/proc/{mounted.server}/status").read_text().split("NSpid:")[1].split("\n")[0].split()
    assert pids[-1] == "1"


def test_the_process_beside_the_server_keeps_nothing_that_it_is_sent(tree: Path) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end, file = os.open("/dev/fuse", os.O_RDWR), os.open(tree, os.O_PATH)
    before = _names(Path("/proc/self/fd"))
    for volume, number in ((0, 0), (0, 7), (5, 0), (0, -1)):
        socket.send_fds(there, [struct.pack("=ii", volume, number)], [file])
        with suppress(OSError, IndexError):  # it ends over what no server asks
            backing.answer(here, [(end, (UID, GID))])
    assert _names(Path("/proc/self/fd")) == before
    for fd in (end, file):
        os.close(fd)
    here.close()
    there.close()


@pytest.mark.parametrize("whom", ["server", "broker"])
def test_a_server_that_is_killed_is_made_anew(tree: Path, mount: Mounter, whom: str) -> None:
    mounted = mount(tree)
    place = mounted.place
    (place / "d").mkdir()
    (place / "d/f").write_text("kept")
    held = (tree / "d/f").open("r+b")
    fcntl.flock(held, fcntl.LOCK_EX)
    file = (place / "d/f").open("r+b", buffering=0)
    failed: list[int | None] = []

    def wait() -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            failed.append(error.errno)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.1)
    for _ in range(2):
        os.kill(mounted.server if whom == "server" else mounted.broker, signal.SIGKILL)
        mounted.broker = mounted.told()
        assert (place / "d/f").read_text() == (tree / "d/f").read_text()
        file.write(b"left")  # what was open is read and written by the kernel
        (place / "d/new").write_text("new")
        assert _names(place / "d") == ["f", "new"]
        (place / "d/new").unlink()
    waiter.join(10)
    assert failed == [errno.EIO]  # who waited for an answer of the one that died
    assert (tree / "d/f").read_text() == "leftleft"
    with pytest.raises(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its locks went with that one
    file.close()
    held.close()


def test_it_ends_with_its_parent(tree: Path, mount: Mounter) -> None:
    mounted = mount(tree)
    (mounted.place / "f").touch()
    pids = mounted.server, mounted.broker
    mounted.parent.kill()
    mounted.parent.wait(10)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(OSError) as caught:
        (mounted.place / "f").stat()
    assert caught.value.errno == errno.ENOTCONN
