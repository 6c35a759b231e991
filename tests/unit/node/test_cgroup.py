"""cgroup version 2 on a directory tree: which file gets which number. (Version 1 is real in
tests/contracts/drivers.)
"""

from pathlib import Path

import pytest

from neargate.node import cgroup

FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.weight", "cpu.max", "cgroup.subtree_control")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroup, "MOUNT", str(tmp_path))
    for directory in (tmp_path, tmp_path / "neargate_abc", tmp_path / "neargate_abc/t"):
        directory.mkdir(exist_ok=True)
        for name in (*FILES, "cgroup.controllers"):
            (directory / name).write_text("")
    return tmp_path / "neargate_abc/t"


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (0, 1), (1024, 39), (256, 10), (262144, 10000), (1 << 30, 10000)]
)
def test_weight_of_shares(shares: int, weight: int) -> None:
    assert cgroup.cpu_weight(shares) == weight


def test_limits_and_quota(tree: Path) -> None:
    group = cgroup.Group("neargate_abc/t")
    assert group.v2
    group.make()
    group.limit(memory=1 << 29, pids=100, cpu=256)
    group.quota(256)
    found = {name: (tree / name).read_text() for name in FILES}
    assert found == {
        "memory.max": str(1 << 29),
        "memory.swap.max": "0",
        "pids.max": "100",
        "cpu.weight": "10",
        "cpu.max": "25000 100000",
        "cgroup.subtree_control": "+cpu +memory +pids",
    }
    assert (tree.parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({}, {}),
        ({"limit": 100, "swap": 150}, {"memory.max": "100", "memory.swap.max": "50"}),
        ({"reservation": 7}, {"memory.low": "7"}),
        (
            {"limit": 9, "swap": 9, "reservation": 7},
            {"memory.max": "9", "memory.swap.max": "0", "memory.low": "7"},
        ),
    ],
)
def test_limits_of_oci_resources(memory: dict[str, int], expected: dict[str, str]) -> None:
    resources = {"memory": memory, "cpu": {"shares": 256}, "pids": {"limit": 3}}
    assert cgroup.limits_v2(resources) == expected | {"cpu.weight": "10", "pids.max": "3"}


def test_usage_and_oom(tree: Path) -> None:
    (tree / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (tree / "memory.current").write_text("5000\n")
    (tree / "memory.peak").write_text("9000\n")
    (tree / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    (tree / "memory.events").write_text("oom 3\noom_kill 2\n")
    (tree / "pids.current").write_text("4\n")
    group = cgroup.Group("neargate_abc/t")
    counted = {"cpu_seconds": 1.5, "memory_bytes": 4000, "memory_peak_bytes": 9000, "pids": 4}
    assert counted.items() <= group.usage().items()
    told = {"memory.rss": 1, "memory.inactive_file": 1000, "memory.cache": 0}
    assert told.items() <= group.usage().items()
    assert group.oom_kills() == 2
    assert cgroup.children("abc") == {"t"}


def test_a_group_that_is_gone_has_used_nothing(tree: Path) -> None:
    group = cgroup.Group("neargate_abc/other")
    assert set(group.usage().values()) == {0}
    assert group.oom_kills() == 0 and group.pids() == [] and group.remove()
