"""The supervisor of one virtual machine: owns its VMM, speaks with its guest, writes its logs.

Forked by zygote.py; outlives the daemon, to which it is a shim (node/shim/main.py, whose loop and
protocol these are). What a container needs is done by the guest's agent; here are only the disks, the
spools and what is known of the end. It ends when the VMM does, leaving its record for the daemon to find, as
a killed shim would.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from neargate.node.drivers.microvm.vmm import birth, image_users, launch, scratch, told
from neargate.node.drivers.microvm.vmm import template as templates
from neargate.node.drivers.microvm.vmm.logs import Log
from neargate.node.drivers.microvm.vmm.terminals import Terminals
from neargate.node.drivers.microvm.vmm.vm import FRAME, Vm, VmError, said
from neargate.node.guest import frames, plan
from neargate.node.shares import serial
from neargate.node.shim import birth as shim_birth
from neargate.node.shim import kernel, shared
from neargate.node.shim.main import VERSION, Shim
from neargate.node.shim.peers import Peer

_READ = 1 << 17
_BIRTH_SECONDS = 60
_LOOK_SECONDS = 0.02
_GUEST_SECONDS = 10
"""A guest that does not read its messages for so long is ended."""
_VMM_MEMORY = 192 << 20
"""What the VMM may use beyond the machine's memory."""
_VMM_THREADS = 128
_VMM_CPU = 512
"""CPU units for the machine's own devices, beyond the task's."""


def run(connection: socket.socket, setup: dict[str, Any]) -> None:
    """Own the machine of `setup` until it is destroyed. In the forked child."""
    if setup.get("ready"):
        return _wait_ready(connection, setup)
    _own(connection, setup, None)


def _wait_ready(connection: socket.socket, setup: dict[str, Any]) -> None:
    """A clone kept ready: warmed, nameless, gone with the daemon. The next message says what it becomes."""
    kernel.set_name("neargate-ready")
    peer = Peer(connection)
    try:
        vm = _clone(setup)
        vm.rehearse(setup["template"], _BIRTH_SECONDS)
    except (OSError, VmError, frames.FrameError) as error:
        peer.send({"event": "failed", "error": str(error)})
        os._exit(1)
    peer.send({"event": "ready", "pid": vm.pid})
    connection.settimeout(None)
    messages: list[dict[str, Any]] = []
    while not messages and not peer.closed:
        messages = peer.receive()
    if not messages:
        vm.remove()
        os._exit(0)  # the VMM goes with its parent
    connection.settimeout(0.2)
    _own(connection, messages[0]["setup"], vm)


def _own(connection: socket.socket, setup: dict[str, Any], vm: Vm | None) -> None:
    supervisor = Supervisor(setup, vm)
    try:
        supervisor.open()
    except (OSError, VmError, frames.FrameError) as error:
        Peer(connection).send({"event": "failed", "error": str(error)})
        supervisor.kill()
        supervisor.unmake()
        return
    if not supervisor.add_peer(connection):
        supervisor.kill()
        supervisor.unmake()
        return
    supervisor.loop()


def _clone(setup: dict[str, Any], begun: Callable[[int], None] | None = None) -> Vm:
    directory = setup["template"]["directory"]
    return launch.clone(setup["template"], templates.MEMORIES.get(directory), setup, begun)


