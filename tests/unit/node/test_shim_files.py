"""What the shim does with files that a container filled or named: removal, users, directories inside a
root.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neargate.node.shim import files, kernel, users
from neargate.node.shim.container import runtime_error


def test_remove_tree_takes_everything_and_follows_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    tree = tmp_path / "tree"
    for name in ("a/b/c", "d"):
        (tree / name).mkdir(parents=True)
    (tree / "a/link").symlink_to(outside)
    (tree / "d/file").write_text("x")
    os.mkfifo(tree / "d/fifo")
    files.remove_tree(str(tree))
    assert not tree.exists() and (outside / "keep").exists()
    files.remove_tree(str(tree))
    (tmp_path / "link").symlink_to(outside)
    files.remove_tree(str(tmp_path / "link"))
    assert (outside / "keep").exists() and not (tmp_path / "link").is_symlink()


def test_remove_tree_of_a_very_deep_tree(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=here)
    for name in ["deep"] + ["d" * 200] * 600:  # longer than any path may be
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.mkdir("d" * 200, dir_fd=below)
        os.close(here)
        here = below
    os.close(here)
    files.remove_tree(str(tmp_path / "deep"))
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, [0], "/root")),
        ("web", (1000, 1001, [60, 1001], "/home/web")),
        ("1000", (1000, 1001, [60, 1001], "/home/web")),
        ("web:60", (1000, 60, [60], "/home/web")),
        ("7:logs", (7, 60, [60], "/")),
        ("7", (7, 0, [0], "/")),
    ],
)
def test_users(tmp_path: Path, user: str, expected: tuple[int, int, list[int], str]) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:r:/root:/bin/sh\nbroken\nweb:x:1000:1001::/home/web:/bin/sh\n"
    )
    (tmp_path / "etc/group").write_text("logs:x:60:x,web\nmore:x:61:webx\nbad\n")
    found = users.resolve(str(tmp_path), user)
    assert (found["uid"], found["gid"], found["additionalGids"], found["home"]) == expected


@pytest.mark.parametrize("user", ["ghost", "web:ghost", "4294967296", "-1", "²"])
def test_users_that_are_not(tmp_path: Path, user: str) -> None:
    with pytest.raises(users.UserError):
        users.resolve(str(tmp_path), user)


def test_a_passwd_that_points_out_of_the_image_is_not_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(users.UserError):
        users.resolve(str(tmp_path), "daemon")
    os.mkfifo(tmp_path / "etc/group")  # must not hang
    assert users.resolve(str(tmp_path), "5")["gid"] == 0


def test_make_directories_stays_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "up").symlink_to("../../../../..")
    (root / "abs").symlink_to("/")
    kernel.make_directories(str(root), "/up/made/here")
    kernel.make_directories(str(root), "abs/there")
    kernel.make_directories(str(root), "/x/../y")
    assert (root / "made/here").is_dir() and (root / "there").is_dir() and (root / "y").is_dir()
    (root / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        kernel.make_directories(str(root), "/file/x")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            '{"level":"error","msg":"executable file `x` not found in $PATH: No such file or directory"}',
            'exec: "x": executable file not found in $PATH',
        ),
        (
            '{"level":"error","msg":"open executable: Operation not permitted"}',
            'exec: "x": permission denied',
        ),
        (
            '{"level":"error","msg":"runc run failed: unable to start container process: exec: \\"x\\": y"}',
            'exec: "x": y',
        ),
        ('{"level":"error","msg":"mount `/a`: No such device"}', "mount `/a`: No such device"),
        ("no json\n", "the runtime ended without a cause"),
    ],
)
def test_causes(tmp_path: Path, line: str, cause: str) -> None:
    (tmp_path / "log").write_text(line)
    assert runtime_error(str(tmp_path / "log"), "x") == cause


def test_a_neighbour_that_renames_all_the_time_is_in_nobodys_way(tmp_path: Path) -> None:
    """The kernel gives up a walk up the tree when anything is renamed anywhere meanwhile."""
    (tmp_path / "root/a/b/c").mkdir(parents=True)
    (tmp_path / "root/link").symlink_to("../" * 200 + "a/b/../b/c")
    (tmp_path / "x").mkdir()
    script = "import os, sys\nos.chdir(sys.argv[1])\nprint(1, flush=True)\n"
    script += "while True: os.rename('x', 'y'); os.rename('y', 'x')"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        root = os.open(tmp_path / "root", os.O_PATH)
        try:
            for _ in range(5000):
                os.close(kernel.open_in_root(root, "/link", os.O_PATH | os.O_DIRECTORY))
        finally:
            os.close(root)
            other.kill()
