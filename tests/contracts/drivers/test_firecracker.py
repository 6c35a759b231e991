"""The microvm tier with Firecracker: driver, zygote, supervisor and jail are the real ones, Firecracker and
the guest a stand-in. It says that a container runs, and shows it by what is in its disk's slot.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neargate.model.sandbox import SandboxSpec
from neargate.node import guest
from neargate.node.drivers.base import DriverError, DriverUnavailable
from neargate.node.drivers.microvm import clock, cpio, guest_image, monitors, templates, verdict
from neargate.node.drivers.microvm.driver import MicrovmDriver
from neargate.node.drivers.microvm.vmm import birth, firecracker, scratch
from neargate.node.drivers.microvm.vmm.machine import REHEARSAL_SLOT, Size
from neargate.node.network import claims
from tests.contracts.drivers.rig import Rig, eventually, lines, shell
from tests.contracts.drivers.traces import traces
from tests.support.firecracker_standin import install, told

pytestmark = pytest.mark.root

EROFS = "e2e1f5e0"


class Stand:
    """A rig whose driver finds the stand-in, and thinks that it boots guests."""

    def __init__(self, rig: Rig, directory: Path, cache: Path) -> None:
        self.rig, self.directory, self.cache = rig, directory, cache
        self.log = Path()

    def driver(self, ready: int = 0, **behaviour: Any) -> MicrovmDriver:
        _firecracker, _jailer, self.log = install(self.directory / "bin", **behaviour)
        verdict.write(self.cache / "firecracker.json", monitors.programs().fingerprint(), "")
        rig = self.rig
        return MicrovmDriver(
            self.directory / "driver", rig.instance, rig.cidr, self.cache, "kvm", ready, "firecracker"
        )

    @asynccontextmanager
    async def up(self, ready: int = 0, **behaviour: Any) -> AsyncIterator[MicrovmDriver]:
        self.rig.driver = driver = self.driver(ready, **behaviour)
        await driver.__aenter__()
        try:
            yield driver
        finally:
            await self.rig.close()
            assert traces(self.rig.instance, self.directory) == []
            assert not list((self.directory / "driver").glob(f"{scratch.READY}*"))

    def guest(self, op: str) -> list[dict[str, Any]]:
        return [entry["message"] for entry in told(self.log, "guest") if entry.get("op") == op]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stand(tmp_path: Path, image_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield Stand(Rig(tmp_path, image_path, 47, "microvm"), tmp_path, cache)


def _routes() -> str:
    return subprocess.run(["ip", "route"], capture_output=True, text=True).stdout


def _links(stand: Stand) -> list[str]:
    return list(claims.links_of(stand.rig.instance).values())


async def test_a_task_runs_in_a_clone_and_leaves_nothing(stand: Stand) -> None:
    async with stand.up():
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"))
        await eventually(lambda: lines(sandbox, "c"), "a line", 30)
        assert lines(sandbox, "c").startswith(EROFS)  # its image is in its slot
        assert sandbox.states["c"].running
        born = stand.guest("born")[-1]
        interface = stand.rig.specs[sandbox.id].interface
        assert interface
        hardware, rest = (bytes.fromhex(requests) for requests in born["network"])
        assert bytes.fromhex(interface.mac.replace(":", "")) in hardware
        assert socket.inet_aton(interface.address) in rest and socket.inet_aton(interface.gateway) in rest
        assert born["setup"]["id"] == sandbox.id == born["names"][1].strip()
        assert interface.address in born["files"]["hosts"]
        bits, length, entropy = struct.unpack("=ii64s", bytes.fromhex(born["entropy"]))
        assert (bits, length) == (512, 64) and len(set(entropy)) > 16
        assert len(_links(stand)) == 1
        assert f"{interface.address} dev {_links(stand)[0]}" in _routes()
        group = Path("/proc", str(sandbox.states["c"].pid), "cgroup").read_text()
        assert sandbox.id in group
        assert (stand.rig.directory_of(stand.rig.specs[sandbox.id]) / "disk").exists()
        await sandbox.destroy()
        await eventually(lambda: not _links(stand), "its interface is removed")
        assert [path.name for path in stand.rig.directory_of(stand.rig.specs[sandbox.id]).iterdir()] == [
            "spool"
        ]
    assert told(stand.log, "fault") == []


async def test_all_of_the_machine_is_in_the_sandboxs_group(stand: Stand) -> None:
    async with stand.up():
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"))
        pid = sandbox.states["c"].pid
        jailed = [child for child in _children(pid) if child != pid]
        assert jailed
        for process in (pid, *jailed):
            assert sandbox.id in Path(f"/proc/{process}/cgroup").read_text()


def _children(pid: int | None) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(process.name))
    return found


async def test_the_second_task_needs_no_second_template(stand: Stand) -> None:
    async with stand.up():
        for _ in range(2):
            await stand.rig.run(shell("c", "exec sleep 600"))
        asked = [what for what, _body in told(stand.log, "request")]
        assert asked.count("PUT /snapshot/create") == 1
        assert asked.count("PUT /snapshot/load") == 2


async def test_a_disk_of_another_size(stand: Stand) -> None:
    async with stand.up():
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"), ephemeral_bytes=30 << 30)
        assert (stand.rig.directory_of(stand.rig.specs[sandbox.id]) / "disk").stat().st_size >= 30 << 30
        assert stand.guest("release") and stand.guest("born")[-1]["setup"]["scratch_released"]
    assert told(stand.log, "fault") == []


async def test_clones_kept_ready(stand: Stand) -> None:
    async with stand.up(ready=1) as driver:
        await stand.rig.run(shell("c", "exec sleep 600"))
        await driver.ready.settled()
        (waiting,) = (stand.directory / "driver").glob(f"{scratch.READY}*")
        inode = waiting.stat().st_ino
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"))
        assert (stand.rig.directory_of(stand.rig.specs[sandbox.id]) / "disk").stat().st_ino == inode
        await driver.ready.settled()
        assert len(_links(stand)) == 2


async def test_disks_of_clones_whose_supervisors_were_killed_are_removed(stand: Stand) -> None:
    (stand.directory / "driver").mkdir()
    (stand.directory / "driver" / f"{scratch.READY}1234").write_text("left")
    async with stand.up():
        assert not list((stand.directory / "driver").glob(f"{scratch.READY}*"))


@pytest.mark.parametrize("which", ["its supervisor", "Firecracker", "all of it"])
async def test_killed_it_is_a_lost_sandbox_and_its_interface_is_gone(stand: Stand, which: str) -> None:
    async with stand.up():
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"))
        pid = sandbox.states["c"].pid
        assert pid is not None and len(_links(stand)) == 1
        victims: dict[str, Callable[[], list[int]]] = {
            "its supervisor": lambda: [_parent(pid)],
            "Firecracker": lambda: _children(pid),
            "all of it": lambda: [pid],
        }
        for victim in victims[which]():
            os.kill(victim, signal.SIGKILL)
        await eventually(lambda: sandbox.lost, "it is lost", 30)
        await eventually(lambda: not _links(stand), "its interface is removed", 30)
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), "its processes are gone", 30)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_daemon_that_comes_again_finds_it(stand: Stand) -> None:
    async with stand.up() as driver:
        sandbox = await stand.rig.run(shell("c", "exec sleep 600"))
        spec: SandboxSpec = stand.rig.specs[sandbox.id]
        await driver.__aexit__(None, None, None)
        stand.rig.driver = again = stand.driver()
        await again.__aenter__()
        found = await again.adopt(spec, stand.rig.directory_of(spec))
        assert found and not found.lost and found.states["c"].running
        assert (await found.exec("c", ("true",), 30)) is not None
        await again.sweep(())
        await eventually(lambda: not _links(stand), "its interface is removed", 30)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            {"refuses": "PUT /drives/slot3"},
            "no template of a microVM of .*PUT /drives/slot3: refused by the test",
        ),
        ({"dies": "no cgroups here"}, "Firecracker has ended: no cgroups here"),
        ({"refuses": "PUT /snapshot/create"}, "PUT /snapshot/create: refused by the test"),
        ({"refuses": "PATCH /drives/slot1"}, "image: PATCH /drives/slot1: refused by the test"),
        ({"refuses": "PUT /snapshot/load"}, "cannot be restored: PUT /snapshot/load: refused by the test"),
    ],
)
async def test_what_goes_wrong_is_said(stand: Stand, behaviour: dict[str, Any], message: str) -> None:
    async with stand.up(**behaviour):
        with pytest.raises(DriverError, match=message):
            await stand.rig.run(shell("c", "exec sleep 600"))


async def test_demanded_where_it_boots_no_guest_the_tier_is_not_there(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried for real, and what was found is kept."""
    monkeypatch.setattr("neargate.kit.kvm.failure", lambda: None)
    driver = stand.driver(refuses="PATCH /vm")
    (stand.cache / "firecracker.json").unlink()
    with pytest.raises(DriverUnavailable, match=r"wanted, but it boots no guest here: .*PATCH /vm: refused"):
        await driver.__aenter__()
    assert "PATCH /vm" in str(
        verdict.read(stand.cache / "firecracker.json", monitors.programs().fingerprint())
    )
    assert traces(stand.rig.instance, stand.directory) == []


