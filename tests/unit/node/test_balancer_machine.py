"""What load balancing makes on the machine: addresses, the way through the firewall, Envoy as a process."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neargate.kit.settings import Settings
from neargate.node.balancer.envoy import Envoy
from neargate.node.network import balancers, firewall
from tests.support.cgroups import remove_group_of
from tests.support.reachable import reachable
from tests.support.real import CHANCE

pytestmark = pytest.mark.root


def addresses(start: str) -> set[str]:
    command = ["ip", "-4", "route", "show", "table", "local", "proto", str(balancers.PROTOCOL)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[1] for line in told.splitlines() if line.startswith(f"local {start}")}


def test_exactly_the_wanted_addresses_are_the_machines_own() -> None:
    """Those of a daemon before, too; never those of another daemon's range."""
    start = f"198.{CHANCE.randint(18, 19)}.{CHANCE.randint(0, 250)}."
    mine, other = f"{start}0/25", f"{start}128/25"
    try:
        balancers.own(other, [f"{start}200"])
        balancers.own(mine, [f"{start}5", f"{start}6"])
        assert addresses(start) == {f"{start}5", f"{start}6", f"{start}200"}
        balancers.own(mine, [f"{start}6", f"{start}7"])
        assert addresses(start) == {f"{start}6", f"{start}7", f"{start}200"}
    finally:
        balancers.own(mine, ())
        balancers.own(other, ())
    assert addresses(start) == set()


@pytest.fixture
async def table() -> AsyncIterator[str]:
    instance = secrets.token_hex(3)
    await firewall.install(instance, "198.18.0.0/16")
    yield instance
    await firewall.remove(instance)


async def chain(instance: str) -> str:
    command = ["nft", "list", "chain", "inet", firewall.table_name(instance), "balancers"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    return str(done.stdout)


async def test_the_way_stays_open_when_the_firewall_is_made_anew(table: str) -> None:
    await firewall.open_balancers(table, [("198.18.0.5", "tcp", 80), ("198.18.0.5", "udp", 53)])
    before = await chain(table)
    assert "198.18.0.5 . 80" in before
    assert "198.18.0.5 . 53" in before
    await firewall.install(table, "198.18.0.0/16")
    assert await chain(table) == before
    await firewall.open_balancers(table, [])
    assert "198.18" not in await chain(table)
    await firewall.close_balancers(secrets.token_hex(3))  # a table that is not there


async def test_envoy_may_do_little_and_leaves_nothing(tmp_path: Path) -> None:
    reachable(tmp_path)
    (tmp_path / "data").mkdir()
    envoy = Envoy(Settings(data_dir=tmp_path / "data", run_dir=tmp_path / "run"))
    envoy.prepare()
    begun = asyncio.Event()

    async def told(adopted: bool) -> None:
        begun.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(envoy.companion.run(envoy.command(), told))
        await begun.wait()
        async with asyncio.timeout(20):
            while not await _answers(envoy):  # noqa: ASYNC110 - another process begins
                await asyncio.sleep(0.05)
        process = Path(f"/proc/{envoy.companion.pid}")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        groups = (process / "cgroup").read_text()
        running.cancel()
    assert status["Uid"].split() == [str(envoy.uid)] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE
    assert status["NoNewPrivs"] == "1"
    assert "_envoy/envoy/process" in groups
    await envoy.stop()
    assert not process.exists()
    assert not envoy.directory.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/*{envoy.directory.parent.name}_envoy"))
    assert not list(Path("/sys/fs/cgroup").glob(f"*{envoy.directory.parent.name}_envoy"))
    remove_group_of(tmp_path / "data")


async def _answers(envoy: Envoy) -> bool:
    try:
        return b"version" in await envoy.ask("/server_info")
    except OSError:
        return False
