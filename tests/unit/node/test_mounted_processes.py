"""Volumes with a user of their own, mounted through our server: its processes."""

import errno
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from neargate.node.shares import backing
from tests.support.mounted import GID, UID, Mounter, mounting, names_in, users_tree

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return users_tree(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    with mounting(tmp_path) as mount:
        yield mount


def test_the_server_sees_nothing_but_the_volume(tree: Path, mount: Mounter) -> None:
    mounted = mount(tree)
    (mounted.place / "f").touch()
    for pid, powers in ((mounted.server, 0b11011111), (mounted.broker, 1 << 21 | 1 << 7 | 1 << 6)):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["CapPrm"], 16) == powers
        assert status["NoNewPrivs"] == "1"
        assert names_in(Path(f"/proc/{pid}/root")) == ["old", "proc"]
        assert names_in(Path(f"/proc/{pid}/root/old")) == []
        for kind in ("mnt", "net", "ipc", "uts"):
            assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    pids = Path(f"/proc/{mounted.server}/status").read_text().split("NSpid:")[1].split("\n")[0].split()
    assert pids[-1] == "1"


def test_the_process_beside_the_server_keeps_nothing_that_it_is_sent(tree: Path) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end, file = os.open("/dev/fuse", os.O_RDWR), os.open(tree, os.O_PATH)
    before = names_in(Path("/proc/self/fd"))
    for volume, number in ((0, 0), (0, 7), (5, 0), (0, -1)):
        socket.send_fds(there, [struct.pack("=ii", volume, number)], [file])
        with suppress(OSError, IndexError):  # it ends over what no server asks
            backing.answer(here, [(end, (UID, GID))])
    assert names_in(Path("/proc/self/fd")) == before
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
        assert names_in(place / "d") == ["f", "new"]
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
