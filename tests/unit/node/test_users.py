"""Who a container runs as, by its image's own files."""

from pathlib import Path
from typing import Any

import pytest

from neargate.node.shim import users

PASSWD = """\
# root:x:9:9::/nowhere:
root:x:0:0:root:/root:/bin/sh
short:x:7:7:no home
web:x:33:34:www:/var/www:/bin/sh
web:x:55:56:again:/second:/bin/sh
same:x:33:77:another name of it:/other:/bin/sh
1000:x:2000:2001:a name of digits:/digits:
bare:x:44:44::
late:x:1000:1001::/late:/bin/sh
broken:x:many:1::/broken:
"""
GROUP = "root:x:0:\nwww:x:34:\nextra:x:60:other,web\nmore:x:61:web,same\nshort:x:62\n70:x:71:\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "uid", "gids", "home"),
    [
        ("", 0, [0], "/root"),
        ("root", 0, [0], "/root"),
        ("0", 0, [0], "/root"),
        ("web", 33, [34, 60, 61], "/var/www"),  # the first of that name
        ("33", 33, [34, 60, 61], "/var/www"),  # the first of that number
        ("same", 33, [61, 77], "/other"),
        ("1000", 1000, [1001], "/late"),  # a number is no name
        ("033", 33, [34, 60, 61], "/var/www"),
        (":60", 0, [60], "/root"),
        (":www", 0, [34], "/root"),
        (":", 0, [0], "/root"),
        ("web:", 33, [34, 60, 61], "/var/www"),
        ("late", 1000, [1001], "/late"),
        ("55", 55, [56, 60, 61], "/second"),
        ("bare", 44, [44], "/"),
        ("7", 7, [0], "/"),  # that line is too short to be one
        ("4711", 4711, [0], "/"),
        ("web:www", 33, [34], "/var/www"),
        ("web:60", 33, [60], "/var/www"),
        ("web:short", 33, [62], "/var/www"),
        ("web:70", 33, [70], "/var/www"),
        ("4711:4712", 4711, [4712], "/"),
    ],
)
def test_users_that_there_are(root: Path, user: str, uid: int, gids: list[int], home: str) -> None:
    found: dict[str, Any] = users.resolve(str(root), user)
    assert (found["uid"], found["additionalGids"], found["home"]) == (uid, gids, home)
    assert found["gid"] in gids


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("short", "unable to find user short"),
        ("nobody", "unable to find user nobody"),
        ("x", "unable to find user x"),
        ("# root", "unable to find user # root"),
        ("٣٣", "unable to find user"),
        ("-1", "unable to find user -1"),
        ("broken", "in range"),
        (str(1 << 31), "in range"),
        ("9" * 5000, "in range"),
        ("web:nogroup", "unable to find group nogroup"),
        (":nogroup", "unable to find group nogroup"),
        (f"web:{1 << 31}", "in range"),
    ],
)
def test_users_that_there_are_not(root: Path, user: str, message: str) -> None:
    with pytest.raises(users.UserError, match=message):
        users.resolve(str(root), user)


def test_an_image_without_such_files(tmp_path: Path) -> None:
    assert users.resolve(str(tmp_path), "") == {"uid": 0, "gid": 0, "additionalGids": [0], "home": "/"}
    assert users.resolve(str(tmp_path), ":6") == {"uid": 0, "gid": 6, "additionalGids": [6], "home": "/"}
    assert users.resolve(str(tmp_path), "5:6") == {"uid": 5, "gid": 6, "additionalGids": [6], "home": "/"}
    with pytest.raises(users.UserError):
        users.resolve(str(tmp_path), "root")
