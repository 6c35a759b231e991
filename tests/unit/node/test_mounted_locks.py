"""Volumes with a user of their own, mounted through our server: locks."""

import contextlib
import errno
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.mounted import Mounter, mounting, run_as, users_tree

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return users_tree(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    with mounting(tmp_path) as mount:
        yield mount


_TRY = "fd = os.open(sys.argv[1], os.O_RDWR)\nfcntl.{}(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\nprint('got')"


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_hold_between_all(tree: Path, mount: Mounter, kind: str) -> None:
    mounts = [tree, mount(tree).place, mount(tree, "two").place]
    (mounts[1] / "f").touch(0o666)
    for one in mounts:
        with (one / "f").open("r+b") as file:
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            for other in mounts:
                assert run_as(0, _TRY.format(kind), other / "f") == "EAGAIN\n"
            getattr(fcntl, kind)(file, fcntl.LOCK_UN)
            assert run_as(0, _TRY.format(kind), mounts[1] / "f") == "got\n"
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
        assert [run_as(0, _TRY.format(kind), other / "f") for other in mounts] == ["got\n"] * 3


@contextlib.contextmanager
def _wanted(tree: Path, place: Path) -> Iterator[tuple[BinaryIO, threading.Thread, threading.Event]]:
    """Who holds the lock of a file, beside the mount; a thread that will wait for it through the mount; and
    whether it has got it."""
    (place / "f").touch()
    waited = threading.Event()
    with (tree / "f").open("r+b") as holder, (place / "f").open("r+b") as file:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def wait() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            waited.set()

        yield holder, threading.Thread(target=wait), waited


def test_a_lock_is_waited_for(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    with _wanted(tree, place) as (holder, thread, waited):
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
    assert run_as(0, _TRY.format("lockf"), tree / "f") == "EAGAIN\n"
    os.close(two)  # as POSIX has it: with any of them all locks are gone
    assert run_as(0, _TRY.format("lockf"), tree / "f") == "got\n"
    os.close(one)


def test_an_open_files_own_locks_end_with_it(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    (place / "f").touch()
    lock = struct.pack("hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    for _ in range(2):
        with (place / "f").open("r+b") as file:
            fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
            assert run_as(0, _TRY.format("lockf"), tree / "f") == "EAGAIN\n"
        deadline = time.monotonic() + 5  # a kernel tells of it when it comes to that
        while (said := run_as(0, _TRY.format("lockf"), tree / "f")) != "got\n":
            assert said == "EAGAIN\n" and time.monotonic() < deadline


def test_a_lock_is_got_while_others_ask_without_end(tree: Path, mount: Mounter) -> None:
    place = mount(tree).place
    with _wanted(tree, place) as (holder, thread, waited):
        script = "import os, sys\nwhile True:\n    os.stat(sys.argv[1])"
        busy = subprocess.Popen([sys.executable, "-I", "-S", "-c", script, str(place / "f")])
        thread.start()
        try:
            assert not waited.wait(0.5)
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert waited.wait(5)
        finally:
            busy.kill()
            busy.wait()
            thread.join()
