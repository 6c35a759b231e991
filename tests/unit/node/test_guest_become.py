"""How the container that was made ahead becomes another. (Which ones it can become: test_guest_plan.py.)"""

import os
from pathlib import Path

import pytest

from neargate.node.guest import become
from neargate.node.guest.first import First


def test_a_program_is_found_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("app", "no", "yes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run").write_text("")
    for name in ("app", "yes"):
        (tmp_path / name / "run").chmod(0o755)
    assert Path(become._find("./run", [], str(tmp_path / "app"))).samefile(tmp_path / "app/run")
    assert Path(become._find("app/run", [], str(tmp_path))).samefile(tmp_path / "app/run")
    path = [f"PATH={tmp_path}/no:{tmp_path}/yes"]
    assert become._find("run", path, "/") == f"{tmp_path}/yes/run"  # past one that nobody may execute
    with pytest.raises(become.CannotBecome, match="open executable"):
        become._find("run", [f"PATH={tmp_path}/no"], "/")


@pytest.mark.root
@pytest.mark.parametrize(
    ("link", "to", "path", "made"),
    [
        ("etc", "../run/new", "/etc/x", "run/new/x"),
        ("f", "../../../run/stub/f", "/f", "run/stub/f"),
        ("f", "/run/f", "/f", "run/f"),
    ],
)
def test_a_link_that_leads_nowhere_is_followed_inside_the_root(
    tmp_path: Path, link: str, to: str, path: str, made: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / link).symlink_to(to)
    fd = os.open(root, os.O_PATH)
    place = become._place(str(root), fd, path, directory=False)
    assert Path(place).samefile(root / made)
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.root
def test_links_that_lead_to_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b/x")
    (tmp_path / "b").symlink_to("a/x")
    with pytest.raises(OSError):
        become._place(str(tmp_path), os.open(tmp_path, os.O_PATH), "/a", directory=False)


def test_its_ends_are_let_go_of_once(tmp_path: Path) -> None:
    """A start that fails early lets go of them and then discards it: those numbers may be others' by then."""
    made = First.__new__(First)
    made.bundle = str(tmp_path)
    made.news, made._tell = os.pipe()
    numbers = made.news, made._tell
    made.let_go()
    others = os.pipe()
    assert set(others) == set(numbers)
    made.let_go()
    for fd in others:
        os.close(fd)


def test_the_runtime_is_told_once(tmp_path: Path) -> None:
    made = First.__new__(First)
    made.bundle = made._state = str(tmp_path)
    made.pid, made._status, made._introduced = os.getpid(), "{}", False
    made.config = {
        "root": {"path": "/r"},
        "linux": {"cgroupsPath": "/g"},
        "annotations": {"run.oci.seccomp_bpf_data": ""},
    }
    made.introduce()
    (tmp_path / "status").write_text("being read")
    made.introduce()
    assert (tmp_path / "status").read_text() == "being read"
