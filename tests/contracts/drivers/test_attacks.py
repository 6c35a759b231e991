"""The contract of a driver, fourth part: what no shell can try. System calls, packets in others' names."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from neargate.node.drivers.base import Sandbox
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig
from tests.contracts.drivers.rig import Rig, ended, eventually, lines, shell
from tests.support import attacker_program
from tests.support.python_image import ENTRYPOINT, ENVIRONMENT, python_erofs

pytestmark = pytest.mark.root
_NETFILTER = Path("/proc/sys/net/netfilter")
_OWN_KERNEL = {"io_uring_setup", "syslog", "unshare_mount", "unshare_network", "unshare_user"}
"""gVisor's are its own, as is what they can harm."""


@pytest.fixture(scope="session")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Image:
    program = Path(attacker_program.__file__)
    path = python_erofs(tmp_path_factory.mktemp("attacker"), program)
    return Image("sha256:2", "sha256:3", path, 1, ImageConfig(env=ENVIRONMENT), 1)


async def attack(rig: Rig, image: Image, **environment: str) -> Sandbox:
    """A sandbox whose container does it."""
    spec = rig.spec()
    assert spec.interface
    own = {"MINE": spec.interface.address, "MAC": spec.interface.mac, "TO": spec.interface.gateway}
    sandbox = await rig.driver.open(spec, rig.directory_of(spec))
    rig.sandboxes.append(sandbox)
    rig.specs[sandbox.id] = spec
    told = tuple((own | environment).items())
    await sandbox.start(shell("c", "", command=None, entrypoint=ENTRYPOINT, environment=told), image)
    return sandbox


async def test_system_calls_that_no_container_has(rig: Rig, attacker: Image) -> None:
    sandbox = await attack(rig, attacker, ATTACK="calls")
    assert await ended(sandbox, "c", 60) == 0
    (line,) = lines(sandbox, "c").splitlines()
    assert set(line.split()[1:]) <= (_OWN_KERNEL if rig.tier == "gvisor" else set()), line


async def test_packets_in_others_names_arrive_nowhere(rig: Rig, attacker: Image) -> None:
    """A neighbour's, a third task's, the machine's own, a link-local one; those in its own name do."""
    neighbour = await attack(rig, attacker, ATTACK="listen")
    third = await rig.run(shell("c", "exec sleep 600"))
    await eventually(lambda: "listens" in lines(neighbour, "c"), "it listens", 60)
    to, other = (address(rig, sandbox) for sandbox in (neighbour, third))
    sandbox = await attack(rig, attacker, ATTACK="spoof", TO=to, OTHER=other)
    assert await ended(sandbox, "c", 60) == 0
    await eventually(lambda: "honest" in lines(neighbour, "c"), "what is honest arrives", 30)
    assert lines(neighbour, "c").splitlines()[1:] == [f"honest {address(rig, sandbox)}"]


async def test_addresses_that_it_claims_fill_no_table_of_the_machine(rig: Rig, attacker: Image) -> None:
    """The kernel's neighbours are everybody's: a thousand entries of one task, and no other is found."""
    sandbox = await attack(rig, attacker, ATTACK="arp")
    assert await ended(sandbox, "c", 60) == 0
    # gVisor sends nothing that it has not made itself
    said = "Operation not supported\nend\n" if rig.tier == "gvisor" else "end\n"
    assert lines(sandbox, "c") == said
    told = await asyncio.to_thread(subprocess.check_output, ["ip", "neigh"], text=True)
    claimed = [
        line for line in told.splitlines() if line.startswith("198.18.") and f"ng{rig.instance}" in line
    ]
    assert claimed == []


def address(rig: Rig, sandbox: Sandbox) -> str:
    interface = rig.specs[sandbox.id].interface
    assert interface
    return interface.address


async def test_flows_of_one_task_leave_room_for_the_others(rig: Rig, attacker: Image) -> None:
    """What the kernel follows of connections is one table for all."""
    neighbour = await rig.run(shell("c", "exec sleep 600"))
    most = int((_NETFILTER / "nf_conntrack_max").read_text()) // 16
    to, flows = address(rig, neighbour), str(most * 5 // 4)
    sandbox = await attack(rig, attacker, ATTACK="flows", TO=to, FLOWS=flows)
    assert await ended(sandbox, "c", 120) == 0
    assert lines(sandbox, "c") == "sent\n"
    followed = await asyncio.to_thread(_followed, address(rig, sandbox))
    assert most / 2 < followed < 1.1 * most
    pinged = await neighbour.exec("c", ("ping", "-c", "1", "-W", "20", address(rig, sandbox)), 60)
    assert pinged.exit_code == 0  # it may still answer others


def _followed(address: str) -> int:
    """Flows that one address began: other tests' are in the same table."""
    with Path("/proc/net/nf_conntrack").open() as table:
        return sum(line.split(" src=", 1)[1].startswith(f"{address} ") for line in table)
