"""The server of shared volumes for virtual machines, with this machine's kernel in the guest's place."""

import errno
import fcntl
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import neargate
from neargate.node.guest import shares
from neargate.node.shares import fuse
from neargate.node.shares.files import Volume
from neargate.node.shim import kernel
from tests.support.reachable import reachable

pytestmark = pytest.mark.root
Mounter = Callable[..., Path]


_SERVER = """
import os, socket, sys
sys.path.append(sys.argv[1])
from neargate.node.shares import serial
port, root, *user = map(int, sys.argv[2:])
with socket.socket(fileno=port) as end:
    pid = serial.start(end, [(root, tuple(user) or None)])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def _start(port: socket.socket, tree: Path, user: tuple[int, int] | None = None) -> subprocess.Popen[bytes]:
    """The server's parent, a process of one thread as the supervisor is: with it, the server goes."""
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    packages = str(Path(neargate.__file__).parents[1])
    numbers = [str(n) for n in (port.fileno(), root, *(user or ()))]
    command = [sys.executable, "-I", "-S", "-c", _SERVER, packages, *numbers]
    with port:
        process = subprocess.Popen(command, pass_fds=(port.fileno(), root))
    os.close(root)
    return process


@contextmanager
def _served(tree: Path, place: Path, user: tuple[int, int] | None = None) -> Iterator[Path]:
    """`tree` as a guest sees it, at `place`."""
    here, there = socket.socketpair()
    server = _start(here, tree, user)
    end = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    checked = "" if user else ",default_permissions"
    place.mkdir()
    options = f"fd={end},rootmode=40000,user_id=0,group_id=0,allow_other{checked}"
    kernel.mount("neargate-test", str(place), "fuse", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    requests = threading.Thread(target=shares._carry_requests, args=([end], there.fileno()), daemon=True)
    answers = threading.Thread(target=_carry_answers, args=(end, there), daemon=True)
    requests.start()
    answers.start()
    try:
        yield place
    finally:
        kernel.umount(str(place))
        server.kill()
        server.wait(10)
        requests.join(10)
        answers.join(10)
        there.close()
        os.close(end)


def _carry_answers(end: int, port: socket.socket) -> None:
    buffer = b""
    while data := port.recv(1 << 18):
        buffer += data
        while len(buffer) > 5 and len(buffer) > (length := struct.unpack_from("<xI", buffer)[0]):
            message, buffer = buffer[1 : 1 + length], buffer[1 + length :]
            try:
                os.write(end, message)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    return


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Mounter]:
    with ExitStack() as stack:

        def mount(tree: Path, name: str = "mnt", user: tuple[int, int] | None = None) -> Path:
            return stack.enter_context(_served(tree, tmp_path / name, user))

        yield mount


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = reachable(tmp_path) / "tree"
    path.mkdir()
    return path


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def _as_user(uid: int, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import os, sys\nos.setgid({uid})\nos.setuid({uid})\n{script}",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)


def test_files_are_the_trees_own(tree: Path, served: Mounter) -> None:
    mount = served(tree)
    (mount / "a").write_bytes(b"hello")
    assert (tree / "a").read_bytes() == b"hello"
    (tree / "b").write_bytes(b"there")
    assert (mount / "b").read_bytes() == b"there"
    assert _names(mount) == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        (mount / "c").read_bytes()


def test_large_files_and_places_within(tree: Path, served: Mounter) -> None:
    mount = served(tree)
    data = os.urandom(3_000_001)
    (mount / "large").write_bytes(data)
    assert (tree / "large").read_bytes() == data == (mount / "large").read_bytes()
    with (mount / "large").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"middle")
        file.truncate(2_000_000)
        os.fsync(file.fileno())
    data = data[:1_000_000] + b"middle" + data[1_000_006:2_000_000]
    assert (tree / "large").read_bytes() == data == (mount / "large").read_bytes()


