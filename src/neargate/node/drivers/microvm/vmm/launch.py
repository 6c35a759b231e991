"""Makes a virtual machine with the VMM that its template was made with.

Called by supervisor.py and template.py; qemu.py and firecracker_vm.py do it. The scratch disk was mounted
when the template was frozen, so a clone begins with a copy of it as it was then (about a megabyte).
"""

import os
from collections.abc import Callable
from typing import Any

from neargate.node.drivers.microvm.vmm import qemu, scratch
from neargate.node.drivers.microvm.vmm.vm import Vm

FIRECRACKER = "firecracker"


def learn_firecracker() -> dict[str, object]:
    """In the zygote: its forks then need not read the modules."""
    from neargate.node.drivers.microvm.vmm import firecracker_vm  # noqa: F401 - QEMU's machines do without

    return {"ok": True}


def clone(
    template: dict[str, Any],
    memory: int | None,
    setup: dict[str, Any],
    begun: Callable[[int], None] | None = None,
) -> Vm:
    """memory -- descriptor of the template's, which QEMU wants. begun -- called with each process of it.
    Raise VmError or OSError."""
    if template.get("vmm") != FIRECRACKER:
        assert memory is not None
        return qemu.clone(template, memory, setup, begun)
    from neargate.node.drivers.microvm.vmm import firecracker_vm

    vm = firecracker_vm.clone(template, setup)
    if begun is None:
        return vm
    try:
        for pid in vm.processes():
            begun(pid)
    except OSError:
        vm.kill()
        vm.remove()
        raise
    return vm


def boot(template: dict[str, Any]) -> Vm:
    """A guest that is to be frozen: memory and scratch disk are files in the template's new directory. Raise
    VmError or OSError."""
    here = template["directory"]
    disk = scratch.copy(template["scratch"], here)
    scratch.give_name(disk, f"{here}/scratch")
    if template.get("vmm") == FIRECRACKER:
        from neargate.node.drivers.microvm.vmm import firecracker_vm

        return firecracker_vm.boot(template, disk)
    memory = os.open(f"{here}/memory", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(memory, template["memory"] << 20)
    os.fchown(memory, template["uid"], -1)  # it is opened anew through QEMU's own /proc
    try:
        return qemu.boot(template, memory, disk)
    finally:
        os.close(memory)
