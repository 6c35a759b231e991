"""A data directory that is deleted while its daemon runs: everything ends, and can be cleaned up."""

import shutil
from pathlib import Path

import pytest

from neargate.kit.instance import instance_of
from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually, leftovers

pytestmark = pytest.mark.root


def test_all_ends_with_its_data_directory_and_down_removes_the_rest(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o011)  # Envoy's user has to find its way
    daemon = RealDaemon(tmp_path / "data")
    daemon.up()
    try:
        stack = Stack(daemon, daemon.push(busybox_image(tmp_path / "image"), "busybox"))
        stack.ecs.create_cluster(clusterName="e2e")
        stack.logs.create_log_group(logGroupName="/e2e")
        daemon.client("elbv2").create_load_balancer(Name="one", Subnets=stack.subnets[:2])
        stack.wait(stack.run(stack.container()), "RUNNING")
        own = Path("/run/neargate") / instance_of(daemon.data_dir) / "envoy" / "own" / "admin.sock"
        eventually(own.exists, "Envoy runs")
        shutil.rmtree(daemon.data_dir)
        # Tasks run on without a daemon, whatever becomes of it.
        eventually(lambda: not _beside_tasks(daemon), "daemon, Envoy and resolver have ended")
        assert not daemon.data_dir.exists()
    finally:
        daemon.cli("down")
    assert_nothing_left(daemon.data_dir)


def _beside_tasks(daemon: RealDaemon) -> list[str]:
    found = [found for found in leftovers(daemon.data_dir) if found.startswith("process")]
    return [process for process in found if "neargate.node.shim" not in process]
