"""A virtual machine run by QEMU: a clone of a template, or a boot that is to become one.

Called by launch.py. A clone's memory is the template's, mapped privately: pages are shared until they are
written. machine.py has the command line, qmp.py the monitor, jail.py what QEMU may do.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from neargate.node.drivers.microvm.vmm import jail, machine, scratch, tap
from neargate.node.drivers.microvm.vmm.qmp import Qmp
from neargate.node.drivers.microvm.vmm.vm import Vm, VmError, said

_PORT_BUFFER = 1 << 20
_BY_FILE = {"capability": "x-ignore-shared", "state": True}
"""The memory is the file that it is mapped from, and no part of the device state."""


class QemuVm(Vm):
    def __init__(
        self,
        pid: int,
        output: int,
        port: socket.socket,
        files: socket.socket,
        qmp: Qmp,
        tap_name: str,
        disk: int,
    ) -> None:
        self.pid = pid
        self.output = output
        self.port = port
        self.files = files
        self.qmp = qmp
        self._tap = tap_name
        self.scratch = disk

    def greeted(self, seconds: float, asker: int | None = None) -> None:
        self.hear("ready", seconds, asker)

    def processes(self) -> list[int]:
        return [self.pid]

    def put(self, slot: int, image: str) -> None:
        fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._put(slot, fd, readonly=True)
        finally:
            os.close(fd)

    def replace_scratch(self, fd: int, directory: str) -> None:
        os.close(self.scratch)
        self.scratch = fd
        self._put(machine.SCRATCH_SLOT, fd, readonly=False)

    def name_scratch(self, path: str) -> None:
        scratch.give_name(self.scratch, path)

    def settle(self, interface: dict[str, Any]) -> None:
        tap.settle(self._tap, interface["names"], interface["address"], interface["gateway"])

    def rehearse(self, template: dict[str, Any], seconds: float, asker: int | None = None) -> None:
        self.put(template["images"] + 1, template["rehearsal_image"])
        super().rehearse(template, seconds, asker)

    def freeze(self, directory: str) -> None:
        self.qmp.ask("stop")
        self.qmp.ask("migrate-set-capabilities", capabilities=[_BY_FILE])
        self.qmp.give("state", f"{directory}/state", os.O_WRONLY | os.O_CREAT)
        self.qmp.ask("migrate", uri="fd:state")
        while (status := self.qmp.ask("query-migrate").get("status")) not in ("completed", "failed"):
            time.sleep(0.01)
        if status == "failed":
            raise VmError(f"the guest cannot be frozen: {said(self.output)}")

    def remove(self) -> None:
        """All went with QEMU: the tap, and the disk that has no name."""

    def _put(self, slot: int, fd: int, *, readonly: bool) -> None:
        number = self.qmp.ask("add-fd", fd)["fdset-id"]
        node = f"file{slot}-{number}"
        self.qmp.ask(
            "blockdev-add", driver="file", node_name=node, filename=f"/dev/fdset/{number}",
            read_only=readonly, locking="off", discard="ignore" if readonly else "unmap",
        )  # fmt: skip
        raw: dict[str, Any] = {"driver": "raw", "node-name": machine.slot_node(slot), "file": node}
        raw |= {"read-only": readonly} | ({} if readonly else {"discard": "unmap"})
        self.qmp.ask("blockdev-reopen", options=[raw])


def clone(
    template: dict[str, Any],
    memory: int,
    setup: dict[str, Any],
    begun: Callable[[int], None] | None = None,
) -> QemuVm:
    """memory -- descriptor of the template's. begun -- called with QEMU's process while that gets ready.
    Raise VmError or OSError."""
    scratch_disk = scratch.copy(f"{template['directory']}/scratch", setup["directory"])
    made_tap = tap.make() if setup["networked"] else tap.make_apart()
    vm = _launch(template, memory, scratch_disk, made_tap, setup["uid"], None, begun=begun)
    try:
        vm.qmp.ask("migrate-set-capabilities", capabilities=[_BY_FILE])
        vm.qmp.give("state", f"{template['directory']}/state", os.O_RDONLY)
        vm.qmp.ask("migrate-incoming", uri="fd:state")
        while (status := vm.qmp.ask("query-status")["status"]) == "inmigrate":
            time.sleep(0.0005)
        if status != "paused":
            raise VmError(status)
        vm.qmp.ask("cont")
    except (VmError, OSError) as error:
        vm.kill()
        raise VmError(f"the template cannot be restored: {error} {said(vm.output)}") from None
    return vm


def boot(template: dict[str, Any], memory: int, scratch_disk: int) -> QemuVm:
    """memory -- descriptor of what becomes the guest's. Raise VmError or OSError."""
    line = machine.kernel_command_line(template["tsc_khz"], template["accelerator"])
    kernel, initramfs = (os.open(template[name], os.O_RDONLY) for name in ("kernel", "initramfs"))
    extra = {kernel: 20, initramfs: 21}
    arguments = ["-kernel", "/proc/self/fd/20", "-initrd", "/proc/self/fd/21", "-append", line]
    try:
        return _launch(template, memory, scratch_disk, tap.make_apart(), template["uid"], arguments, extra)
    finally:
        for fd in extra:
            os.close(fd)


def _launch(
    template: dict[str, Any],
    memory: int,
    scratch_disk: int,
    made_tap: tuple[int, str],
    uid: int,
    boot_arguments: list[str] | None,
    extra: dict[int, int] | None = None,
    begun: Callable[[int], None] | None = None,
) -> QemuVm:
    """Closes the tap's descriptor here."""
    monitor, monitor_there = socket.socketpair()
    port, port_there = socket.socketpair()
    asked, asked_there = socket.socketpair()
    for end in (port, port_there, asked, asked_there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PORT_BUFFER)
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    tap_fd, tap_name = made_tap
    ends = machine.Ends(memory=10, monitor=11, port=12, scratch=13, tap=14, files=15)
    inherited = {
        memory: 10, monitor_there.fileno(): 11, port_there.fileno(): 12, scratch_disk: 13, tap_fd: 14,
        asked_there.fileno(): 15,
    } | (extra or {})  # fmt: skip
    size = machine.Size(template["cpus"], template["memory"], template["images"])
    argv = machine.command(size, ends, template["accelerator"], boot_arguments)
    try:
        kvm = template["accelerator"] == "kvm"
        pid = jail.start(argv, template["root"], uid, inherited, write, kvm)
    finally:
        for fd in (tap_fd, write):
            os.close(fd)
        for there in (monitor_there, port_there, asked_there):
            there.close()
    try:
        if begun:
            begun(pid)
        return QemuVm(pid, read, port, asked, Qmp(monitor), tap_name, scratch_disk)
    except (VmError, OSError) as error:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise VmError(f"QEMU does not start: {error} {said(read)}") from None