def test_directories_links_and_names(tree: Path, served: Mounter) -> None:
    mount = served(tree)
    (mount / "d").mkdir(0o750)
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o750
    (mount / "d/x").write_text("x")
    (mount / "d/l").symlink_to("x")
    (mount / "d/h").hardlink_to(mount / "d/x")
    assert (mount / "d/l").readlink() == Path("x") and (mount / "d/l").read_text() == "x"
    assert (tree / "d/x").stat().st_nlink == 2
    (mount / "d/x").rename(mount / "moved")
    assert (tree / "moved").read_text() == "x"
    with pytest.raises(OSError, match="not empty"):
        (mount / "d").rmdir()
    for name in ("l", "h"):
        (mount / "d" / name).unlink()
    (mount / "d").rmdir()
    assert _names(tree) == ["moved"]
    name = "é" * 100
    (mount / name).write_text("")
    assert name in _names(tree)


def test_many_entries(tree: Path, served: Mounter) -> None:
    for number in range(3000):
        (tree / f"file-{number:05d}").touch()
    mount = served(tree)
    assert _names(mount) == _names(tree)
    assert sum(1 for entry in os.scandir(mount) if entry.stat().st_size == 0) == 3000
    for number in range(0, 3000, 7):  # more of them than the server keeps open
        (mount / f"file-{number:05d}").write_text(str(number))
    assert (tree / "file-02996").read_text() == "2996"


def test_owners_modes_and_times(tree: Path, served: Mounter) -> None:
    mount = served(tree)
    (mount / "f").write_text("x")
    os.chown(mount / "f", 1234, 5678)
    (mount / "f").chmod(0o640)
    os.utime(mount / "f", ns=(1_000_000_001, 2_000_000_002))
    found = (tree / "f").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o640)
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    (mount / "l").symlink_to("nowhere")
    os.chown(mount / "l", 77, 88, follow_symlinks=False)
    assert (tree / "l").lstat().st_uid == 77


def test_what_a_user_makes_is_its_own(tree: Path, served: Mounter) -> None:
    mount = served(tree)
    tree.chmod(0o777)
    done = _as_user(
        4321, "os.mkdir(sys.argv[1] + '/d'); open(sys.argv[1] + '/d/f', 'w').write('x')", str(mount)
    )
    assert done.returncode == 0, done.stderr
    assert [(tree / name).stat().st_uid for name in ("d", "d/f")] == [4321, 4321]
    mount.chmod(0o755)
    done = _as_user(4321, "open(sys.argv[1] + '/refused', 'w')", str(mount))
    assert "PermissionError" in done.stderr
    (tree / "secret").write_text("x")
    (tree / "secret").chmod(0o600)
    done = _as_user(4321, "open(sys.argv[1] + '/secret')", str(mount))
    assert "PermissionError" in done.stderr


def test_an_access_points_user_is_everyones(tree: Path, served: Mounter) -> None:
    (tree / "roots").write_text("x")
    (tree / "roots").chmod(0o600)
    inner = tree / "inner"
    inner.mkdir()
    os.chown(inner, 1001, 1002)
    mount = served(tree, user=(1001, 1002))
    for uid in (0, 4321):
        (inner / "f").unlink(missing_ok=True)
        done = _as_user(uid, "open(sys.argv[1] + '/inner/f', 'w').write('x')", str(mount))
        assert done.returncode == 0, done.stderr
        found = (inner / "f").stat()
        assert (found.st_uid, found.st_gid) == (1001, 1002)
    with pytest.raises(PermissionError):  # root of a task is nobody special there
        (mount / "roots").read_text()
    with pytest.raises(PermissionError):
        (mount / "new").write_text("")
    with pytest.raises(PermissionError):
        os.chown(mount / "inner/f", 0, 0)


