"""Blocks in /etc/hosts: each daemon's own comes and goes, the rest of the file stays as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.zones import Host
from neargate.node.resolver.etc_hosts import with_block, write

ONE, TWO = Host("lb-1.elb", ("10.0.0.8", "10.0.16.8")), Host("lb-2.elb", ("10.0.0.9",))


def test_a_block_comes_changes_and_goes() -> None:
    text = "127.0.0.1 localhost\n"
    first = with_block(text, "abc123", [ONE])
    assert first.startswith(text) and "10.0.0.8 lb-1.elb\n10.0.16.8 lb-1.elb\n" in first
    assert with_block(first, "abc123", [ONE]) == first
    second = with_block(first, "abc123", [TWO])
    assert "lb-1" not in second and "10.0.0.9 lb-2.elb\n" in second
    assert with_block(second, "abc123", []) == text


def test_daemons_side_by_side_leave_each_other_s_alone() -> None:
    both = with_block(with_block("a b\n", "abc123", [ONE]), "fedcba", [TWO])
    assert "lb-1" in both and "lb-2" in both
    assert with_block(both, "abc123", []) == with_block("a b\n", "fedcba", [TWO])


def test_of_a_block_without_an_end_nothing_else_goes() -> None:
    text = with_block("", "abc123", [ONE]).replace("# neargate abc123 end\n", "127.0.0.1 mine\n")
    assert "127.0.0.1 mine\n" in with_block(text, "abc123", [])


@given(st.lists(st.text(alphabet="ab #\t.1", max_size=20), max_size=6))
def test_other_lines_stay(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    assert with_block(with_block(text, "abc123", [ONE, TWO]), "abc123", []) == text


def test_the_file_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_bytes(b"127.0.0.1 localhost\n# \xff\n")
    file.chmod(0o640)
    write("abc123", [ONE], tmp_path / "run", file)
    assert file.stat().st_mode & 0o777 == 0o640 and b"# \xff\n" in file.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["hosts"]
    write("abc123", [], tmp_path / "run", file)
    assert file.read_bytes() == b"127.0.0.1 localhost\n# \xff\n"


def test_a_file_without_our_names_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost")  # no line feed
    before = file.stat()
    write("abc123", [], tmp_path / "run", file)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.root
def test_a_file_that_is_a_mount_is_written_in_place(tmp_path: Path) -> None:
    """As in a container, whose /etc/hosts is mounted from outside."""
    outside, file = tmp_path / "outside", tmp_path / "hosts"
    outside.write_text("127.0.0.1 localhost\n")
    file.touch()
    script = (
        "from pathlib import Path\n"
        "from neargate.model.zones import Host\n"
        "from neargate.node.resolver.etc_hosts import write\n"
        f"write('abc123', [Host('lb-1.elb', ('10.0.0.8',))], Path('{tmp_path}/run'), Path('{file}'))\n"
    )
    subprocess.run(
        ["unshare", "-m", "sh", "-ec", f"mount --bind {outside} {file}; exec \"$@\"", "sh", sys.executable,
         "-c", script],
        check=True,
        env={**os.environ},
    )  # fmt: skip
    assert "10.0.0.8 lb-1.elb\n" in outside.read_text()
    assert file.read_text() == ""
