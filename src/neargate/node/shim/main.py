"""The shim of one sandbox: parent of its containers, owner of its namespaces, writer of its logs.

Forked by zygote.py. One thread, one epoll loop, so nothing here may wait for a container. It outlives
the daemon and speaks to whoever connects to `<directory>/shim.sock`: a line of JSON per message.

    -> {"id", "op": start|signal|exec|usage|destroy, ...}      <- {"id", "ok": {...}} | {"id", "error":
    "cause"}
    <- {"event": "states", "version", "id", "states": {name: state}}      at connection and after each change

terminals.py has the messages of commands that run at a terminal.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from neargate.node import cgroup
from neargate.node.network.interface import Interface
from neargate.node.shim import birth, disk, files, kernel, shared
from neargate.node.shim.container import Container, StartError
from neargate.node.shim.disk import Disk
from neargate.node.shim.execs import Exec
from neargate.node.shim.files import network_counters
from neargate.node.shim.peers import Peer
from neargate.node.shim.posts import Posts
from neargate.node.shim.terminals import Terminals

VERSION = 1
_POLL_WHILE_HELD = 0.02
_PERSIST_AGAIN = 1.0
_PIPE_READS = 32
"""More than a pipe can hold."""


def run(connection: socket.socket, setup: dict[str, Any]) -> None:
    """Own the sandbox of `setup` until it is destroyed. In the forked child; never returns to the
    zygote's loop.
    """
    serve(connection, Shim(setup))


def serve(connection: socket.socket, shim: "Shim") -> None:
    try:
        shim.open()
    except OSError as error:
        peer = Peer(connection)
        peer.send({"event": "failed", "error": str(error)})
        shim.unmake()
        return
    if not shim.add_peer(connection):  # whoever asked for it has gone before it was there
        shim.unmake()
        return
    shim.loop()


class Shim:
    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup
        self.containers: dict[str, Container] = {}
        self.group = cgroup.Group(setup["cgroup"], setup["v2"])
        self.waiting: dict[int, Callable[[int], None]] = {}
        """Children whose end somebody waits for, beside the containers."""
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._peers: dict[int, Peer] = {}
        self.terminals = Terminals(self)
        self.posts = Posts(self)
        self._held: set[int] = set()
        self._orphans: dict[int, int] = {}
        self._interface: Interface | None = None
        self._listener: socket.socket | None = None
        self._pause = 0
        self._wake = -1
        self._quota_set = False
        self._done = False
        self.disk: Disk | None = None
        """What takes all that its containers write; None where that is done otherwise."""
        self.file_server: shared.FileServer | None = None
        """Of volumes with users of their own."""

    # -- set-up ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make everything that the sandbox is. Raise OSError."""
        setup = self.setup
        birth.become_a_shim(setup)
        self._signals()
        if setup["uid_base"] and not all(map(shared.maps_owners, setup["shared"])):
            setup["uid_base"] = 0  # with a user namespace, that volume's files would be nobody's
        if setup["disk"]:
            self.disk = Disk(setup)
            self.disk.begin()
        self.group.make()
        self.group.limit(setup["memory"], setup["pids"], setup["cpu"])
        birth.join_group(setup["instance"])
        self._interface, setup["user_namespace"] = birth.namespaces(setup)
        if self.disk:
            self.disk.mount(setup["uid_base"])
        for name, text in setup["files"].items():
            path = f"{self.disk.place if self.disk else setup['directory']}/{name}"
            files.write(path, text)
            os.chown(path, setup["uid_base"], setup["uid_base"])
        setup["shared_roots"] = {volume["volume"]: shared.opened(volume) for volume in setup["shared"]}
        self.file_server = shared.serve(setup)
        if setup["shared_pid"]:
            self._pause = birth.pid_namespace(setup["user_namespace"])
        self._listener = birth.listen(setup["directory"])
        self.watch(self._listener.fileno(), self._accept)
        self._persist()

    def _signals(self) -> None:
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.watch(self._wake, self._reap)

    # -- loop ------------------------------------------------------------------------------------------

    def loop(self) -> None:
        while not self._done:
            for fd, _events in self._epoll.poll(self._patience(), 64):
                handler = self._handlers.get(fd)
                if handler:
                    handler(fd)
            self._run_timers()

    def _patience(self) -> float:
        if self._held:
            return _POLL_WHILE_HELD
        return max(0.0, min(t for t, _ in self.timers) - time.monotonic()) if self.timers else -1

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [entry for entry in self.timers if entry[0] <= now]
        for entry in due:
            self.timers.remove(entry)
            entry[1]()
        for fd in list(self._held):
            container = self._of_stream(fd)
            if container is None or not container.held_back:
                self._held.discard(fd)
                self._epoll.modify(fd, select.EPOLLIN)

    def watch(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        self._handlers.pop(fd, None)
        self._held.discard(fd)
        try:
            self._epoll.unregister(fd)
        except OSError:
            return

    def _accept(self, _fd: int) -> None:
        assert self._listener
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self.add_peer(connection)

    def add_peer(self, connection: socket.socket) -> bool:
        peer = Peer(connection)
        self._peers[connection.fileno()] = peer
        self.watch(connection.fileno(), self._receive)
        peer.send(self._told())
        return not peer.closed

    def _receive(self, fd: int) -> None:
        peer = self._peers[fd]
        for request in peer.receive():
            try:
                self._answer(peer, request)
            except Exception as error:  # one bad request must not take the sandbox down
                sys.excepthook(*sys.exc_info())
                peer.send({"id": request.get("id"), "error": f"{type(error).__name__}: {error}"})
        if peer.closed:
            self.unwatch(fd)
            del self._peers[fd]
            peer.close()
            self.terminals.gone(peer)

    def _told(self) -> dict[str, Any]:
        states = {c.name: c.state for c in self.containers.values() if c.state["restarts"] >= 0}
        return {"event": "states", "version": VERSION, "id": self.setup["id"], "states": states}

    def _persist(self) -> None:
        """Written down for a daemon that finds the shim dead. A full disk is tried again."""
        try:
            files.replace(f"{self.setup['directory']}/states.json", json.dumps(self._told()))
        except OSError:
            if not any(work == self._persist for _, work in self.timers):
                self.timers.append((time.monotonic() + _PERSIST_AGAIN, self._persist))

    def _changed(self) -> None:
        self._persist()
        told = self._told()
        for peer in self._peers.values():
            peer.send(told)

    # -- requests --------------------------------------------------------------------------------------

    def _answer(self, peer: Peer, request: dict[str, Any]) -> None:
        number = request["id"]
        self._do(peer, request, lambda error, answer=None: peer.answer(number, error, answer))

    def _do(self, peer: Peer, request: dict[str, Any], done: Callable[..., None]) -> None:
        """done -- called with why it is not done, or None; and with the answer."""
        match request["op"]:
            case "start":
                self._start(request, done)
            case "signal":
                self._signal(request["container"], request["signal"])
                done(None)
            case "exec":
                self._exec(request, done)
            case "usage":
                self._usage(request["container"], done)
            case "storage":
                done(None, {"used": self.disk.used()} if self.disk else None)
            case "attach" | "input" | "resize" | "shown" | "hangup":
                self.terminals.answer(peer, request, done)
            case "post":
                self.posts.answer(request, done)
            case "destroy":
                self._destroy()
                done(None)
                self._leave()
            case other:
                done(f"no such operation: {other}")

    def _start(self, request: dict[str, Any], done: Callable[..., None]) -> None:
        name = request["name"]
        container = self.containers.get(name) or self.new_container(name)
        self.containers[name] = container
        if container.state["running"] or container.starting:
            return done("it is running already")
        for fd in list(container.streams):  # what the last run has not been read out yet
            self._drain(container, fd)
        namespace = f"/proc/{self._pause}/ns/pid" if self._pause else None
        try:
            if self.disk:
                self.disk.reserve(request["image"])
        except OSError as error:
            return done(f"the image does not fit: {(error.strerror or '').lower()}")
        try:
            container.prepare(request, namespace, self.containers)
        except StartError as error:
            container.clean()
            return done(str(error))
        pairs, extra, to_close = container.stdio(request)
        here = container.bundle
        argv = [*self.setup["runtime"], "--root", f"{self.setup['directory']}/rt"]
        argv += ["--log", f"{here}/runtime.log"]
        argv += ["--log-format", "json", "run", "--detach", "--bundle", here, "--pid-file", f"{here}/pid"]
        pid = self.launch([*argv, *extra, container.id], pairs)
        for fd in to_close:
            os.close(fd)

        def ended(status: int) -> None:
            container.starting = False
            if status:
                return done(container.failed())
            container.started()
            for fd in container.streams:
                self.watch(fd, self._log)
            self.hold_to_quota()
            self._changed()
            done(None)
            self.begun(container)

        self.waiting[pid] = ended
        container.starting = True

    def hold_to_quota(self) -> None:
        """From the first start on."""
        if not self._quota_set:
            self.group.quota(self.setup["cpu"])
            self._quota_set = True

    def new_container(self, name: str) -> Container:
        return Container(self.setup, name)

    def volume(self, name: str) -> str:
        """Where a scratch volume is."""
        return f"{self.disk.place if self.disk else self.setup['directory']}/volumes/{name}"

    def begun(self, container: Container) -> None:
        """It runs from here on; see that its end is noticed."""
        early = self._orphans.pop(container.state["pid"], None)
        if early is not None:
            self.ended(container, early)

    def launch(self, argv: list[str], pairs: list[tuple[int, int]]) -> int:
        """Start the runtime that makes a container. The runtime itself sees to the container's group."""
        return self.spawn(argv, pairs)

    def spawn(self, argv: list[str], pairs: list[tuple[int, int]]) -> int:
        """Start a helper process with these descriptors; its end is reported to `waiting`."""
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in pairs]
        default = [signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGXFSZ]
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigdef=default)

    def _signal(self, name: str, number: int) -> None:
        container = self.containers.get(name)
        if not container or not container.state["running"]:
            return
        container.signal(number)

    def _exec(self, request: dict[str, Any], done: Callable[..., None]) -> None:
        container = self.containers.get(request["container"])
        if not container or not container.state["running"]:
            return done("container is not running")
        Exec(self, container, request, done).start()

    def _usage(self, name: str, done: Callable[..., None]) -> None:
        container = self.containers.get(name)
        if not container:
            return done("no such container")
        running = container.state["running"]
        done(None, container.usage() | network_counters() if running else container.state.get("usage"))

    # -- what happens ----------------------------------------------------------------------------------

    def _reap(self, fd: int) -> None:
        try:
            os.read(fd, 4096)
        except BlockingIOError:
            pass
        ended = {}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            ended[pid] = status
        if self.file_server and ended.pop(self.file_server.pid, None) is not None:
            self.file_server_died(self.file_server)
        self._orphans |= ended
        for pid in ended:
            if pid in self.waiting and pid in self._orphans:
                self.waiting.pop(pid)(self._orphans.pop(pid))
        for container in self.containers.values():
            pid = container.state.get("pid") or 0
            if container.state["running"] and pid in self._orphans:
                self.ended(container, self._orphans.pop(pid))
        if not self.waiting:
            self._orphans.clear()

    def await_end(self, pid: int, ended: Callable[[int], None]) -> None:
        """Have `ended` called with the wait status of a process that came to this one, now or later."""
        early = self._orphans.pop(pid, None)
        if early is None:
            self.waiting[pid] = ended
        else:
            ended(early)

    def ended(self, container: Container, status: int) -> None:
        """Its first process has ended with a wait status."""
        for fd in list(container.streams):
            self._drain(container, fd, keep=True)
        container.ended(status)
        self._changed()
        container.clean()

    def file_server_died(self, server: shared.FileServer) -> None:
        """Have another take its place; whoever has files open goes on with them."""
        server.died()

    def _of_stream(self, fd: int) -> Container | None:
        return next((c for c in self.containers.values() if fd in c.streams), None)

    def _log(self, fd: int) -> None:
        container = self._of_stream(fd)
        if container is None:
            return self.unwatch(fd)
        if container.held_back:
            self._held.add(fd)
            self._epoll.modify(fd, 0)
            return
        if len(container.streams) and not container.read_stream(fd):
            self._handlers.pop(fd, None)  # closed, which unregistered it
            self._held.discard(fd)

    def _drain(self, container: Container, fd: int, keep: bool = False) -> None:
        """Read what is in the pipe now, also past a full log's limit. `keep`: somebody may still hold it
        open.
        """
        ready = select.poll()
        ready.register(fd, select.POLLIN)
        for _ in range(_PIPE_READS):
            if not ready.poll(0):
                break
            if not container.read_stream(fd):
                self._handlers.pop(fd, None)
                self._held.discard(fd)
                return
        if not keep:
            self.unwatch(fd)
            os.close(fd)
            stream = container.streams.pop(fd)
            if container.writer:
                container.writer.close_stream(stream)

    # -- the end ---------------------------------------------------------------------------------------

    def _destroy(self) -> None:
        """Kill all and clear the directory; what takes long is left for `_leave`."""
        if self._pause:
            os.kill(self._pause, signal.SIGKILL)
        # A runtime that is starting a container is waited for: killed, it would leave one outside of the
        # group.
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self.group.kill_once()
            if not self.waiting and not any(c.state["running"] for c in self.containers.values()):
                break
            select.select([self._wake], [], [], 0.05)
            self._reap(self._wake)
        for container in self.containers.values():
            for fd in list(container.streams):
                self._drain(container, fd)
            if container.writer:
                container.writer.finish()
        self.group.kill()
        self._remove_group()
        self._end_file_server()
        if self.disk:
            self.disk.end()
        self._clear()

    def unmake(self) -> None:
        """Remove group, interface, socket and, last, the record by which a sweep would find the rest."""
        self._remove_group()
        self._end_file_server()
        if self._interface:
            self._interface.remove()
        if self.disk:
            self.disk.end()
            self.disk.erase()
        for path in (f"{self.setup['directory']}/shim.sock", self.setup["record"]):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue

    def _end_file_server(self) -> None:
        """After all who may have files open."""
        if self.file_server:
            self.file_server.close()
            self.file_server = None

    def _remove_group(self) -> None:
        for attempt in range(200):
            if self.group.remove():
                return
            time.sleep(0.0005 * min(attempt + 1, 10))

    def _clear(self) -> None:
        """Leave nothing in the directory but the spools; trees that containers filled are only moved away."""
        here, trash = self.setup["directory"], f"{self.setup['trash']}/{self.setup['id']}-{os.getpid()}"
        os.makedirs(trash, exist_ok=True)
        if self.disk:
            self.disk.move(trash)
        for name in ("c", "volumes"):
            try:
                os.rename(f"{here}/{name}", f"{trash}/{name}")
            except FileNotFoundError:
                continue
            except OSError:  # another file system
                files.remove_tree(f"{here}/{name}")
        try:
            kernel.umount(f"{here}/rt")
        except OSError:
            pass  # a shim that did not get so far has none
        for name in ("rt", disk.PLACE, "states.json", "shim.log", "shim.sock", *self.setup["files"]):
            files.remove_tree(f"{here}/{name}")

    def _leave(self) -> None:
        """What takes long and nobody waits for: the interface alone takes the kernel 12 ms."""
        self.unmake()
        files.remove_tree(f"{self.setup['trash']}/{self.setup['id']}-{os.getpid()}")
        self._done = True
