"""Which configurations the container that was made ahead can become."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from neargate.model.sandbox import ContainerSpec, Mount, SandboxSpec, Tmpfs, Ulimit
from neargate.node import ocispec
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.guest import become
from neargate.node.guest.first import First
from neargate.oci.manifest import ImageConfig


def _config(**settings: Any) -> dict[str, Any]:
    container = ContainerSpec(name="c", image="i", command=("/x",), runtime_id="c-1", **settings)
    spec = SandboxSpec(id="0" * 32, containers=(container,), interface=None, cpu=256, memory=64 << 20)
    return ocispec.config(spec, container, ImageConfig(), PLACE)[0]


_REHEARSED = _config()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"readonly_rootfs": True},
        {"init": True},
        {"mounts": (Mount(volume="v", target="/v"),)},
        {"tmpfs": (Tmpfs(target="/t", size=1, options=("ro", "noatime", "uid=3")),)},
        {"ulimits": (Ulimit(name="nofile", soft=1, hard=-1),)},
        {"capabilities_drop": ("ALL",)},
        {"capabilities_add": ("CHOWN",)},
        {"environment": (("A", "1"),)},
        {"memory": 1 << 20, "cpu": 5},
    ],
)
def test_it_can_be_most_containers(settings: dict[str, Any]) -> None:
    config = _config(**settings)
    assert become.alike(config, _REHEARSED)
    assert become.staged(config) == become.staged(_REHEARSED)


def _changed(*path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(_REHEARSED)
    here = config
    for name in path[:-1]:
        here = here[name]
    here[path[-1]] = value
    return config


@pytest.mark.parametrize(
    "config",
    [
        _config(tty=True),
        _config(capabilities_add=("SYS_PTRACE",)),
        _config(sysctls=(("net.core.somaxconn", "1"),)),
        _changed("linux", "maskedPaths", value=[]),
        _changed("linux", "readonlyPaths", value=[]),
        _changed("mounts", value=_REHEARSED["mounts"][1:]),
        _changed("process", "noNewPrivileges", value=True),
        _changed("process", "oomScoreAdj", value=500),
        _changed("process", "rlimits", value=[{"type": "RLIMIT_NEW", "soft": 1, "hard": 1}]),
    ],
)
def test_it_cannot_be_what_it_was_not_staged_for(config: dict[str, Any]) -> None:
    assert not become.alike(config, _REHEARSED)


def test_a_mount_option_that_nobody_knows_is_left_to_the_runtime() -> None:
    config = copy.deepcopy(_REHEARSED)
    config["mounts"].append(
        {"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nosymfollow"]}
    )
    assert not become.alike(config, _REHEARSED)


def test_all_that_is_staged_is_below_three_directories_and_comes_first() -> None:
    mounts = become.staged(_REHEARSED)
    assert [mount["destination"] for mount in mounts][:2] == ["/proc", "/dev"]
    assert all(mount["destination"].startswith(become.TOPS) for mount in mounts)
    assert not any(mount["type"] == "bind" for mount in mounts)


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
