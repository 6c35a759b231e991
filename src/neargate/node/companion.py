"""A process beside the daemon that outlives it: started once, adopted by the next daemon, ended by
`neargate down`.

Called by node/balancer (Envoy) and node/resolver. Who asks for one also says what it is; this room only knows
how to begin it, find it again, keep it alive and end it. A worked example:

    companion = Companion("proxy", directory, version="1")
    async with TaskGroup() as group:
        group.create_task(companion.run(["/usr/bin/proxy"], begun))  # for ever; cancelled, it leaves it alive
    ...
    await companion.stop()  # in `neargate down`

`<directory>/<name>.pid` names it by its process id and start time, so no other process is ever taken for it.
The file is on disk before the program begins: the shell that becomes it waits for a word from the daemon, and
ends without one.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)

_WAIT = 'read -r word && exec "$@" </dev/null'
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_STEADY_SECONDS = 10.0
_ENVIRONMENT = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


class CompanionError(Exception):
    """It cannot be started; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the pid file says: start -- ticks since the boot."""

    pid: int
    start: int
    version: str


def start_ticks(pid: int) -> int | None:
    """When a living process began; None if there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Companion:
    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        version: str = "",
        placed: Callable[[int], None] = lambda pid: None,
        environment: Mapping[str, str] = _ENVIRONMENT,
    ) -> None:
        """directory -- of the pid file and of what it prints (`<name>.log`, of its last start).
        version -- one found with another version is ended and begun anew.
        placed -- called with its process id before its program begins: cgroups."""
        self._name = name
        self._directory = directory
        self._version = version
        self._placed = placed
        self._environment = dict(environment)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        known = self._known()
        return known.pid if known else None

    async def run(self, command: Sequence[str], begun: Callable[[bool], Awaitable[None]]) -> NoReturn:
        """Adopt or start it, and start it again whenever it dies. Cancelled, it leaves it alive.

        begun -- awaited after each adoption (True) and each start (False) before its end is waited for.
        """
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            known = self._known()
            if known and known.version != self._version:
                await self.stop()
                known = None
            try:
                living = known if known is not None else await asyncio.to_thread(self._start, command)
                await begun(known is not None)
                await self._ended(living)
            except (CompanionError, OSError) as error:
                log.error("%s cannot be started: %s", self._name, error)
            else:
                log.error("%s has ended: %s", self._name, self._last_words())
            if loop.time() - since > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def stop(self, seconds: float = 5.0) -> None:
        """End it: SIGTERM, SIGKILL after `seconds`. Nothing happens if it does not run."""
        known = self._known()
        if known is not None:
            _signal(known, signal.SIGTERM)
            try:
                async with asyncio.timeout(seconds):
                    await self._ended(known)
            except TimeoutError:
                _signal(known, signal.SIGKILL)
                await self._ended(known)
        self._path("pid").unlink(missing_ok=True)

    # -- one life --------------------------------------------------------------------------------------

    def _start(self, command: Sequence[str]) -> _Known:
        self._directory.mkdir(exist_ok=True)  # without its parents: a deleted data directory stays so
        self._path("log").unlink(missing_ok=True)
        with self._path("log").open("ab") as output:  # appended to, so that it may be cut while it runs
            try:
                child = subprocess.Popen(
                    ["/bin/sh", "-c", _WAIT, self._name, *command],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    start_new_session=True,
                    cwd="/",
                )
            except OSError as error:
                raise CompanionError(str(error)) from error
        assert child.stdin is not None
        with child.stdin:
            try:
                known = _Known(child.pid, start_ticks(child.pid) or 0, self._version)
                self._placed(child.pid)
                self._write(known)
                child.stdin.write(b"go\n")
                child.stdin.flush()
            except OSError as error:
                child.kill()
                child.wait()
                raise CompanionError(str(error)) from error
        self._child = child
        return known

    async def _ended(self, known: _Known) -> None:
        """Wait for its end; reap it if it is this daemon's child."""
        try:
            fd = os.pidfd_open(known.pid)
        except ProcessLookupError:
            return
        try:
            if start_ticks(known.pid) == known.start:
                await _readable(fd)
        finally:
            os.close(fd)
            if self._child is not None:
                self._child.poll()

    # -- files -----------------------------------------------------------------------------------------

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{self._name}.{suffix}"

    def _known(self) -> _Known | None:
        """What the file names, if it lives."""
        try:
            told = json.loads(self._path("pid").read_text())
            known = _Known(int(told["pid"]), int(told["start"]), str(told["version"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            log.error("%s is not readable: a process of it may be left", self._path("pid"))
            return None
        return known if start_ticks(known.pid) == known.start else None

    def _write(self, known: _Known) -> None:
        draft = self._path("pid.new")
        draft.write_text(json.dumps({"pid": known.pid, "start": known.start, "version": known.version}))
        draft.replace(self._path("pid"))

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._path("log").read_bytes()[-2000:].decode(errors="replace").splitlines()
            return " | ".join(lines[-3:]) or "it said nothing"
        return "its log is gone"


def _signal(known: _Known, number: int) -> None:
    """Through a pidfd, so that it cannot reach a later process of the same id."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(known.pid)
        try:
            if start_ticks(known.pid) == known.start:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
