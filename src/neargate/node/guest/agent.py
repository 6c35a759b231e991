"""The guest's agent: a shim (node/shim/main.py) that speaks through a port of the virtual machine.

Started by `init` as the machine's first process. It gets ready, says so (there a template is frozen), waits
for the message that says which sandbox this machine is, and then keeps its containers like any shim.
"""

import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from neargate.node import cgroup
from neargate.node.guest import devices, places, shares
from neargate.node.guest.disks import Disks, KeptDisks
from neargate.node.guest.first import ID, First
from neargate.node.guest.identity import Identity
from neargate.node.guest.places import CGROUP, DIRECTORY, FIRST
from neargate.node.guest.port import Output, Port, VsockPort, agent_port
from neargate.node.shim import birth, files, kernel
from neargate.node.shim.container import Container
from neargate.node.shim.main import Shim

RUNTIME, RUNTIME_OPTIONS = "/usr/bin/crun", ("--cgroup-manager=cgroupfs",)
RUNTIME_STATE = "/rt"
"""In the machine's memory: environments hold secrets, and the scratch disk is a file of the host."""
_ADDR_NO_RANDOMIZE = 0x0040000
_SCRATCH_OPTIONS = "noinit_itable,no_prefetch_block_bitmaps,noauto_da_alloc"
"""Nothing is read or written there but for a container. (Tables not yet written are zeros in the file.)"""
_ETC_OPTIONS = "mode=755,size=1m"
_SELDOM = (("stat_interval", "60"), ("compaction_proactiveness", "0"))
"""What the kernel does now and then, in the middle of a start and in idle machines, too: counters of memory
are brought together (it does that when it needs them), and memory is put in order before anybody asks."""
_SETTLE_SECONDS = 1.5
"""What the kernel puts off (the end of groups and namespaces) is then done once, not in every clone."""
_ONCE = select.EPOLLIN | select.EPOLLONESHOT
"""Nobody then has to take it out of the loop, but its being closed."""
SCRATCH, FIRST_IMAGE = 0, 1
"""Slots of disks: images have all from their first on."""


