"""Whom a container runs as, out of an image that nobody has mounted: the same as in the mounted one, or not
said.
"""

import subprocess
import tracemalloc
from pathlib import Path

import pytest

from neargate.node.drivers.microvm.vmm import image_users
from neargate.node.shim import users
from tests.unit.node.test_users import GROUP, PASSWD


def _image(place: Path) -> tuple[str, str]:
    """(a tree, its image)"""
    tree, image = place / "tree", place / "image.erofs"
    (tree / "etc").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mkfs.erofs", str(image), str(tree)], check=True, capture_output=True)
    return str(tree), str(image)


@pytest.mark.parametrize("user", ["", "root", "web", "33", "1000", "bare", "4711", "web:www", "4711:4712"])
def test_they_are_the_same_as_in_the_mounted_image(tmp_path: Path, user: str) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/passwd").write_text(PASSWD)
    (tmp_path / "tree/etc/group").write_text(GROUP)
    tree, image = _image(tmp_path)
    assert image_users.known(image, user) == users.resolve(tree, user)


def test_without_the_files_numbers_are_known(tmp_path: Path) -> None:
    tree, image = _image(tmp_path)
    for user in ("", "5", "5:6"):
        assert image_users.known(image, user) == users.resolve(tree, user)


def test_what_is_wrong_is_for_the_guest_to_say(tmp_path: Path) -> None:
    _tree, image = _image(tmp_path)
    assert image_users.known(image, "nobody-of-that-name") is None
    assert image_users.known(str(tmp_path / "none"), "") is None


def test_behind_a_link_the_guest_looks(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/passwd").symlink_to("../elsewhere/passwd")
    assert image_users.known(_image(tmp_path)[1], "") is None


def test_many_lines_take_little_memory_of_the_hosts(tmp_path: Path) -> None:
    """It is read in the machine's supervisor, whose memory no task is held to."""
    (tmp_path / "tree/etc").mkdir(parents=True)
    for name in ("passwd", "group"):
        (tmp_path / "tree/etc" / name).write_bytes(b"\xff\n" * (users.LIMIT // 2))
    _tree, image = _image(tmp_path)
    tracemalloc.start()
    try:
        image_users.known(image, "5")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
