"""What Firecracker and its jailer are told: pure. Called by firecracker_vm.py, and by the driver for the
template's key.

Paths are those inside the jail, where every machine has the same names for what is its own: its scratch disk,
its tap (in a network namespace of its own), its sockets. So the state of a template fits each clone as it
is, and nothing has to be overridden when it is loaded. Members and phases of the requests are those of
Firecracker's API description; tests/unit/node/test_firecracker.py holds them against it.
"""

from dataclasses import dataclass
from typing import Any

from neargate.node.drivers.microvm.vmm.machine import IMAGE_SLOTS, REHEARSAL_SLOT, SCRATCH_SLOT, Size

KERNEL, INITRAMFS, MEMORY, STATE = "kernel", "initramfs", "memory", "state"
"""Names of files in the jail. A disk slot's are `slot0` and so on."""
API_SOCKET, PORT_SOCKET = "api.sock", "v.sock"
TAP = "tap0"
EMPTY_BYTES = 1 << 40
"""What an image's slot looks like while nothing is in it."""
NAME = "microvm"
"""Of the machine, in its jail: no other is there."""
_GUEST = 3
"""Address of the guest on its vsock; Firecracker keeps each machine's to itself."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: dict[str, Any]


def slot_file(slot: int) -> str:
    return f"slot{slot}"


def empty_slots() -> list[int]:
    return list(range(1, IMAGE_SLOTS + 1))


def boot(size: Size) -> list[Request]:
    """A guest that says `ready` at its port. Slots in order: the guest numbers them by their addresses."""
    disks = [_disk(slot) for slot in range(REHEARSAL_SLOT + 1)]
    source = {"kernel_image_path": f"/{KERNEL}", "initrd_path": f"/{INITRAMFS}", "boot_args": _command_line()}
    return [
        _logger(),
        Request("PUT", "/machine-config", {"vcpu_count": size.cpus, "mem_size_mib": size.memory}),
        Request("PUT", "/boot-source", source),
        *disks,
        # no address of its own: the clone gives the interface that of its task
        Request("PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": TAP}),
        Request("PUT", "/vsock", {"guest_cid": _GUEST, "uds_path": f"/{PORT_SOCKET}"}),
        Request("PUT", "/actions", {"action_type": "InstanceStart"}),
    ]


def freeze() -> list[Request]:
    files = {"snapshot_path": f"/{STATE}", "mem_file_path": f"/{MEMORY}", "snapshot_type": "Full"}
    return [
        Request("PATCH", "/vm", {"state": "Paused"}),
        Request("PUT", "/snapshot/create", files),
    ]


def clone() -> list[Request]:
    memory = {"backend_type": "File", "backend_path": f"/{MEMORY}"}  # mapped privately
    load = {"snapshot_path": f"/{STATE}", "mem_backend": memory, "resume_vm": False}
    return [
        _logger(),
        Request("PUT", "/snapshot/load", load),
        Request("PATCH", "/vm", {"state": "Resumed"}),
    ]


def exchange(slot: int) -> Request:
    """Take notice of the file that now stands behind a slot."""
    disk = {"drive_id": slot_file(slot), "path_on_host": f"/{slot_file(slot)}"}
    return Request("PATCH", f"/drives/{slot_file(slot)}", disk)


def jailer(jailer: str, firecracker: str, base: str, uid: int) -> list[str]:
    """Its control group is given it by the supervisor, and so are its namespaces."""
    return [
        jailer, "--id", NAME, "--exec-file", firecracker, "--uid", str(uid), "--gid", str(uid),
        "--chroot-base-dir", base, "--", "--api-sock", f"/{API_SOCKET}",
    ]  # fmt: skip


def _logger() -> Request:
    return Request("PUT", "/logger", {"level": "Warning"})


def _disk(slot: int) -> Request:
    disk = {
        "drive_id": slot_file(slot),
        "path_on_host": f"/{slot_file(slot)}",
        "is_root_device": False,
        "is_read_only": slot != SCRATCH_SLOT,
    }
    return Request("PUT", f"/drives/{slot_file(slot)}", disk)


def _command_line() -> str:
    """`reboot=k` is how a guest ends this VMM; there is no keyboard or mouse to look for."""
    return (
        "console=ttyS0 quiet rdinit=/init reboot=k panic=-1 i8042.noaux i8042.nomux i8042.dumbkbd "
        "rcupdate.rcu_expedited=1 audit=0 random.trust_cpu=on cgroup_no_v1=all"
    )