class GuestContainer(Container):
    port: Port
    mounted: set[str]
    """Places of images that are."""
    first: First | None = None
    """What it is made of, if it was made ahead."""

    def made_of(self, first: First) -> None:
        self.first, self.bundle = first, first.bundle
        self.group = first.group

    def stdio(self, request: dict[str, Any]) -> tuple[list[tuple[int, int]], list[str], list[int]]:
        if self.first is None:
            return super().stdio(request)
        self.streams = self.first.streams
        return [], [], []

    def keep_config(self, config: dict[str, Any]) -> None:
        if self.first is None:
            return super().keep_config(config)
        self.first.config = config

    def let_go(self) -> None:
        """The next start is as any other."""
        super().let_go()
        if self.first:
            self.first.let_go()
            self.first, self.bundle = None, self.directory
            self.group = cgroup.Group(f"{CGROUP}/{self.name}", v2=True)

    def made_before(self) -> bool:
        return False

    def now(self) -> float:
        """In nanoseconds, for its supervisor to divide."""
        return time.time_ns()

    def first_process(self) -> int:
        return self.first.pid if self.first else super().first_process()

    def user_of(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its supervisor has looked, if the image let it."""
        return request.get("known_user") or super().user_of(request)

    def mount_image(self, image: str, lower: str) -> None:
        if lower not in self.mounted:
            kernel.mount_erofs(image, lower)
            self.mounted.add(lower)

    def _mount_shared(self, name: str, user: dict[str, Any]) -> str:
        """Users are the volume's affair, and the server's on the host."""
        return shares.place(name)

    def open_writer(self, limit: int, blocking: bool) -> Output:
        return Output(self.port, self.name)


class Guest(Shim):
    def __init__(self, port: Port, disks: Disks) -> None:
        super().__init__({"cgroup": CGROUP, "v2": True, "directory": DIRECTORY})
        self._port = port
        self._disks = disks
        self._identity: Identity
        self._first: First | None = None
        self._status = ""
        """What the runtime keeps of a container that it has made."""
        self._filter: dict[str, str] = {}
        """Annotations of a configuration that says nothing of them: the rehearsal's."""
        self._mounted: set[str] = set()
        self._files: dict[str, int] = {}
        """Those of the sandbox that are kept open."""
        self._held_to_devices = False
        self._registered: set[int] = set()
        """Descriptors that the loop already waits for, without anybody to call."""
        self._firsts: set[int] = set()
        """Those of them that came with the first container."""

    def new_container(self, name: str) -> GuestContainer:
        container = GuestContainer(self.setup, name)
        container.port, container.mounted = self._port, self._mounted
        return container

    def wait_to_be_born(self) -> None:
        """A template is frozen in here, and a clone goes on from here."""
        self._port.send({"event": "ready"})
        while True:
            for message in self._port.receive():
                if message["op"] == "born":
                    return self._be_born(message)
                if message["op"] == "release":  # the scratch disk is to be another one
                    kernel.umount(DIRECTORY, 0)
                    self._disks.release(SCRATCH)
                else:
                    self._rehearse(message)
                self._port.send({"event": "ready"})

    def _rehearse(self, message: dict[str, Any]) -> None:
        """Be born, and run one container to its end, by either way of making one: what a first time brings
        into memory is then there in every clone. (And where the processor is emulated, in a clone kept
        ready, its translation.)"""
        self._take(message)
        self._filter = message["start"]["config"]["annotations"]
        self._quota_set = True  # a machine begins without
        start = json.dumps(message["start"])
        if not self._first:
            self._run_rehearsal(json.loads(start))
            self._make_first(json.loads(start))
        self._run_rehearsal(json.loads(start))
        kernel.umount(places.image(message["start"]["slot"]))
        self._mounted.clear()
        self._quota_set = False
        for file in self._files.values():
            os.ftruncate(file, 0)
        self._identity.forget(message["undo"])
        self._make_first(json.loads(start))
        os.sync()
        time.sleep(_SETTLE_SECONDS)

    def _run_rehearsal(self, start: dict[str, Any]) -> None:
        causes: list[str | None] = []
        self._start(start, lambda error, _answer=None: causes.append(error))
        container = self.containers[start["name"]]
        while container.starting or container.state["running"]:
            for fd, _events in self._epoll.poll(1, 64):
                if handler := self._handlers.get(fd):  # else it was closed meanwhile, at the container's end
                    handler(fd)
        if causes != [None]:
            sys.stderr.write(f"rehearsal: {causes}\n")
        self.containers.clear()
        files.remove_tree(f"{DIRECTORY}/c")
        os.mkdir(f"{DIRECTORY}/c")

    def hold_to_quota(self) -> None:
        """Not before it is said that the container runs: see `begun`."""

    def begun(self, container: Container) -> None:
        super().hold_to_quota()
        if not self._status:  # the rehearsal's
            self._status = files.read(f"{RUNTIME_STATE}/{container.id}/status")
        super().begun(container)

    def _make_first(self, start: dict[str, Any]) -> None:
        disk = self._disks.device(FIRST_IMAGE)
        self._first = first = First(RUNTIME_STATE, self.group, start["config"], self._status, disk)
        self._firsts = {first.news, *first.streams}
        self._register(first.news, _ONCE)
        for fd in first.streams:
            self._register(fd)

    def _register(self, fd: int, events: int = select.EPOLLIN) -> None:
        """Ahead, for a `watch` to come."""
        self._epoll.register(fd, events)
        self._registered.add(fd)

    def watch(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        if fd not in self._registered:
            return super().watch(fd, handler, events)
        self._registered.remove(fd)
        self._handlers[fd] = handler

    def _discard(self, first: First) -> None:
        self._first = None
        self._registered -= self._firsts
        first.discard()

    def _be_born(self, message: dict[str, Any]) -> None:
        try:
            self._take(message)
        except OSError as error:
            self._port.send({"event": "failed", "error": f"guest: {error}"})
            return
        self._peers[self._port.fd] = self._port
        self.watch(self._port.fd, self._receive)
        self._port.send(self._told())

    def _take(self, message: dict[str, Any]) -> None:
        self.setup.update(message["setup"])
        self._identity.take(message)
        self._make(message)

    def prepare(self) -> None:
        """All that can be made before it is known which sandbox this is."""
        self._signals()
        if not isinstance(self._port, VsockPort):  # whose connections are made anew
            self._register(self._port.fd)
        self._identity = Identity()
        for path, text in _SELDOM:
            files.write(f"/proc/sys/vm/{path}", text)
        self.group.make()
        os.makedirs(RUNTIME_STATE, 0o700)
        for slot in range(self._disks.count):
            os.makedirs(places.image(slot))
        self._make_etc()
        self._mount_scratch()
        runtime = [_sealed(RUNTIME), *RUNTIME_OPTIONS]
        self.setup |= {"uid_base": 0, "runtime": runtime, "user_namespace": -1, "stage": ""}

    def _make_etc(self) -> None:
        """In memory, of which containers can fill little: a first write to a disk costs more than all else
        that is done with these files."""
        os.mkdir(places.ETC)
        kernel.mount("etc", places.ETC, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _ETC_OPTIONS)
        for name in places.KEPT_OPEN:
            path = f"{places.ETC}/{name}"
            self._files[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def _mount_scratch(self) -> None:
        flags = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount(self._disks.device(SCRATCH), DIRECTORY, "ext4", flags, _SCRATCH_OPTIONS)
        if not os.path.lexists(f"{DIRECTORY}/rt"):  # the disk may be a copy of a template's
            os.symlink(RUNTIME_STATE, f"{DIRECTORY}/rt")

    def _make(self, told: dict[str, Any]) -> None:
        setup = self.setup
        if setup["scratch_released"]:
            self._disks.probe(SCRATCH)
            self._mount_scratch()
        for name, text in told["files"].items():
            os.pwrite(self._files[name], text.encode(), 0)
        for path, text in told["writes"]:
            files.write(path, text)
        if setup["shared"]:
            shares.mount(setup["shared"])
        if setup["shared_pid"]:
            self._pause = birth.pid_namespace(-1)

    def _persist(self) -> None:
        """The supervisor keeps the states: what is in here goes with the machine."""

    def _answer(self, peer: Any, request: dict[str, Any]) -> None:
        if request["op"] == "storage":
            space = os.statvfs(DIRECTORY)
            used = (space.f_blocks - space.f_bfree) * space.f_frsize
            return self._port.send({"id": request["id"], "ok": {"used": used}})
        if request["op"] == "taken" and "container" in request:
            container = self.containers.get(request["container"])
            if container and isinstance(container.writer, Output):
                container.writer.taken(request["bytes"])
            return
        if request["op"] in ("exec", "attach"):
            container = self.containers.get(request["container"])
            if isinstance(container, GuestContainer) and container.first and container.state["running"]:
                container.first.introduce()
        super()._answer(peer, request)

    def _start(self, request: dict[str, Any], done: Callable[..., None]) -> None:
        try:
            request["image"] = self._disks.device(request["slot"])
        except (OSError, IndexError) as error:
            return done(f"the image's disk does not appear: {error}")
        request["lower"] = places.image(request["slot"])
        request["config"]["annotations"] = request["config"]["annotations"] or self._filter
        request["config"]["linux"]["personality"] = {"domain": "LINUX"}  # the container's: random again
        self._hold_to_devices(request["config"]["linux"]["resources"])
        first = self._first
        container = self._with_first(request)
        try:
            super()._start(request, done)
        finally:
            if first and container and self._first:  # it did not come to that
                self._discard(first)

    def _hold_to_devices(self, resources: dict[str, Any]) -> None:
        """Once for all containers, by the rehearsal's; others are left to the runtime. Raise OSError."""
        if not self._held_to_devices:
            devices.attach(resources["devices"], CGROUP)
            self._held_to_devices = True
            del resources["devices"]

    def _with_first(self, request: dict[str, Any]) -> GuestContainer | None:
        """The container that is started first is the one that was made ahead, unless it is unlike it."""
        first, name = self._first, request["name"]
        if first is None:
            return None
        if request["plan"] is None:
            self._discard(first)
            return None
        first.plan = request["plan"]
        request["runtime_id"] = ID
        request["config"]["linux"]["cgroupsPath"] = f"/{CGROUP}/{FIRST}"
        container = self.containers[name] = self.new_container(name)
        container.made_of(first)
        for path, text in first.plan["writes"]:
            files.write(path, text)
        return container

    def launch(self, argv: list[str], pairs: list[tuple[int, int]]) -> int:
        if self._first is None:
            return super().launch(argv, pairs)
        first, self._first = self._first, None
        first.go()
        self.watch(first.news, lambda _fd: self._settle(first))
        return -first.pid  # under its own number its end would be taken for the runtime's

    def _settle(self, first: First) -> None:
        """Does it run, or not?"""
        if -first.pid not in self.waiting:
            return
        if (cause := first.outcome()) is None:
            return self._epoll.modify(first.news, _ONCE)
        self._handlers.pop(first.news)
        if cause:
            self._registered -= self._firsts  # which are closed now
        self.waiting.pop(-first.pid)(1 << 8 if cause else 0)

    def _reap(self, fd: int) -> None:
        for container in list(self.containers.values()):
            if isinstance(container, GuestContainer) and container.first:
                self._settle(container.first)  # it may have run and ended
        super()._reap(fd)


def _sealed(program: str) -> str:
    """Where a copy of it is that nobody can write to. crun makes itself one at each start unless it is run
    from one, so that no container can change what runs outside of it: out of this memory's files, it would
    start three times."""
    fd = os.memfd_create("runtime", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(program, "rb") as file:
        while os.sendfile(fd, file.fileno(), None, 1 << 30):
            pass
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return f"/proc/{os.getpid()}/fd/{fd}"


def _settle_addresses() -> None:
    """Load every program at the same place from here on: an emulator translates each place of it anew."""
    ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)


def main() -> None:
    _settle_addresses()
    kernel.set_name("neargate-agent")
    os.environ.update({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
    os.umask(0o022)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kernel.become_subreaper()
    port = agent_port()
    guest = Guest(port, KeptDisks() if isinstance(port, VsockPort) else Disks())
    guest.prepare()
    gc.collect()
    gc.freeze()
    guest.wait_to_be_born()
    guest.loop()


def run() -> None:
    """As the first process: an end of it is an end of the machine, so its cause is said on the console."""
    try:
        main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        raise
