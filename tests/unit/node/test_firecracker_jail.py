"""A machine of Firecracker from boot over freezing to its clones, with a stand-in in the real jail: what it
finds there, what it may open, and that nothing is left however it ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neargate.node.drivers.microvm.vmm import birth, firecracker, firecracker_vm, scratch
from neargate.node.drivers.microvm.vmm.firecracker_vm import FirecrackerVm
from neargate.node.drivers.microvm.vmm.vm import VmError
from neargate.node.network import rtnetlink as nl
from tests.support.firecracker_standin import install, told

pytestmark = pytest.mark.root

UID = (3 << 30) + 4711
EROFS = "e2e1f5e0"
"""How the superblock of an image begins."""


def _image(path: Path, mark: str) -> Path:
    tree = path.with_suffix(".tree")
    tree.mkdir()
    (tree / mark).write_text(mark)
    subprocess.run(["mkfs.erofs", path, tree], check=True, capture_output=True)
    path.chmod(0o444)
    return path


@pytest.fixture
def about(tmp_path: Path) -> dict[str, Any]:
    """What a machine is made of, as templates.py tells it."""
    here = tmp_path / "template"
    here.mkdir(mode=0o700)
    (tmp_path / "kernel").write_bytes(b"\x7fELF and so on")
    (tmp_path / "initramfs").write_bytes(b"070701 and so on")
    disk = tmp_path / "empty.ext4"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    return {
        "vmm": "firecracker", "directory": str(here), "cpus": 2, "memory": 512, "uid": UID - 1,
        "kernel": str(tmp_path / "kernel"), "initramfs": str(tmp_path / "initramfs"), "scratch": str(disk),
        "rehearsal_image": str(_image(tmp_path / "rehearsal.erofs", "rehearsal")), "boot_seconds": 30,
        "rehearsal": {"setup": {}, "names": [], "network": None, "files": {}, "writes": [], "start": {}},
    }  # fmt: skip


class Stand:
    """The stand-in, and what was started with it."""

    def __init__(self, about: dict[str, Any], directory: Path) -> None:
        self.about, self.directory = about, directory
        self.log = Path()
        self.machines: list[FirecrackerVm] = []
        self.behave()

    def behave(self, **behaviour: Any) -> None:
        firecracker, jailer, self.log = install(self.directory / "bin", **behaviour)
        self.about |= {"firecracker": str(firecracker), "jailer": str(jailer)}

    def boot(self) -> FirecrackerVm:
        disk = scratch.copy(self.about["scratch"], self.about["directory"])
        scratch.give_name(disk, f"{self.about['directory']}/scratch")
        self.machines.append(firecracker_vm.boot(self.about, disk))
        return self.machines[-1]

    def template(self) -> None:
        """As template.py makes one."""
        vm = self.boot()
        vm.greeted(30)
        vm.rehearse(self.about, 30)
        vm.freeze(self.about["directory"])
        vm.kill()
        for name in ("memory", "state", "scratch"):
            os.chown(f"{self.about['directory']}/{name}", 0, 0)
            os.chmod(f"{self.about['directory']}/{name}", 0o444)  # noqa: PTH101

    def clone(self, name: str, **more: Any) -> FirecrackerVm:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        setup = {"directory": str(directory), "uid": UID, "networked": True, **more}
        self.machines.append(firecracker_vm.clone(self.about, setup))
        return self.machines[-1]

    def faults(self) -> list[str]:
        return told(self.log, "fault")


@pytest.fixture
def stand(about: dict[str, Any], tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(about, tmp_path)
    yield stand
    for vm in stand.machines:
        vm.kill()
        vm.remove()
    assert _processes(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def _processes(directory: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(directory) in (process / "cmdline").read_text() and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def _eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_guest_is_booted_in_a_jail_where_nothing_else_is(stand: Stand) -> None:
    vm = stand.boot()
    vm.greeted(30)
    assert stand.faults() == []
    jailed = told(stand.log, "jailed")[0]
    assert set(jailed["uid"]) == {UID - 1}
    slots = [f"slot{number}" for number in range(12)]
    assert sorted(jailed["files"]) == sorted(
        ["dev", "firecracker", "initramfs", "kernel", "memory", "run", "state", *slots]
    )
    assert jailed["fds"] == [0, 1, 2]
    itself = Path(f"/proc/{vm.processes()[1]}")
    for kind in ("mnt", "net", "pid", "ipc", "uts"):
        assert (itself / "ns" / kind).readlink() != Path("/proc/self/ns", kind).readlink()


def test_a_template_is_frozen_without_a_connection_and_its_clones_are_of_its_files(stand: Stand) -> None:
    stand.template()
    one, other = stand.clone("one"), stand.clone("other")
    assert stand.faults() == []
    guests = [entry for entry in told(stand.log, "guest") if "frozen_connections" in entry]
    assert [entry["frozen_connections"] for entry in guests] == [0, 0]
    assert guests[0]["size"] == {"vcpu_count": 2, "mem_size_mib": 512}
    for vm, name in ((one, "one"), (other, "other")):
        vm.send(birth.message("born", {"setup": {"id": name}}))
        vm.hear("states", 30)
    disks = [stand.directory / name / "disk" for name in ("one", "other")]
    for disk in disks:
        _eventually(lambda disk=disk: disk.read_bytes()[4096:4110] == b"the task's own")
    template = Path(stand.about["directory"], "scratch")
    assert template.read_bytes()[4096:4110] != b"the task's own"
    assert len({disk.stat().st_ino for disk in disks}) == 2


def test_a_template_cannot_be_written_by_its_clones(stand: Stand) -> None:
    stand.template()
    vm = stand.clone("one")
    root = Path(f"/proc/{vm.processes()[1]}/root")
    for name in ("memory", "state", "slot11"):
        assert (root / name).stat().st_uid == 0 and (root / name).stat().st_mode & 0o222 == 0
        assert (root / name).stat().st_ino == Path(_behind(stand, name)).stat().st_ino  # not a copy
    assert (root / "slot0").stat().st_uid == UID


def _behind(stand: Stand, name: str) -> str:
    image = str(stand.about["rehearsal_image"])
    return image if name == "slot11" else f"{stand.about['directory']}/{name}"


def test_images_are_put_into_slots_of_a_running_machine(stand: Stand) -> None:
    stand.template()
    vm = stand.clone("one")
    vm.put(1, str(_image(stand.directory / "a.erofs", "a")))
    vm.put(2, str(_image(stand.directory / "b.erofs", "b")))
    vm.put(1, str(stand.directory / "b.erofs"))  # another in the same place
    vm.send({"op": "taken"})
    _eventually(lambda: any(entry.get("op") == "taken" for entry in told(stand.log, "guest")))
    slots = told(stand.log, "guest")[-1]["slots"]
    assert [slots[f"slot{n}"][:8] == EROFS for n in (1, 2, 3, 11)] == [True, True, False, True]
    root = Path(f"/proc/{vm.processes()[1]}/root")
    assert (root / "slot1").stat().st_ino == (stand.directory / "b.erofs").stat().st_ino
    assert stand.faults() == []
    with pytest.raises(FileNotFoundError):
        vm.put(3, str(stand.directory / "none.erofs"))


def test_the_scratch_disk_is_exchanged_and_named(stand: Stand) -> None:
    stand.template()
    vm = stand.clone("one")
    directory = str(stand.directory / "one")
    before = (stand.directory / "one/disk").stat().st_ino
    vm.replace_scratch(scratch.copy(stand.about["scratch"], directory), directory)
    vm.name_scratch(f"{directory}/disk")
    after = stand.directory / "one/disk"
    assert after.stat().st_ino != before and os.fstat(vm.scratch).st_ino == after.stat().st_ino
    vm.send(birth.message("born", {"setup": {"id": "x"}}))
    _eventually(lambda: after.read_bytes()[4096:4110] == b"the task's own")
    vm.kill()
    vm.remove()
    assert after.exists()  # it is the sandbox's now, and erased with it
    assert stand.faults() == []


def test_a_clone_that_never_became_a_sandbox_leaves_no_disk(stand: Stand) -> None:
    stand.template()
    vm = stand.clone("driver", ready=True)
    (waiting,) = (stand.directory / "driver").iterdir()
    assert waiting.name.startswith(scratch.READY)
    vm.kill()
    vm.remove()
    assert not list((stand.directory / "driver").iterdir())


@pytest.fixture
def names() -> Iterator[list[str]]:
    """For an interface, that no other test has."""
    mark = os.urandom(4).hex()
    names = [f"ngt{mark}a", f"ngt{mark}b"]
    yield names
    assert [_index(name) for name in (*names, firecracker.TAP)] == [0, 0, 0]


def _index(name: str) -> int:
    netlink = nl.RtNetlink()
    try:
        return netlink.find(name)
    finally:
        netlink.close()


def _interface(names: list[str], last: int) -> dict[str, Any]:
    return {"names": names, "address": f"198.18.77.{last}", "gateway": "198.18.77.1"}


def test_its_tap_becomes_the_sandboxs_interface_and_is_removed(stand: Stand, names: list[str]) -> None:
    stand.template()
    one, other = stand.clone("one"), stand.clone("other")
    one.settle(_interface(names, 2))
    other.settle(_interface(names, 3))  # the first name is taken
    assert all(_index(name) for name in names)
    shown = subprocess.run(["ip", "-o", "addr", "show", names[0]], capture_output=True, text=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True).stdout
    assert "198.18.77.1/32" in shown
    assert f"198.18.77.2 dev {names[0]}" in routes and f"198.18.77.3 dev {names[1]}" in routes
    link = subprocess.run(["ip", "-o", "link", "show", names[0]], capture_output=True, text=True).stdout
    assert "LOWER_UP" in link  # Firecracker has it open still
    for vm in (one, other):
        vm.kill()
        vm.remove()


def test_connections_that_break_with_the_old_ones_are_made_again(stand: Stand) -> None:
    stand.template()
    stand.behave(breaks=3)
    vm = stand.clone("one")
    vm.send(birth.message("born", {"setup": {"id": "x"}}))
    assert vm.hear("states", 30)["states"] == {}


# -- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"dies": "no cgroups here"}, "Firecracker has ended: no cgroups here"),
        ({"refuses": "PUT /boot-source"}, "PUT /boot-source: refused by the test"),
        ({"refuses": "PUT /actions"}, "PUT /actions: refused by the test"),
        ({"dies_at": "PUT /vsock"}, "PUT /vsock: Firecracker does not answer: it has ended"),
    ],
)
def test_a_boot_that_fails_says_why_and_leaves_nothing(
    stand: Stand, behaviour: dict[str, Any], message: str
) -> None:
    stand.behave(**behaviour)
    with pytest.raises(VmError, match=message):
        stand.boot()
    assert _processes(stand.directory) == []


def test_a_socket_that_never_appears(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.behave(no_socket=True)
    monkeypatch.setattr(firecracker_vm, "_START_SECONDS", 0.3)
    with pytest.raises(VmError, match=r"socket api\.sock: No such file or directory"):
        stand.boot()
    assert _processes(stand.directory) == []


def test_a_guest_that_says_nothing(stand: Stand) -> None:
    stand.behave(silent=True)
    vm = stand.boot()
    with pytest.raises(VmError, match="the guest has said nothing"):
        vm.greeted(0.5)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"dies": "no cgroups here"}, "restored: Firecracker has ended: no cgroups here"),
        ({"refuses": "PUT /snapshot/load"}, "restored: PUT /snapshot/load: refused by the test"),
        ({"dies_at": "PATCH /vm"}, "restored: PATCH /vm: Firecracker does not answer"),
    ],
)
def test_a_clone_that_fails_says_why_and_leaves_nothing(
    stand: Stand, behaviour: dict[str, Any], message: str
) -> None:
    stand.template()
    stand.behave(**behaviour)
    with pytest.raises(VmError, match=message):
        stand.clone("one")
    assert _processes(stand.directory) == []
    assert not list((stand.directory / "one").iterdir())


def test_a_state_of_another_machine_is_refused(stand: Stand) -> None:
    stand.template()
    Path(stand.about["directory"], "memory").write_text("nothing of the kind")
    with pytest.raises(VmError, match="cannot be restored: PUT /snapshot/load: /memory: of another kind"):
        stand.clone("one")


def test_without_a_jailer_the_cause_is_told(stand: Stand) -> None:
    stand.about["jailer"] = str(stand.directory / "none")
    with pytest.raises(VmError, match=r"has ended: .*none"):
        stand.boot()


_SUPERVISOR = """
import json, sys
from neargate.node.drivers.microvm.vmm import firecracker_vm
vm = firecracker_vm.clone(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
print(json.dumps(vm.processes()), flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_supervisor_even_if_that_is_killed(stand: Stand) -> None:
    stand.template()
    (stand.directory / "one").mkdir()
    setup = {"directory": str(stand.directory / "one"), "uid": UID, "networked": True}
    command = [sys.executable, "-c", _SUPERVISOR, json.dumps(stand.about), json.dumps(setup)]
    supervisor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert supervisor.stdout and supervisor.stdin
    processes = json.loads(supervisor.stdout.readline())
    assert all(Path(f"/proc/{pid}").exists() for pid in processes)
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    _eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))
    supervisor.stdout.close()
    supervisor.stdin.close()
