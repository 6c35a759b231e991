"""Which configurations the container that was made ahead can become."""

import copy
from typing import Any

import pytest

from neargate.model.sandbox import ContainerSpec, Mount, SandboxSpec, Tmpfs, Ulimit
from neargate.node import ocispec
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.guest import become
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
