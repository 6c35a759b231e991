"""The server of shared volumes under a guest that keeps to nothing, and a host that changes all meanwhile."""

import errno
import os
import resource
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neargate.node.shares import files, fuse, tree
from neargate.node.shares.files import Volume

pytestmark = pytest.mark.root
_LOCKS = (fuse.GETLK, fuse.SETLK, fuse.SETLKW)
_ALL = (*files._OPERATIONS, *_LOCKS, fuse.FORGET, fuse.BATCH_FORGET, fuse.INTERRUPT, fuse.DESTROY, 99)
_NAMES = (b"a", b"b", b"d", b"out", b"..", b".", b"", b"x" * 300, b"a/b", b"../secret", b"\xff")
_small = st.integers(0, 12)
_word = st.one_of(_small, st.integers(0, (1 << 32) - 1), st.sampled_from([0o100644, 0o40755, 0o120777])).map(
    lambda n: struct.pack("<I", n)
)
_long = st.one_of(_small, st.integers(0, (1 << 64) - 1)).map(lambda n: struct.pack("<Q", n))
_named = st.lists(st.sampled_from(_NAMES), max_size=3).map(lambda names: b"\0".join(names) + b"\0")
_payload = st.one_of(
    st.binary(max_size=120),
    st.tuples(st.lists(st.one_of(_word, _long), max_size=9).map(b"".join), _named).map(b"".join),
)
_request = st.tuples(st.sampled_from(_ALL), st.integers(0, 12), _payload)


class Place:
    """A volume with a link out of it, beside what no guest may touch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.volume = directory / "volume"
        self.outside = directory / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("host")
        (directory / "secret").write_text("host")
        self.volume.mkdir()
        (self.volume / "out").symlink_to(self.outside)
        (self.volume / "d").mkdir()
        self._before = self._state()

    def _state(self) -> list[tuple[object, ...]]:
        found = [self.outside, *self.outside.iterdir(), self.directory / "secret"]
        return [
            (path, s.st_mode, s.st_uid, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns, s.st_size)
            for path in found
            for s in [path.lstat()]
        ]

    def untouched(self) -> bool:
        names = sorted(path.name for path in self.directory.iterdir())
        return self._state() == self._before and names == ["outside", "secret", "volume"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "place").mkdir()
    return Place(tmp_path / "place")


@pytest.fixture
def volume(place: Place) -> Iterator[Volume]:
    """Of files no larger than 64 MB: what is asked for may be any size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, limits[1]))
    root = os.open(place.volume, os.O_PATH)
    made = Volume(root, None)
    yield made
    # What it has open would end with a process of its own. Here it would leave select() none below 1024.
    for fd in (root, *made._handles.values(), *made.tree._open.values(), *made.tree._pinned.values()):
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _error(answer: bytes) -> int:
    return -int(struct.unpack_from("<xxxxi", answer)[0])


