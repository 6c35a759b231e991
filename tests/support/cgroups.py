"""The group that a daemon's companions and servers live in. Its driver removes it at the end; tests that have
no driver do it with this.
"""

from pathlib import Path

from neargate.kit.instance import instance_of
from neargate.node import cgroup
from tests.support.real import eventually


def remove_group(instance: str) -> None:
    """AssertionError if something still lives in it."""
    group = cgroup.Group(cgroup.root_name(instance))
    eventually(group.remove, f"{group.path} is empty and removed", 5)


def remove_group_of(data_dir: Path) -> None:
    remove_group(instance_of(data_dir))
