"""A virtual machine run by Firecracker in its jailer: a clone of a template, or a boot that is to become one.

Called by launch.py, in a supervisor or a template's maker. firecracker.py has the requests, api.py sends
them, firecracker_jail.py makes the jail. Not run for want of a machine with KVM: the tests have a jailer of
their own that does to itself what Firecracker's does, and then opens all that the requests name.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from neargate.node.drivers.microvm.vmm import firecracker, firecracker_jail, jail, scratch, tap
from neargate.node.drivers.microvm.vmm.api import Api
from neargate.node.drivers.microvm.vmm.machine import REHEARSAL_SLOT, SCRATCH_SLOT, Size
from neargate.node.drivers.microvm.vmm.vm import FRAME, Vm, VmError, said
from neargate.node.guest import frames
from neargate.node.shim import disk, kernel

_AGENT_PORT, _FILES_PORT = 1, 2
_START_SECONDS, _ANSWER_SECONDS, _BIRTH_SECONDS = 10.0, 1.0, 60.0
_LET_GO_SECONDS = 0.1
_SLOWEST_MIB = 20
"""What a disk takes of a memory in a second, at least."""
_CREDENTIALS = struct.Struct("=iII")
_READ, _LINE = 1 << 17, 32
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class FirecrackerVm(Vm):
    def __init__(self, template: dict[str, Any], uid: int, fd: int, named: str) -> None:
        """Nothing is started yet. fd, named -- the scratch disk's file, which is unlinked with the machine
        until `name_scratch`. Raise OSError."""
        self.pid = 0
        self.output = -1
        self.scratch = fd
        self._named, self._kept = named, False
        self._template = template
        self._uid = uid
        self._jail = -1
        self._api: Api | None = None
        self._itself = 0
        """Firecracker's own process."""
        self._link = ""
        os.fchown(fd, uid, uid)

    # -- start -----------------------------------------------------------------------------------------

    def start(self, shown: Mapping[str, str]) -> None:
        """shown -- name in the jail -> file. Raise OSError or VmError."""
        base, told = os.path.dirname(self._named), self._template
        argv = firecracker.jailer(told["jailer"], told["firecracker"], base, self._uid)
        program = os.path.basename(os.path.realpath(told["firecracker"]))
        place = f"{base}/{program}/{firecracker.NAME}/root"
        files = {**shown, firecracker.slot_file(SCRATCH_SLOT): self._named}
        trees: dict[str, int] = {}
        read, tell = os.pipe2(os.O_CLOEXEC)
        self.output, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            for name, path in files.items():
                trees[name] = kernel.mapped_tree(path, -1)
            ends = firecracker_jail.Ends(trees, output, tell)
            self.pid = jail.fork_apart(lambda: firecracker_jail.become(argv, base, place, self._uid, ends))
        finally:
            for fd in (*trees.values(), tell, output):
                os.close(fd)
        with open(read, "rb") as answer:
            if cause := answer.read().decode(errors="replace"):
                raise VmError(f"no jail can be made: {cause}")
        try:
            self._jail = os.open(f"/proc/{self.pid}/root{place}", _DIRECTORY)
        except OSError:
            raise VmError(f"Firecracker's jailer has ended: {said(self.output)}") from None
        connection = self._connected(firecracker.API_SOCKET, _START_SECONDS)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._itself = _CREDENTIALS.unpack(credentials)[0]
        self._api = Api(connection)

    def ask(self, request: firecracker.Request, seconds: float = 60) -> None:
        """Raise VmError."""
        assert self._api
        self._api.ask(request, seconds)

    def greeted(self, seconds: float, asker: int | None = None) -> None:
        """Connect to the guest's agent, which greets. In a clone, the first connections may still be broken
        together with what there was before the template's freezing."""
        deadline = time.monotonic() + seconds
        while True:
            port = self._dialled(_AGENT_PORT, deadline)
            if _greets(port, deadline):
                break
            port.close()
            if time.monotonic() >= deadline:
                raise VmError(f"the guest has said nothing for {seconds:.0f} s: {said(self.output)}")
        self.port = port
        self.port.settimeout(None)

    def meet_files(self, seconds: float) -> None:
        """Connect to where the guest will ask for files, if it has volumes that want it."""
        self.files = self._dialled(_FILES_PORT, time.monotonic() + seconds)
        self.files.settimeout(None)

    def _dialled(self, number: int, deadline: float) -> socket.socket:
        """A connection to a port of the guest, once somebody listens there. Raise VmError."""
        while True:
            connection = self._connected(firecracker.PORT_SOCKET, deadline - time.monotonic())
            connection.settimeout(_ANSWER_SECONDS)
            try:
                connection.sendall(b"CONNECT %d\n" % number)
                if _line(connection).startswith(b"OK "):
                    return connection
            except OSError:
                pass  # a timeout, too
            connection.close()
            if time.monotonic() >= deadline:
                raise VmError(f"the guest does not listen at its port {number}: {said(self.output)}")
            time.sleep(0.005)

    def _connected(self, name: str, seconds: float) -> socket.socket:
        """A connection to a socket in the jail, once it is there. Raise VmError."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return firecracker_jail.connect(self._jail, name)
            except OSError as error:
                cause = error.strerror
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise VmError(f"Firecracker has ended: {said(self.output)}")
            if time.monotonic() >= deadline:
                raise VmError(f"Firecracker's socket {name}: {cause}: {said(self.output)}")
            time.sleep(0.001)

    # -- what every machine does -----------------------------------------------------------------------

    def processes(self) -> list[int]:
        return [self.pid, self._itself]

    def put(self, slot: int, image: str) -> None:
        firecracker_jail.put(self._itself, image, firecracker.slot_file(slot))
        self.ask(firecracker.exchange(slot))

    def replace_scratch(self, fd: int, directory: str) -> None:
        os.close(self.scratch)
        os.unlink(self._named)
        self.scratch, self._named = fd, f"{directory}/{disk.FILE}"
        scratch.give_name(fd, self._named)
        os.fchown(fd, self._uid, self._uid)
        self.put(SCRATCH_SLOT, self._named)

    def name_scratch(self, path: str) -> None:
        os.rename(self._named, path)
        self._named, self._kept = path, True

    def settle(self, interface: dict[str, Any]) -> None:
        names, address, gateway = (interface[name] for name in ("names", "address", "gateway"))
        self._link = tap.bring(self.pid, firecracker.TAP, names, address, gateway)

    def freeze(self, directory: str) -> None:
        """Without a connection, which would be broken in every clone. (So would the whole vsock be, before
        Firecracker 1.16.1, were it frozen with something to send.)"""
        self.port.close()
        time.sleep(_LET_GO_SECONDS)
        for request in firecracker.freeze():
            self.ask(request, 60 + self._template["memory"] / _SLOWEST_MIB)
        self._kept = True

    def kill(self) -> None:
        super().kill()  # the end of a PID namespace's first process is seen when all the others have ended
        if self._api:
            self._api.close()
            self._api = None
        if self._jail >= 0:
            os.close(self._jail)
            self._jail = -1

    def remove(self) -> None:
        if self._link:
            tap.remove(self._link)
        if not self._kept:
            try:
                os.unlink(self._named)
            except FileNotFoundError:
                pass


def clone(template: dict[str, Any], setup: dict[str, Any]) -> FirecrackerVm:
    """Raise VmError or OSError."""
    here = template["directory"]
    fd = scratch.copy(f"{here}/scratch", setup["directory"])
    # A file without a name cannot be shown in a jail.
    name = f"{scratch.READY}{os.getpid()}" if setup.get("ready") else disk.FILE
    named = f"{setup['directory']}/{name}"
    scratch.give_name(fd, named)
    vm = FirecrackerVm(template, setup["uid"], fd, named)
    shown = {name: f"{here}/{name}" for name in (firecracker.MEMORY, firecracker.STATE)}
    try:
        vm.start(shown | {firecracker.slot_file(REHEARSAL_SLOT): template["rehearsal_image"]})
        for request in firecracker.clone():
            vm.ask(request)
        vm.greeted(_BIRTH_SECONDS)
        vm.meet_files(_BIRTH_SECONDS)
    except (OSError, VmError) as error:
        _give_up(vm)
        raise VmError(f"the template cannot be restored: {error}") from None
    return vm


def boot(template: dict[str, Any], fd: int) -> FirecrackerVm:
    """fd -- of the scratch disk. Raise VmError or OSError."""
    here = template["directory"]
    vm = FirecrackerVm(template, template["uid"], fd, f"{here}/scratch")
    shown = {name: f"{here}/{name}" for name in (firecracker.MEMORY, firecracker.STATE)}
    shown |= {name: template[name] for name in (firecracker.KERNEL, firecracker.INITRAMFS)}
    try:
        for name in (firecracker.MEMORY, firecracker.STATE):
            made = os.open(f"{here}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchown(made, template["uid"], -1)
            os.close(made)
        vm.start(shown | {firecracker.slot_file(REHEARSAL_SLOT): template["rehearsal_image"]})
        for request in firecracker.boot(Size(template["cpus"], template["memory"])):
            vm.ask(request)
    except (OSError, VmError):
        _give_up(vm)
        raise
    return vm


def _give_up(vm: FirecrackerVm) -> None:
    vm.kill()
    vm.remove()
    for fd in (vm.scratch, vm.output):
        if fd >= 0:
            os.close(fd)


def _line(connection: socket.socket) -> bytes:
    """Not a byte more: what follows is the guest's. Raise OSError."""
    found = b""
    while not found.endswith(b"\n") and len(found) < _LINE:
        byte = connection.recv(1)
        if not byte:
            break
        found += byte
    return found


def _greets(port: socket.socket, deadline: float) -> bool:
    """Does the agent say that it is ready, before the connection is broken?"""
    reader = frames.Reader(FRAME)
    try:
        while True:
            port.settimeout(max(0.001, deadline - time.monotonic()))
            data = port.recv(_READ)
            for kind, payload in reader.feed(data):
                if kind == frames.JSON and frames.message(payload).get("event") == "ready":
                    return True
            if not data:
                return False
    except OSError:
        return False
