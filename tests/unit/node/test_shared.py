"""No path, link or race leads out of a file system's tree: node/shim/shared.opened against hostile trees."""

import contextlib
import itertools
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.node.shim import shared

NAMES = ("a", "b", "c")
STEPS = st.sampled_from((*NAMES, "..", ".", "", "/"))
PATHS = st.lists(STEPS, max_size=6).map(lambda steps: "/" + "/".join(steps))
TARGETS = st.one_of(
    PATHS,
    st.sampled_from(("/", "..", "../..", "../../../etc", "/etc", "/proc/self/root", "/proc/self/cwd", "./a")),
)
ENTRIES = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.none() | TARGETS), max_size=8
)


def where(fd: int) -> Path:
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)


def attempt(tree: Path, path: str, create: tuple[int, int, int] | None = None) -> Path | None:
    """Where it leads; None if it is refused."""
    volume: dict[str, Any] = {"tree": str(tree), "path": path, "create": create}
    try:
        return where(shared.opened(volume))
    except OSError as error:
        assert str(error).startswith(shared.FAILED)
        return None


def fill(tree: Path, entries: list[tuple[list[str], str | None]]) -> None:
    """Directories, and links to whatever was thought of."""
    for parts, target in entries:
        last = tree.joinpath(*parts)
        above = [path for path in last.parents if path.is_relative_to(tree)]
        if last.is_symlink() or last.exists() or any(path.is_symlink() for path in above):
            continue
        last.parent.mkdir(parents=True, exist_ok=True)
        last.mkdir() if target is None else last.symlink_to(target)


@settings(max_examples=100, deadline=None)
@given(ENTRIES, PATHS, st.booleans())
def test_every_path_ends_inside_or_is_refused(
    entries: list[tuple[list[str], str | None]], path: str, create: bool
) -> None:
    with TemporaryDirectory() as name:
        outside = Path(name).resolve()
        tree = outside / "fs-1"
        tree.mkdir()
        fill(tree, entries)
        found = attempt(tree, path, (os.getuid(), os.getgid(), 0o755) if create else None)
        assert found is None or found == tree or found.is_relative_to(tree)
        assert [entry.name for entry in outside.iterdir()] == ["fs-1"]  # and nothing was made elsewhere


@pytest.mark.parametrize("create", [None, (os.getuid(), os.getgid(), 0o755)])
def test_a_link_swapped_in_at_any_moment(tmp_path: Path, create: tuple[int, int, int] | None) -> None:
    tree = tmp_path / "fs-1"
    (tree / "a/b").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tree / "link").symlink_to("..")
    done = threading.Event()

    spare = (tree / f"made-{number}" for number in itertools.count())

    def swap() -> None:
        while not done.is_set():
            (tree / "a").rename(tree / "kept")
            with contextlib.suppress(IsADirectoryError):  # made by the one who mounts, this very moment
                (tree / "link").rename(tree / "a")
                (tree / "a").rename(tree / "link")
            while (tree / "kept").exists():
                with contextlib.suppress(FileNotFoundError):
                    (tree / "a").rename(next(spare))
                with contextlib.suppress(OSError):
                    (tree / "kept").rename(tree / "a")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        found = {attempt(tree, "/a/b", create) for _ in range(3000)}
    finally:
        done.set()
        swapper.join()
    inside = {path for path in found if path is not None}
    assert inside and all(str(path).removesuffix(" (deleted)").startswith(f"{tree}/") for path in inside)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b", "fs-1"]


def test_a_directory_is_made_once_with_its_owner_and_mode(tmp_path: Path) -> None:
    tree = tmp_path / "fs-1"
    tree.mkdir()
    made = attempt(tree, "/a//./b/", (os.getuid(), os.getgid(), 0o711))
    assert made == tree / "a/b"
    assert (tree / "a").stat().st_mode & 0o7777 == (tree / "a/b").stat().st_mode & 0o7777 == 0o711
    (tree / "a/b").chmod(0o700)
    assert attempt(tree, "/a/b", (os.getuid(), os.getgid(), 0o711)) == made
    assert (tree / "a/b").stat().st_mode & 0o7777 == 0o700


def test_the_tree_itself_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "fs-1").symlink_to("real")
    assert attempt(tmp_path / "fs-1", "/") is None
    assert attempt(tmp_path / "none", "/") is None
