"""System calls of the shim: what is found inside a root, pages of a process's own, loop devices."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from neargate.node.shim import kernel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Beside it is what no link in it leads to."""
    root = tmp_path / "root"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "outside").write_text("inside, too")
    (tmp_path / "outside").write_text("outside")
    links = {
        "absolute": "/etc/passwd", "up": "../../../../../../outside", "etc/deep/over": "/../../outside",
        "nowhere": f"{tmp_path}/outside", "directory": "/etc", "loop": "loop", "one": "two", "two": "/one",
        "magic": "/proc/self/root/etc/passwd", "gone": "/etc/gone",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("etc/passwd", "etc/passwd"),
        ("/etc/../etc/./passwd", "etc/passwd"),
        ("/../../etc/passwd", "etc/passwd"),
        ("/", "."),
        ("/../..", "."),
        ("/absolute", "etc/passwd"),
        ("/directory/passwd", "etc/passwd"),
        ("/up", "outside"),
        ("/etc/deep/over", "outside"),
        ("/../outside", "outside"),
        ("/nowhere", None),
        ("/gone", None),
        ("/magic", None),
        ("/missing", None),
        ("/missing/below", None),
        ("/etc/missing", None),
    ],
)
def test_what_is_found_is_inside_the_root(root: Path, path: str, found: str | None) -> None:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    place = kernel.find_in_root(fd, path, os.O_PATH)
    if found is None:
        assert place == -1
        with pytest.raises(FileNotFoundError):
            kernel.open_in_root(fd, path, os.O_PATH)
    else:
        assert Path(f"/proc/self/fd/{place}").samefile(root / found)
        assert not os.get_inheritable(place)
        os.close(place)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("/loop", os.O_PATH, errno.ELOOP),
        ("/one", os.O_PATH, errno.ELOOP),
        ("/etc/passwd/below", os.O_PATH, errno.ENOTDIR),
        ("/etc/passwd", os.O_PATH | os.O_DIRECTORY, errno.ENOTDIR),
        ("/etc", os.O_WRONLY, errno.EISDIR),
        ("/" + "x" * 300, os.O_PATH, errno.ENAMETOOLONG),
    ],
)
def test_all_else_that_goes_wrong_is_raised(root: Path, path: str, flags: int, code: int) -> None:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for call in (kernel.find_in_root, kernel.open_in_root):
        with pytest.raises(OSError) as caught:
            call(fd, path, flags)
        assert caught.value.errno == code
    os.close(fd)


def test_without_a_root_nothing_is_missing() -> None:
    fd = os.open("/", os.O_PATH)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        kernel.find_in_root(fd, "/etc", os.O_PATH)
    assert caught.value.errno == errno.EBADF


def test_a_link_itself_can_be_found(root: Path) -> None:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    link = kernel.find_in_root(fd, "/gone", os.O_PATH | os.O_NOFOLLOW)
    assert os.readlink("", dir_fd=link) == "/etc/gone"
    for open_fd in (fd, link):
        os.close(open_fd)


def test_directories_are_made_inside_the_root(root: Path) -> None:
    kernel.make_directories(str(root), "/a/../directory/new/b")
    assert (root / "etc/new/b").is_dir() and (root / "a").is_dir()
    kernel.make_directories(str(root), "/directory/new/b")
    assert sorted(path.name for path in root.parent.iterdir()) == ["outside", "root"]


_PAGES = """
import mmap, os, resource, sys
from neargate.node.shim import kernel

PAGES, SIZE = 4096, mmap.PAGESIZE
private = mmap.mmap(-1, PAGES * SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
rights = (0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)
others = [mmap.mmap(-1, SIZE * 4, prot=prot) for prot in rights]
program = open(sys.executable, "rb")
others.append(mmap.mmap(program.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ))
try:
    private.madvise(mmap.MADV_NOHUGEPAGE)
except OSError:
    pass  # this kernel has none
for page in range(PAGES):
    private[page * SIZE] = 1

def faults(own):
    read, write = os.pipe()
    if not os.fork():
        if own:
            kernel.own_pages()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for page in range(PAGES):
            private[page * SIZE] = 2
        after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        os.write(write, str(after - before).encode())
        os._exit(0)
    os.close(write)
    found = os.read(read, 100).decode()
    os.wait()
    return found

print(faults(False), faults(True), private[0])
"""


def test_a_process_that_owns_its_pages_copies_none_when_it_writes() -> None:
    """A fork's are its parent's until then."""
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", _PAGES], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    shared, own, parents = map(int, done.stdout.split())
    assert shared >= 4096 and own < 400, done.stdout
    assert parents == 1


def test_what_a_process_cannot_have_is_no_error() -> None:
    """Here, in all that a test run has mapped."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            kernel.own_pages()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.root
def test_a_loop_device_that_another_is_taking_is_waited_for(tmp_path: Path) -> None:
    """The kernel names it as free until the other has it: here somebody has claimed it, and lets go of it."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    free = f"/dev/loop{fcntl.ioctl(control, kernel._LOOP_CTL_GET_FREE)}"
    os.close(control)
    claimed = os.open(free, os.O_RDONLY | os.O_EXCL)
    other = threading.Thread(target=lambda: (time.sleep(0.3), os.close(claimed)))
    other.start()
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    with (tmp_path / "disk").open("r+b") as backing:
        device, fd = kernel.loop_device(backing.fileno())
    os.close(fd)
    other.join()
    assert Path(device).is_block_device()
