"""A runtime that has started already and waits to be told its container: frozen so in the template.

Called by agent.py. Loading the runtime is a sixth of what a clone's first container costs where the processor
is emulated. It waits where it opens its configuration, a FIFO; the second time it finds a file there.
"""

import contextlib
import os
import signal
from collections.abc import Callable

from neargate.node.shim import files
from neargate.node.shim.container import output_pipes

ID = "first"
"""By which the runtime knows the container."""


class Loaded:
    def __init__(
        self, state: str, spawn: Callable[[list[str], list[tuple[int, int]]], int], runtime: list[str]
    ) -> None:
        """state -- the runtime's directory. Raise OSError."""
        self.place = f"{state}/loaded"
        self._config = f"{self.place}/config.json"
        files.remove_tree(self.place)
        os.mkdir(self.place, 0o700)
        os.mkfifo(self._config, 0o600)
        self.streams, writes = output_pipes()
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        argv = [*runtime, "--root", state, "--log", f"{self.place}/runtime.log", "--log-format", "json"]
        argv += ["run", "--detach", "--bundle", self.place, "--pid-file", f"{self.place}/pid", ID]
        self._pid = spawn(argv, [(fd, target) for target, fd in enumerate((stdin, *writes))])
        for fd in (stdin, *writes):
            os.close(fd)
        self._end = -1

    def take(self) -> bool:
        """Does it wait? If so it now does for `go`."""
        try:
            self._end = os.open(self._config, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        return True

    def go(self, config: str) -> int:
        """Have it make the container of a configuration's file; its process."""
        os.unlink(self._config)
        os.symlink(config, self._config)
        os.set_blocking(self._end, True)
        data = files.read(config).encode()
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says so
            while data:
                data = data[os.write(self._end, data) :]
        os.close(self._end)
        return self._pid

    def discard(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        for fd in (*self.streams, *([self._end] if self._end >= 0 else [])):
            os.close(fd)
