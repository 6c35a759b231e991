"""Makes a virtual machine: a clone of a template, or a boot that is to become one.

Called by supervisor.py and template.py. A clone's memory is the template's, mapped privately: pages are
shared until they are written. The scratch disk was mounted when the template was frozen, so a clone
begins with a copy of it as it was then (sparse: about a megabyte).
"""

import os
import select
import socket
import time
from typing import Any

from neargate.node.drivers.microvm.vmm import jail, machine, scratch, tap
from neargate.node.drivers.microvm.vmm.qmp import Qmp, QmpError
from neargate.node.guest import frames

FRAME = 1 << 20
"""The longest message that is taken from a guest."""
_READ = 1 << 17
_PORT_BUFFER = 1 << 20


class LaunchError(Exception):
    """The machine could not be made; the message says why."""


class Vm:
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
        """Read end of what QEMU says (and, while a template boots, the guest's console)."""
        self.port = port
        self.files = files
        """Where the guest asks for what is in its shared volumes."""
        self.qmp = qmp
        self.tap = tap_name
        self.scratch = disk
        """Descriptor of its scratch disk."""


def clone(template: dict[str, Any], memory: int, setup: dict[str, Any]) -> Vm:
    """memory -- descriptor of the template's. Raise LaunchError or OSError."""
    scratch_disk = scratch.copy(f"{template['directory']}/scratch", setup["directory"])
    made_tap = tap.make() if setup["networked"] else tap.make_apart()
    vm = _launch(template, memory, scratch_disk, made_tap, setup["uid"], None)
    try:
        state = f"{template['directory']}/state"
        vm.qmp.ask(
            "migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}]
        )
        vm.qmp.give("state", state, os.O_RDONLY)
        vm.qmp.ask("migrate-incoming", uri="fd:state")
        while (status := vm.qmp.ask("query-status")["status"]) == "inmigrate":
            time.sleep(0.0005)
        if status != "paused":
            raise LaunchError(f"the template cannot be restored: {said(vm.output) or status}")
        vm.qmp.ask("cont")
    except QmpError as error:
        raise LaunchError(f"the template cannot be restored: {said(vm.output) or error}") from None
    return vm


def boot(template: dict[str, Any], memory: int, scratch_disk: int) -> Vm:
    """Raise LaunchError or OSError."""
    line = machine.kernel_command_line(template["tsc_khz"], template["accelerator"])
    kernel, initramfs = (os.open(template[name], os.O_RDONLY) for name in ("kernel", "initramfs"))
    extra = {kernel: 20, initramfs: 21}
    arguments = ["-kernel", "/proc/self/fd/20", "-initrd", "/proc/self/fd/21", "-append", line]
    try:
        return _launch(template, memory, scratch_disk, tap.make_apart(), template["uid"], arguments, extra)
    finally:
        for fd in extra:
            os.close(fd)


def put_image(vm: Vm, slot: int, path: str) -> None:
    """Raise OSError or QmpError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        put(vm, slot, fd, readonly=True)
    finally:
        os.close(fd)


def put(vm: Vm, slot: int, fd: int, *, readonly: bool) -> None:
    """Put a file behind a disk slot. Raise QmpError."""
    number = vm.qmp.ask("add-fd", fd)["fdset-id"]
    node = f"file{slot}-{number}"
    vm.qmp.ask(
        "blockdev-add", driver="file", node_name=node, filename=f"/dev/fdset/{number}",
        read_only=readonly, locking="off", discard="ignore" if readonly else "unmap",
    )  # fmt: skip
    raw: dict[str, Any] = {"driver": "raw", "node-name": machine.slot_node(slot), "file": node}
    raw |= {"read-only": readonly} | ({} if readonly else {"discard": "unmap"})
    vm.qmp.ask("blockdev-reopen", options=[raw])


def send(vm: Vm, message: dict[str, Any]) -> None:
    vm.port.sendall(frames.json_frame(message))


def hear(vm: Vm, event: str, seconds: float, asker: int | None = None) -> dict[str, Any]:
    """Wait for the guest's `event`. Raise LaunchError or FrameError.

    asker -- the connection of whoever waits for this, who may go meanwhile; it says nothing more.
    """
    reader, deadline, console = frames.Reader(FRAME), time.monotonic() + seconds, b""
    port = vm.port.fileno()
    while time.monotonic() < deadline:
        for fd in select.select([port, vm.output, *([] if asker is None else [asker])], [], [], 1)[0]:
            if fd == asker:
                raise LaunchError("whoever wanted it has gone")
            data = os.read(fd, _READ)
            if fd == vm.output:
                console = (console + data)[-2000:]
            if not data:
                text = console.decode(errors="replace").strip()
                raise LaunchError(f"the virtual machine has ended: {text or said(vm.output)}")
            for kind, payload in reader.feed(data) if fd == port else ():
                message = frames.message(payload) if kind == frames.JSON else {}
                if message.get("event") == "failed":
                    raise LaunchError(str(message.get("error"))[:1000])
                if message.get("event") == event:
                    return message
    text = console.decode(errors="replace").strip()
    raise LaunchError(f"the guest has said nothing for {seconds:.0f} s{': ' if text else ''}{text}")


def rehearse(vm: Vm, template: dict[str, Any], seconds: float, asker: int | None = None) -> None:
    """Have the guest run a container and forget it. Raise LaunchError, OSError, QmpError or FrameError."""
    put_image(vm, machine.REHEARSAL_SLOT, template["rehearsal_image"])
    born = {"op": "rehearse", "entropy": os.urandom(64).hex(), "time": time.time()}
    send(vm, {**born, **template["rehearsal"]})
    hear(vm, "ready", seconds, asker)


def _launch(
    template: dict[str, Any],
    memory: int,
    scratch_disk: int,
    made_tap: tuple[int, str],
    uid: int,
    boot_arguments: list[str] | None,
    extra: dict[int, int] | None = None,
) -> Vm:
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
    size = machine.Size(template["cpus"], template["memory"])
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
        return Vm(pid, read, port, asked, Qmp(monitor), tap_name, scratch_disk)
    except QmpError as error:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise LaunchError(f"QEMU does not start: {said(read) or error}") from None


def said(output: int) -> str:
    """The last that QEMU said."""
    text = b""
    try:
        while data := os.read(output, 1 << 16):
            text = (text + data)[-4096:]
    except BlockingIOError:
        pass
    return text.decode(errors="replace").strip()