@given(requests=st.lists(_request, min_size=1, max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_requests_have_answers_and_touch_nothing_outside(
    place: Place, volume: Volume, requests: list[tuple[int, int, bytes]]
) -> None:
    for number, (opcode, node, payload) in enumerate(requests):
        answer = volume.serve((opcode, number, node, 0, 0, payload))
        assert len(answer) <= fuse.MAX_WRITE + 4096
        if answer and opcode != fuse.INTERRUPT:
            length, error, of = struct.unpack_from("<IiQ", answer)
            assert (length, of) == (len(answer), number)
            assert -133 <= error <= 0
    assert place.untouched()


def test_a_lock_of_no_kind_is_refused(place: Place, volume: Volume) -> None:
    (place.volume / "f").touch()
    node = _made(volume, fuse.ROOT, b"f")
    answer = volume.serve((fuse.OPEN, 1, node, 0, 0, fuse.OPEN_IN.pack(os.O_RDWR, 0)))
    handle = struct.unpack_from("<Q", answer, 16)[0]
    lock = fuse.LOCK_IN.pack(handle, 1, 0, 10, 16384, 1, fuse.LOCK_IS_FLOCK, 0)
    for opcode in _LOCKS:
        assert _error(volume.serve((opcode, 2, node, 0, 0, lock))) == errno.EINVAL


def _made(volume: Volume, parent: int, name: bytes) -> int:
    """Node of an entry; 0 if there is none."""
    answer = volume.serve((fuse.LOOKUP, 1, parent, 0, 0, name + b"\0"))
    return 0 if _error(answer) else int(struct.unpack_from("<Q", answer, 16)[0])


def test_directories_swapped_for_links_lead_nowhere(place: Place, volume: Volume) -> None:
    """What the guest knows as a directory becomes a link to one of the host's, again and again."""
    over = threading.Event()

    def swap() -> None:
        directory, away = place.volume / "d", place.volume / "away"
        while not over.is_set():
            directory.rename(away)
            directory.symlink_to(place.outside)
            directory.unlink()
            away.rename(directory)
            over.wait(0.002)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        done = 0
        for number in range(4000):
            node = _made(volume, fuse.ROOT, b"d")
            if not node:
                continue
            name = b"f%d\0" % (number % 5)
            create = fuse.CREATE_IN.pack(os.O_RDWR | os.O_TRUNC, stat.S_IFREG | 0o644, 0, 0) + name
            answer = volume.serve((fuse.CREATE, 2, node, 0, 0, create))
            if not _error(answer):
                handle = struct.unpack_from("<Q", answer, 16 + 128)[0]
                volume.serve((fuse.RELEASE, 3, node, 0, 0, fuse.RELEASE_IN.pack(handle, 0, 0, 0)))
                done += 1
            for opcode, payload in (
                (fuse.SETATTR, fuse.SETATTR_IN.pack(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0o777, 0, 0, 0, 0)),
                (fuse.MKDIR, fuse.MKDIR_IN.pack(0o755, 0) + b"made\0"),
                (fuse.UNLINK, b"secret\0"),
                (fuse.RENAME, fuse.RENAME_IN.pack(fuse.ROOT) + b"secret\0stolen\0"),
                (fuse.RMDIR, b"made\0"),
            ):
                volume.serve((opcode, 4, node, 0, 0, payload))
            secret = _made(volume, node, b"secret")
            assert not secret
            lookups = fuse.FORGET_IN.pack(1)
            volume.serve((fuse.FORGET, 5, node, 0, 0, lookups))
    finally:
        over.set()
        swapping.join()
    assert done > 0
    assert place.untouched()


def test_a_guest_that_forgets_nothing_is_bounded(
    place: Place, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_MOST", 50)
    for number in range(60):
        (place.volume / f"f{number}").touch()
    found = [_made(volume, fuse.ROOT, b"f%d" % number) for number in range(60)]
    assert sum(1 for node in found if node) == 49  # and the root
    answer = volume.serve((fuse.LOOKUP, 1, fuse.ROOT, 0, 0, b"f59\0"))
    assert _error(answer) == errno.ENFILE
    volume.serve((fuse.FORGET, 2, found[0], 0, 0, fuse.FORGET_IN.pack(1)))
    assert _made(volume, fuse.ROOT, b"f59")


def test_listings_that_nobody_ends_are_bounded(
    place: Place, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LISTED", 100)
    for number in range(40):
        (place.volume / f"f{number}").touch()
    for _ in range(10):
        opened = volume.serve((fuse.OPENDIR, 1, fuse.ROOT, 0, 0, bytes(8)))
        handle = struct.unpack_from("<Q", opened, 16)[0]
        answer = volume.serve(
            (fuse.READDIR, 2, fuse.ROOT, 0, 0, fuse.READ_IN.pack(handle, 0, 512, 0, 0, 0, 0))
        )
        assert not _error(answer) and len(answer) > 100
        assert sum(map(len, volume._listings.values())) <= 100
    for number in range(80):
        (place.volume / f"g{number}").touch()
    answer = volume.serve((fuse.READDIR, 2, fuse.ROOT, 0, 0, fuse.READ_IN.pack(handle, 0, 512, 0, 0, 0, 0)))
    assert _error(answer) == errno.ENOMEM


def test_a_file_with_the_inode_of_one_that_is_gone(
    place: Place, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest's number of the old one stands for the new one, as soon as it was looked up."""
    monkeypatch.setattr(tree, "_KEPT_OPEN", 1)
    for turn in range(20):
        path = place.volume / "again"
        path.write_text(f"turn {turn}")
        node = _made(volume, fuse.ROOT, b"again")
        answer = volume.serve((fuse.OPEN, 1, node, 0, 0, fuse.OPEN_IN.pack(os.O_RDONLY, 0)))
        assert not _error(answer)
        handle = struct.unpack_from("<Q", answer, 16)[0]
        read = volume.serve((fuse.READ, 2, node, 0, 0, fuse.READ_IN.pack(handle, 0, 100, 0, 0, 0, 0)))
        assert read[16:].decode() == f"turn {turn}"
        volume.serve((fuse.RELEASE, 3, node, 0, 0, fuse.RELEASE_IN.pack(handle, 0, 0, 0)))
        path.unlink()
        _made(volume, fuse.ROOT, b"d")  # so that the one that is gone is held open no more