def test_no_link_leads_out(tree: Path, served: Mounter, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("host")
    mount = served(tree)
    (tree / "out").symlink_to(outside)
    assert (mount / "out").readlink() == outside  # the guest's kernel goes that way in the guest
    answer = _ask(Volume(os.open(tree, os.O_PATH), None), fuse.OPEN, b"out")
    assert answer == -errno.EINVAL


def _ask(volume: Volume, opcode: int, name: bytes) -> int:
    """Look `name` up, and ask for something about it; the error, or 0."""
    entry = volume.serve((fuse.LOOKUP, 1, fuse.ROOT, 0, 0, name + b"\0"))
    if error := struct.unpack_from("<xxxxi", entry)[0]:
        return int(error)
    node = struct.unpack_from("<Q", entry, 16)[0]
    return int(struct.unpack_from("<xxxxi", volume.serve((opcode, 2, node, 0, 0, bytes(64))))[0])


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc/passwd", b"../../etc"])
def test_a_hostile_name_is_refused(tree: Path, name: bytes) -> None:
    volume = Volume(os.open(tree, os.O_PATH), None)
    for opcode, head in (
        (fuse.LOOKUP, b""),
        (fuse.UNLINK, b""),
        (fuse.MKDIR, bytes(8)),
        (fuse.MKNOD, struct.pack("<IIII", stat.S_IFREG, 0, 0, 0)),
        (fuse.CREATE, bytes(16)),
        (fuse.RENAME, struct.pack("<Q", 1) + b"x\0"),
        (fuse.LINK, struct.pack("<Q", 1)),
    ):
        answer = volume.serve((opcode, 7, fuse.ROOT, 0, 0, head + name + b"\0"))
        assert struct.unpack_from("<Ii", answer)[1] == -errno.EINVAL, opcode
    assert _names(tree) == []


def test_no_device_is_made_and_no_pipe_opened(tree: Path) -> None:
    volume = Volume(os.open(tree, os.O_PATH), None)
    request = struct.pack("<IIII", stat.S_IFCHR | 0o666, 0x103, 0, 0) + b"null\0"
    assert (
        struct.unpack_from("<Ii", volume.serve((fuse.MKNOD, 1, fuse.ROOT, 0, 0, request)))[1] == -errno.EPERM
    )
    os.mkfifo(tree / "pipe")
    assert _ask(volume, fuse.OPEN, b"pipe") == -errno.EINVAL


def test_unknown_nodes_handles_and_operations(tree: Path) -> None:
    volume = Volume(os.open(tree, os.O_PATH), None)
    for opcode, node, payload, expected in (
        (fuse.GETATTR, 99, bytes(16), errno.ESTALE),
        (fuse.READ, 1, struct.pack("<QQIIQII", 5, 0, 10, 0, 0, 0, 0), errno.EBADF),
        (fuse.READ, 1, b"short", errno.EINVAL),
        (fuse.SETLK, 1, bytes(48), errno.EBADF),
        (77, 1, b"", errno.ENOSYS),
    ):
        assert struct.unpack_from("<Ii", volume.serve((opcode, 1, node, 0, 0, payload)))[1] == -expected
    assert volume.serve((fuse.FORGET, 1, 99, 0, 0, struct.pack("<Q", 3))) == b""


def test_locks_hold_between_machines(tree: Path, served: Mounter) -> None:
    one, other = served(tree, "one"), served(tree, "other")
    (tree / "lock").touch()
    for lock in (lambda f, how: fcntl.flock(f, how), lambda f, how: fcntl.lockf(f, how)):
        with (one / "lock").open("r+") as first, (other / "lock").open("r+") as second:
            lock(first, fcntl.LOCK_EX)
            with pytest.raises(OSError):
                lock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waiter = threading.Thread(target=lock, args=(second, fcntl.LOCK_EX))
            waiter.start()
            time.sleep(0.1)
            assert waiter.is_alive()
            lock(first, fcntl.LOCK_UN)
            waiter.join(10)
            assert not waiter.is_alive()


def test_a_change_elsewhere_is_seen_when_opened(tree: Path, served: Mounter) -> None:
    one, other = served(tree, "one"), served(tree, "other")
    (one / "f").write_text("first")
    assert (other / "f").read_text() == "first"
    (one / "f").write_text("second, longer")
    deadline = time.monotonic() + 10
    while (other / "f").read_text() != "second, longer":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_directory_that_is_moved_away_stays_within(tree: Path, served: Mounter, tmp_path: Path) -> None:
    volume_root = tree / "volume"
    (volume_root / "d").mkdir(parents=True)
    mount = served(volume_root)
    fd = os.open(mount / "d", os.O_RDONLY)
    (volume_root / "d").rename(tree / "elsewhere")
    with pytest.raises(OSError):
        os.open("../../../etc", os.O_RDONLY, dir_fd=fd)
    os.close(fd)


def test_garbage_ends_the_server(tree: Path) -> None:
    here, there = socket.socketpair()
    server = _start(here, tree)
    there.sendall(b"\0" + struct.pack("<I", 1 << 30) + bytes(60))
    assert server.wait(60) == 1
    assert there.recv(10) == b""
    there.close()