_HOST = """
import json, socket, sys, time
sys.path.append("/agent")
from neargate.node.guest import frames
rehearse, born = json.load(open("/told.json"))

class Host:
    def __init__(self, number):
        while True:
            self.socket = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
            self.socket.settimeout(120)
            if not self.socket.connect_ex((1, number)):
                break
            time.sleep(0.1)
        self.reader, self.messages = frames.Reader(1 << 20), []
    def say(self, message):
        self.socket.sendall(frames.json_frame(message))
    def hear(self):
        while not self.messages:
            for kind, data in self.reader.feed(self.socket.recv(1 << 17)):
                self.messages += [frames.message(data)] if kind == frames.JSON else []
        message = self.messages.pop(0)
        print("agent:", message.get("event"), message.get("error", ""), flush=True)

host = Host(1)
host.hear()
host.say(rehearse)
host.hear()
host.socket.close()
broken = Host(1)
broken.socket.close()
host = Host(1)
host.hear()
files = Host(2)
if born["setup"]["scratch_released"]:
    host.say({"op": "release"})
    host.hear()
host.say(born)
host.hear()
there = [socket.gethostname(), *(open(path).read().strip() for path in ("/etc/machine-id", "/task/file-c-0"))]
there += [open("/etc-files/hosts").read().strip(), open("/sys/class/net/eth0/address").read().strip()]
there += [open(f"/sys/fs/cgroup/neargate/task/{name}.max").read().strip() for name in ("memory", "pids")]
print("born:", *there, flush=True)
"""
"""A supervisor, in the guest itself: it speaks through the kernel's own vsock."""


