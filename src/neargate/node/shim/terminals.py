"""A command run inside a container at a terminal of its own, for somebody who looks at it (ECS Exec).

Made by main.py per `attach`; lives in the shim's loop and ends with its command, or with the connection that
asked for it. Root, whoever the container's user is. The messages, beside main.py's:

    -> {"op": "attach", "container", "argv", "columns", "rows", "terminal"}    answered once the command runs
    -> {"op": "input", "terminal", "data"}                                     answered once it has been taken
    -> {"op": "resize", "terminal", "columns", "rows"}   {"op": "shown", "terminal", "bytes"}
    -> {"op": "hangup", "terminal"}
    <- {"event": "output", "terminal", "data"}           <- {"event": "ended", "terminal", "exit_code"}

Bytes are Base64. What is beyond WINDOW bytes of output waits until some are `shown`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from neargate.node.shim import files

if TYPE_CHECKING:
    from neargate.node.shim.container import Container
    from neargate.node.shim.main import Shim
    from neargate.node.shim.peers import Peer

WINDOW = 64 * 1024
_READ = 32 * 1024
_GRACE = 1.0
"""From the hang-up until what is left is killed."""
_LAST_WORDS = 0.2
"""What the command wrote may still be on its way through the kernel when its end is known."""
_LAST_BYTES = 256 * 1024
_ENVIRONMENT = {"TERM": "xterm-256color"}

Done = Callable[..., None]


class Terminals:
    """All of a shim's, by their ids."""

    def __init__(self, shim: Shim) -> None:
        self._shim = shim
        self._all: dict[str, Terminal] = {}

    def answer(self, peer: Peer, request: dict[str, Any], done: Done) -> None:
        """At one that has ended nothing has any effect: its end is being told."""
        if request["op"] == "attach":
            return self._attach(peer, request, done)
        terminal = self._all.get(request["terminal"])
        if terminal is None:
            return done(None)
        match request["op"]:
            case "input":
                return terminal.input(base64.b64decode(request["data"]), done)
            case "resize":
                terminal.resize(request["columns"], request["rows"])
            case "shown":
                terminal.shown(request["bytes"])
            case _:
                terminal.hang_up()
        done(None)

    def _attach(self, peer: Peer, request: dict[str, Any], done: Done) -> None:
        container = self._shim.containers.get(request["container"])
        if not container or not container.state["running"]:
            return done("container is not running")
        terminal = self._all[request["terminal"]] = Terminal(self._shim, container, peer, request)
        terminal.start(done)

    def forget(self, terminal: Terminal) -> None:
        self._all.pop(terminal.id, None)

    def gone(self, peer: Peer) -> None:
        """Nobody reads what those at its terminals write."""
        for terminal in list(self._all.values()):
            if terminal.peer is peer:
                terminal.hang_up()


