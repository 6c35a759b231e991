"""One command run inside a container (health checks): its output's beginning, its code, its timeout.

Made by main.py per request; lives in the shim's loop.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neargate.node.shim import files

if TYPE_CHECKING:
    from neargate.node.shim.container import Container
    from neargate.node.shim.main import Shim

OUTPUT_BYTES = 4096


class Exec:
    def __init__(
        self, shim: Shim, container: Container, request: dict[str, Any], done: Callable[..., None]
    ) -> None:
        self._shim, self._container, self._request, self._done = shim, container, request, done
        # in memory (birth.py): the environment may hold secrets
        self._base = f"{shim.setup['directory']}/rt/exec{request['id']}-{os.urandom(4).hex()}"
        self._output = b""
        self._timed_out = False
        self._pid = 0
        self._read = -1
        self._timer: tuple[float, Callable[[], None]] = (0.0, self._kill)

    def start(self) -> None:
        process = {**self._container.process, "args": self._request["argv"], "terminal": False}
        files.write(f"{self._base}.json", json.dumps(process), 0o600)
        self._read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        # An opening of its own: with one for both, runsc told up to one in twenty programs that filled the
        # pipe of an I/O error.
        errors = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        setup = self._shim.setup
        argv = [*setup["runtime"], "--root", f"{setup['directory']}/rt", "--log", f"{self._base}.log"]
        argv += ["--log-format", "json", "exec", "--process", f"{self._base}.json"]
        argv += [self._container.exec_pid_option, f"{self._base}.pid", self._container.id]
        self._pid = self._shim.spawn(argv, [(null, 0), (write, 1), (errors, 2)])
        for fd in (null, write, errors):
            os.close(fd)
        self._shim.watch(self._read, lambda _fd: self._drained())
        self._shim.waiting[self._pid] = self._ended
        self._timer = (time.monotonic() + self._request["timeout"], self._kill)
        self._shim.timers.append(self._timer)

    def _drained(self) -> None:
        if not self._take():
            self._shim.unwatch(self._read)

    def _take(self) -> bool:
        """One read; False at the end."""
        try:
            data = os.read(self._read, 65536)
        except BlockingIOError:
            return True
        self._output = (self._output + data)[:OUTPUT_BYTES]
        return bool(data)

    def _kill(self) -> None:
        self._timed_out = True
        inner = files.read(f"{self._base}.pid").strip()
        for kill, pid in ((self._container.kill_exec, inner), (self._kill_runtime, str(self._pid))):
            try:
                if pid.isdigit():
                    kill(int(pid))
            except OSError:  # it has just ended
                continue

    def _kill_runtime(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def _ended(self, status: int) -> None:
        if self._timer in self._shim.timers:
            self._shim.timers.remove(self._timer)
        for _ in range(64):  # bounded: a child left behind may write on
            if len(self._output) >= OUTPUT_BYTES or not self._pending():
                break
        self._shim.unwatch(self._read)
        os.close(self._read)
        code = os.waitstatus_to_exitcode(status)
        answer = {
            "exit_code": 128 - code if code < 0 else code,
            "output": self._output.hex(),
            "timed_out": self._timed_out,
        }
        for suffix in (".json", ".log", ".pid"):
            try:
                os.unlink(self._base + suffix)
            except FileNotFoundError:
                continue
        self._done(None, answer)

    def _pending(self) -> bool:
        before = len(self._output)
        return self._take() and len(self._output) > before