@pytest.mark.microvm
@pytest.mark.parametrize("released", [False, True], ids=["with its scratch disk", "with another one"])
def test_the_guest_for_firecracker_boots_and_its_agent_is_met_again_at_its_vsock(
    tmp_path: Path, cache: Path, released: bool
) -> None:
    """In QEMU, which boots an unpacked kernel by the same protocol. It has no vsock device, so who speaks
    with the agent is in the guest."""
    image = guest_image.prepare_for_firecracker(cache / "guests")
    _kernel, modules = guest_image._kernel()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "host.py").write_text(_HOST)
    rehearsal = templates._rehearsal(512, REHEARSAL_SLOT)
    interface = {"mac": "02:00:00:00:00:02", "address": "192.0.2.3", "gateway": "192.0.2.1"}
    files = {"hosts": "h\n", "hostname": "n\n", "resolv.conf": "r\n", "file-c-0": "text"}
    setup = {"id": "1" * 32, "hostname": "born", "interface": interface, "files": files, "shared_pid": False}
    setup |= {"memory": 64 << 20, "cpu": 256, "pids": 100}
    born = birth.told(setup, [], released, rehearsal["writes"])
    told_it = [birth.message("rehearse", rehearsal), birth.message("born", born)]
    (tree / "told.json").write_text(json.dumps(told_it))
    (tree / "loopback.ko").write_bytes(next(modules.rglob("vsock_loopback.ko")).read_bytes())
    init = (Path(guest.__file__).parent / "init2.sh").read_text()
    start = "/bin/busybox insmod /loopback.ko\n/usr/bin/python3 -I -S -B /host.py &\nexec /usr/bin/python3"
    assert init.count("exec /usr/bin/python3") == 1
    (tree / "init2").write_text(init.replace("exec /usr/bin/python3", start))
    with (tmp_path / "initramfs").open("wb") as file:
        file.write(image.initramfs.read_bytes())
        cpio.write(tree, file)  # a later archive's files take the place of an earlier one's
    said = _output(_as_firecracker(image, tmp_path), 200)
    heard = [line.removeprefix("agent: ") for line in said if line.startswith("agent:")]
    if released:  # it has let go of its disk; nobody puts another one there
        assert heard[:4] == ["ready"] * 4 and "other disk does not appear" in "".join(heard[4:]), said[-40:]
        return
    assert heard == ["ready", "ready", "ready", "states"], said[-40:]
    is_now = ["born", "1" * 32, "text", "h", interface["mac"], str(64 << 20), "100"]
    assert said[-1].split() == ["born:", *is_now], said[-40:]