class Terminal:
    def __init__(self, shim: Shim, container: Container, peer: Peer, request: dict[str, Any]) -> None:
        self.id = str(request["terminal"])
        self.peer = peer
        self._shim, self._container, self._request = shim, container, request
        # in memory (birth.py): the environment may hold secrets
        self._state = f"{shim.setup['directory']}/rt"
        self._base = f"{self._state}/tty{os.urandom(6).hex()}"
        self._console: socket.socket | None = None
        self._directory = -1
        self._master = -1
        self._watching = False
        self._pid = 0
        """The command's process, or of a sandbox with a kernel of its own the one that stands for it."""
        self._inputs: list[tuple[bytes, Done]] = []
        self._on_its_way = 0
        self._code: int | None = None
        self._read_since_end = 0
        self._hung_up = False

    # -- start -----------------------------------------------------------------------------------------

    def start(self, done: Done) -> None:
        files.write(f"{self._base}.json", json.dumps(self._process()), 0o600)
        self._directory = os.open(self._state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # a socket's path has 108 characters at most
        path = f"/proc/{os.getpid()}/fd/{self._directory}/{os.path.basename(self._base)}.sock"
        self._console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._console.bind(path)
        self._console.listen(1)
        self._console.setblocking(False)
        setup = self._shim.setup
        argv = [*setup["runtime"], "--root", f"{setup['directory']}/rt", "--log", f"{self._base}.log"]
        argv += ["--log-format", "json", "exec", "--detach", "--process", f"{self._base}.json"]
        argv += ["--console-socket", path, *self._container.terminal_options(self._base), self._container.id]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        pid = self._shim.spawn(argv, [(null, 0), (null, 1), (null, 2)])
        os.close(null)
        self._shim.waiting[pid] = lambda status: self._started(status, done)

    def _process(self) -> dict[str, Any]:
        process = self._container.process
        given = dict(entry.split("=", 1) for entry in process["env"] if "=" in entry)
        root = process["user"].get("uid", 0) == 0
        environment = _ENVIRONMENT | given | ({} if root else {"HOME": "/root"})
        capabilities = process["capabilities"]
        bounding = capabilities.get("bounding", [])
        return {
            **process,
            "args": self._request["argv"],
            "terminal": True,
            "consoleSize": {"width": self._request["columns"], "height": self._request["rows"]},
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "capabilities": {**capabilities, "effective": bounding, "permitted": bounding},
            "env": [f"{name}={value}" for name, value in environment.items()],
        }

    def _started(self, status: int, done: Done) -> None:
        """The runtime has ended: the command runs, or why it does not is in its log."""
        master = self._accept() if not status else -1
        if master < 0:
            cause = self._container.exec_error(f"{self._base}.log", self._request["argv"][0])
            self._clean()
            self._shim.terminals.forget(self)
            return done(cause)
        self._master = master
        os.set_blocking(master, False)
        self._pid = int(files.read(f"{self._base}.pid"))
        self.resize(self._request["columns"], self._request["rows"])
        done(None)
        self._shim.await_end(self._pid, self._ended)
        self._watch()
        if self.peer.closed or self._hung_up:
            self._hung_up = False
            self.hang_up()

    def _accept(self) -> int:
        """The terminal's side that is ours; -1 if the runtime has not sent it."""
        assert self._console
        try:
            connection, _ = self._console.accept()
            _data, fds, _flags, _address = socket.recv_fds(connection, 4096, 1)
            connection.close()
        except OSError:
            return -1
        finally:
            self._console.close()
            os.close(self._directory)
        return fds[0] if fds else -1

    # -- while it runs ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Hear of what there is to do: output to read while the window has room, input to write."""
        wanted = select.EPOLLIN if self._on_its_way < WINDOW else 0
        wanted |= select.EPOLLOUT if self._inputs else 0
        if self._watching:
            self._shim.unwatch(self._master)
        self._watching = wanted != 0 and self._master >= 0
        if self._watching:
            self._shim.watch(self._master, self._ready, wanted)

    def _ready(self, _fd: int) -> None:
        if self._inputs:
            self._write()
        if self._master >= 0 and self._on_its_way < WINDOW:
            self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._master, _READ)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the other side open any more
            return self._close_master()
        if not data:
            return self._close_master()
        self._on_its_way += len(data)
        self._send("output", data=base64.b64encode(data).decode())
        if self._code is not None:
            self._read_since_end += len(data)
            if self._read_since_end > _LAST_BYTES:  # by somebody who was left behind
                return self._close_master()
        if self._on_its_way >= WINDOW:
            self._watch()

    def shown(self, count: int) -> None:
        before = self._on_its_way
        self._on_its_way = max(0, before - count)
        if before >= WINDOW > self._on_its_way and self._master >= 0:
            self._watch()

    def input(self, data: bytes, done: Done) -> None:
        if self._master < 0:
            return done(None)
        waited = bool(self._inputs)
        self._inputs.append((data, done))
        if not waited:
            self._write()
            if self._inputs:
                self._watch()

    def _write(self) -> None:
        while self._inputs and self._master >= 0:
            data, done = self._inputs[0]
            try:
                count = os.write(self._master, data)
            except BlockingIOError:
                return
            except OSError:  # nobody is there to read it; what was written before may still be
                count = len(data)
            if count < len(data):
                self._inputs[0] = (data[count:], done)
                return
            self._inputs.pop(0)
            done(None)
        self._watch()

    def resize(self, columns: int, rows: int) -> None:
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _send(self, event: str, **more: Any) -> None:
        self.peer.send({"event": event, "terminal": self.id, **more})

    # -- the end ---------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Nobody looks any more: SIGHUP to all at the terminal, then SIGKILL."""
        if self._hung_up:
            return
        self._hung_up = True
        if self._pid:
            inner = files.read(f"{self._base}.inner").strip()
            known = self._container.at_terminal(int(inner)) if inner.isdigit() else []
            kill = partial(self._container.kill_terminal, self._pid, known)
            self._shim.timers.append((time.monotonic() + _GRACE, kill))
            self._close_master()

    def _ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._code = 128 - code if code < 0 else code
        if self._master < 0:
            return self._finish()
        self._shim.timers.append((time.monotonic() + _LAST_WORDS, self._close_if_idle))

    def _close_if_idle(self) -> None:
        """Somebody left behind holds the terminal open. What waits for the window to open is still sent."""
        if self._master < 0:
            return
        if self._on_its_way >= WINDOW and not self.peer.closed:
            self._shim.timers.append((time.monotonic() + _LAST_WORDS, self._close_if_idle))
        else:
            self._close_master()

    def _close_master(self) -> None:
        if self._master < 0:
            return
        if self._watching:
            self._shim.unwatch(self._master)
            self._watching = False
        os.close(self._master)
        self._master = -1
        for _data, done in self._inputs:
            done(None)
        self._inputs.clear()
        if self._code is not None:
            self._finish()

    def _finish(self) -> None:
        self._send("ended", exit_code=self._code)
        self._clean()
        self._shim.terminals.forget(self)

    def _clean(self) -> None:
        for suffix in (".json", ".log", ".pid", ".inner", ".sock"):
            try:
                os.unlink(self._base + suffix)
            except FileNotFoundError:
                continue