class Supervisor(Shim):
    def __init__(self, setup: dict[str, Any], vm: Vm | None) -> None:
        super().__init__(setup)
        self._vm = vm
        self._relay = Terminals(self._say)
        self._reader = frames.Reader(FRAME)
        self._states: dict[str, Any] = {}
        self._logs: dict[str, Log] = {}
        self._slots: dict[str, int] = {}
        """Image -> the disk slot that it is in."""
        self._asked: dict[int, tuple[Peer | None, int, dict[str, Any]]] = {}
        """What the guest has been asked: number -> (who asked, its number there, the request)."""
        self._number = 0
        self._runtime_ids: dict[str, str] = {}
        self._quiet = False
        self._file_server = 0
        """Its process; 0: there are no shared volumes, or it has ended."""

    @property
    def vm(self) -> Vm:
        assert self._vm
        return self._vm

    # -- set-up ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the machine, and make it this sandbox. Raise OSError, VmError, FrameError."""
        setup = self.setup
        shim_birth.become_a_shim(setup)
        kernel.set_name("neargate-vmm")
        self._signals()
        shim_birth.join_group(setup["instance"])
        if self._vm is None:
            self._vm = _clone(setup, self._join)
        else:
            for pid in self.vm.processes():
                self._join(pid)
        scratch_released = self._replace_scratch()
        born = birth.told(
            setup, self._serve_files(), scratch_released, setup["template"]["rehearsal"]["writes"]
        )
        self.vm.send(birth.message("born", born))
        # While the guest is busy with that:
        self.disk = scratch.Scratch(setup, self.vm.name_scratch)
        os.close(self.vm.scratch)
        if setup["interface"]:
            self.vm.settle(setup["interface"])
        self.vm.hear("states", _BIRTH_SECONDS)
        self.vm.port.settimeout(_GUEST_SECONDS)
        self._listener = shim_birth.listen(setup["directory"])
        self.watch(self._listener.fileno(), self._accept)
        self.watch(self.vm.port.fileno(), self._from_guest)
        self.watch(self.vm.output, self._from_vmm)
        self._persist()

    def _join(self, pid: int) -> None:
        """Hold a process of the VMM to the sandbox's limits. (The kernel's RCU takes its time over it.)"""
        self.group.make()
        memory = (self.setup["template"]["memory"] << 20) + _VMM_MEMORY
        self.group.limit(memory, _VMM_THREADS, self.setup["cpu"])
        self.group.add(pid, "vmm")

    def _serve_files(self) -> list[dict[str, Any]]:
        """Begin to answer for the shared volumes: what the guest must know of them. Raise OSError."""
        volumes = self.setup["shared"]
        roots = [shared.opened(volume) for volume in volumes]
        if volumes:
            users = [tuple(volume["user"]) if volume.get("user") else None for volume in volumes]
            served = list(zip(roots, users, strict=True))
            self._file_server = serial.start(self.vm.files, served)
        for fd in (*roots, self.vm.files.detach()):
            os.close(fd)
        return [{"name": volume["volume"], "has_user": bool(volume.get("user"))} for volume in volumes]

    def _replace_scratch(self) -> bool:
        """A task that asked for more or less than the template has gets an empty disk of its own size."""
        if not self.setup["scratch"]:
            return False
        self.vm.send({"op": "release"})  # else it would write what it knows of the old one
        self.vm.hear("ready", _BIRTH_SECONDS)
        directory = self.setup["directory"]
        self.vm.replace_scratch(scratch.copy(self.setup["scratch"], directory), directory)
        return True

    # -- the guest -------------------------------------------------------------------------------------

    def _from_vmm(self, fd: int) -> None:
        """Its complaints, into the shim's log, for a while: a guest can provoke any number."""
        text = said(fd)
        if text and not self._quiet:
            sys.stderr.write(f"vmm: {text}\n")
            self._quiet = os.fstat(2).st_size > FRAME

    def _from_guest(self, _fd: int) -> None:
        try:
            data = self.vm.port.recv(_READ)
        except OSError:
            data = b""
        if not data:
            return self._died()
        try:
            for kind, payload in self._reader.feed(data):
                if kind == frames.JSON:
                    self._message(frames.message(payload))
                else:
                    self._logged(kind, payload)
        except frames.FrameError as error:
            sys.stderr.write(f"the guest does not keep to the protocol ({error}): it is ended\n")
            self._died()

    def _died(self) -> None:
        """No machine, no sandbox: what is known stays in states.json for the daemon."""
        self.kill()
        for log in self._logs.values():
            log.end()
        sys.stderr.write(f"the virtual machine has ended: {said(self.vm.output)}\n")
        sys.stderr.flush()
        os._exit(1)

    def _ask(self, peer: Peer | None, request: dict[str, Any]) -> None:
        self._number += 1
        self._asked[self._number] = (peer, request.get("id", 0), request)
        self._say({**request, "id": self._number})

    def _message(self, message: dict[str, Any]) -> None:
        if message.get("event") == "states":
            names = self._runtime_ids
            self._states = told.states(message.get("states"), names, names, self.vm.pid)
            return self._changed()
        if "terminal" in message:
            return self._relay.told(message)
        answered = message.get("id", 0)
        if not isinstance(answered, int):
            raise frames.FrameError("an answer to what was not asked")
        peer, number, request = self._asked.pop(answered, (None, 0, {}))
        if not request:
            return
        answer = told.answer(request["op"], message)
        if request["op"] == "start" and "ok" in answer:
            self._open_log(request)
            self.hold_to_quota()
        if peer:
            peer.send({"id": number, **answer})

    def hold_to_quota(self) -> None:
        """The guest holds its containers to the task's processors; this holds the guest, after its start."""
        if not self._quota_set:
            self.group.quota(self.setup["cpu"] + _VMM_CPU)
            self._quota_set = True

    # -- logs ------------------------------------------------------------------------------------------

    def _open_log(self, request: dict[str, Any]) -> None:
        name, wanted = request["name"], request["log"]
        if wanted is None:
            return
        limit, blocking = wanted["max_buffer_bytes"], wanted["blocking"]
        if name in self._logs:
            self._logs[name].begin(limit, blocking)
        else:
            self._logs[name] = Log(f"{self.setup['directory']}/spool/{name}", limit, blocking)

    def _logged(self, kind: int, payload: bytes) -> None:
        name, stream, data = frames.log_parts(payload)
        log = self._logs.get(name)
        if log is None or stream not in (1, 2):
            return
        self._took(name, log.take(kind, stream, data))
        if log.waits and not self.timers:
            self.timers.append((time.monotonic() + _LOOK_SECONDS, self._look))

    def _took(self, name: str, count: int) -> None:
        if count:
            self._say({"op": "taken", "container": name, "bytes": count})

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self.vm.send(message)
        except OSError:
            self._died()

    def _look(self) -> None:
        """Is there room in the spools again?"""
        for name, log in self._logs.items():
            self._took(name, log.advance())
        if any(log.waits for log in self._logs.values()):
            self.timers.append((time.monotonic() + _LOOK_SECONDS, self._look))

    def _receive(self, fd: int) -> None:
        peer = self._peers[fd]
        super()._receive(fd)
        if peer.closed:
            self._relay.gone(peer)

    # -- requests --------------------------------------------------------------------------------------

    def _told(self) -> dict[str, Any]:
        return {"event": "states", "version": VERSION, "id": self.setup["id"], "states": self._states}

    def _answer(self, peer: Peer, request: dict[str, Any]) -> None:
        match request["op"]:
            case "start":
                self._begin(peer, request)
            case "signal" | "exec" | "usage" | "storage" | "input" | "post":
                self._ask(peer, request)
            case "attach":
                self._relay.attached(peer, request["terminal"])
                self._ask(peer, request)
            case "shown":  # nobody waits for an answer to these
                self._relay.shown(request["terminal"], request["bytes"])
                self._say(request)
            case "resize" | "hangup":
                self._say(request)
            case "destroy":
                self._destroy()
                for asker, number, _request in self._asked.values():
                    if asker:
                        asker.send({"id": number, "error": "the sandbox is gone"})
                peer.send({"id": request["id"], "ok": {}})
                self._leave()
            case other:
                peer.send({"id": request["id"], "error": f"no such operation: {other}"})

    def _begin(self, peer: Peer, request: dict[str, Any]) -> None:
        image = request["image"]
        slot = self._slots.get(image, len(self._slots) + 1)
        most = self.setup["template"]["images"]
        if slot > most:
            return peer.send({"id": request["id"], "error": f"more than {most} images"})
        if image not in self._slots:
            try:
                self.vm.put(slot, image)
            except (OSError, VmError) as error:
                return peer.send({"id": request["id"], "error": f"image: {error}"})
            self._slots[image] = slot
        first = not self._runtime_ids and not self.setup["shared_pid"]
        self._runtime_ids[request["name"]] = request["runtime_id"]
        rehearsed = self.setup["template"]["rehearsal"]["start"]["config"]
        start = plan.start(request, rehearsed, possible=first)
        known = image_users.known(image, request["user"])
        self._ask(peer, {**start, "image": "", "slot": slot, "known_user": known})

    # -- the end ---------------------------------------------------------------------------------------

    def kill(self) -> None:
        if self._file_server:
            os.kill(self._file_server, 9)
            os.waitpid(self._file_server, 0)
            self._file_server = 0
        if self._vm:
            self._vm.kill()

    def unmake(self) -> None:
        if self._vm:
            self._vm.remove()
        super().unmake()

    def _reap(self, fd: int) -> None:
        """The VMM, or the server of files: without that one, the guest gets errors for its volumes."""
        try:
            os.read(fd, 4096)
        except BlockingIOError:
            pass
        if self._file_server and os.waitpid(self._file_server, os.WNOHANG)[0]:
            sys.stderr.write("the server of the shared volumes has ended\n")
            self._file_server = 0
        if self.vm.pid and os.waitpid(self.vm.pid, os.WNOHANG)[0]:
            self.vm.pid = 0
            self._died()

    def _destroy(self) -> None:
        self.kill()
        self._drain_port()
        for log in self._logs.values():
            log.end()
        self._remove_group()
        self._clear()

    def _drain_port(self) -> None:
        """What the guest had sent before its end."""
        self.vm.port.setblocking(False)
        try:
            while data := self.vm.port.recv(_READ):
                for kind, payload in self._reader.feed(data):
                    if kind != frames.JSON:
                        name, stream, rest = frames.log_parts(payload)
                        if name in self._logs and stream in (1, 2):
                            self._logs[name].take(kind, stream, rest)
        except (OSError, frames.FrameError):
            return