def _output(command: list[str], seconds: int) -> list[str]:
    """Its lines, until the agent is born or the guest panics: QEMU does not end by itself here."""
    found = []
    with subprocess.Popen(["timeout", str(seconds), *command], stdout=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            found.append(line.decode(errors="replace").strip())
            if found[-1].startswith(("born:", "Traceback")) or "Kernel panic" in found[-1]:
                process.terminate()
    return found


def _as_firecracker(image: guest_image.GuestImage, directory: Path) -> list[str]:
    """QEMU's command for what Firecracker is told to boot: its kernel, its command line, its drives."""
    empty, scratch_disk = directory / "empty", directory / "scratch"
    for path, size in ((empty, 1 << 30), (scratch_disk, 64 << 20)):
        with path.open("wb") as file:
            file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", scratch_disk], check=True)
    behind = {"slot0": scratch_disk, "slot11": image.rehearsal}
    requests = firecracker.boot(Size(1, 512))
    line = next(r.body["boot_args"] for r in requests if r.path == "/boot-source")
    command = [
        guest_image.QEMU, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-m", "512M",
        "-machine", "microvm,rtc=off,pcie=off,ioapic2=on", "-cpu", "Westmere,+rdrand,+fsgsbase",
        "-accel", "tcg", "-global", "virtio-mmio.force-legacy=false", "-serial", "stdio",
        "-kernel", str(image.kernel), "-initrd", str(directory / "initramfs"),
        "-append", f"{line} tsc_early_khz={clock.tsc_khz()} tsc=reliable no_timer_check",
    ]  # fmt: skip
    drives = [r.body for r in requests if r.path.startswith("/drives/")]
    for at, drive in enumerate(drives):
        name, readonly = drive["drive_id"], "on" if drive["is_read_only"] else "off"
        drive_file = f"file={behind.get(name, empty)},file.locking=off,format=raw,readonly={readonly}"
        command += ["-drive", f"{drive_file},if=none,id={name}"]
        command += ["-device", f"virtio-blk-device,drive={name},bus=virtio-mmio-bus.{at + 1}"]
    return [*command, "-device", f"virtio-net-device,bus=virtio-mmio-bus.{len(drives) + 1}"]
