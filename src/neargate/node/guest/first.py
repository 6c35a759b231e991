"""The first container of a machine, made ahead: a process with its namespaces, group and mounts, frozen in
the template where it waits to be told its image and program.

Made by agent.py. Where the processor is emulated, each line of kernel and runtime that a clone runs for the
first time must be translated: most of what making a container takes. The process is a fork of the agent, and
knows how to become the container itself (become.py); the runtime, which makes every other container, is told
of it when it is first asked to run something inside.
"""

import base64
import contextlib
import json
import os
import signal
from typing import Any, NoReturn

from neargate.node.cgroup import Group
from neargate.node.guest import become, disks, frames, places, plan
from neargate.node.shim import files, kernel
from neargate.node.shim.container import output_pipes

ID = "first"
"""By which the runtime knows the container."""
_READ = 1 << 15
_MOST_FILES = 1 << 20


class First:
    def __init__(self, state: str, group: Group, config: dict[str, Any], status: str, disk: str) -> None:
        """state -- the runtime's directory. group -- the sandbox's. config -- of a container that it may be
        like. status -- what the runtime writes of a container that it has made. disk -- where its image will
        be. Raise OSError."""
        self.bundle = f"{state}/{ID}.bundle"
        self._state, self._like, self._status = f"{state}/{ID}", config, status
        self.config: dict[str, Any] = {}
        self.plan: dict[str, Any] = {}
        """What it becomes, and how (plan.py)."""
        self._introduced = False
        for path in (self.bundle, self._state):
            files.remove_tree(path)
            os.mkdir(path, 0o700)
        self.streams, writes = output_pipes()
        told, self._tell = os.pipe2(os.O_CLOEXEC)
        self.news, say = os.pipe2(os.O_CLOEXEC)
        """Says that its memory is its own, then that it has been staged; then its end says that all is made
        and the program begins, or why it cannot."""
        self.pid = kernel.fork_first()
        if not self.pid:
            _live(told, say, writes, config, f"{self.bundle}/root", disk)
        for fd in (told, say, *writes):
            os.close(fd)
        if os.read(self.news, 1) != b".":
            raise OSError("the first container ended too early")
        group.add(self.pid, places.FIRST)
        self.group = Group(f"{places.CGROUP}/{places.FIRST}", v2=True)
        for path, text in plan.limits_of(config):
            files.write(path, text)
        self._send({})
        if (said := os.read(self.news, _READ)) != b"+":
            raise OSError(said.decode(errors="replace") or "the first container ended too early")
        kernel.own_pages()
        files.write(f"{self.bundle}/pid", str(self.pid))

    def go(self) -> None:
        try:
            self._send({"wanted": self._wanted(), "plan": self.plan})
        except BrokenPipeError:
            pass  # it has ended, and its status says so
        os.set_blocking(self.news, False)

    def _wanted(self) -> dict[str, Any]:
        """What it needs of its configuration. No filter if that is the one it knows."""
        config = self.config
        filter_ = config["annotations"][plan.FILTER]
        return {
            "process": {name: config["process"][name] for name in ("args", "env", "cwd", "user")},
            "root": config["root"],
            "hostname": config["hostname"],
            "mounts": config["mounts"][self.plan["staged"] :],
            "filter": "" if filter_ == self._like["annotations"][plan.FILTER] else filter_,
        }

    def _send(self, message: dict[str, Any]) -> None:
        data = frames.json_frame(message)
        while data:
            data = data[os.write(self._tell, data) :]

    def outcome(self) -> str | None:
        """Empty: the container runs. Else why it does not; None: that is not known yet."""
        try:
            cause = os.read(self.news, _READ).decode(errors="replace")
        except BlockingIOError:
            return None
        if cause:
            entry = {"level": "error", "msg": cause}
            files.write(f"{self.bundle}/runtime.log", json.dumps(entry) + "\n")
        return cause

    def let_go(self) -> None:
        """Its ends here are needed no more."""
        if self._tell < 0:
            return
        for fd in (self._tell, self.news):
            os.close(fd)
        self._tell = self.news = -1
        for top in plan.TOPS:
            with contextlib.suppress(OSError):
                kernel.umount(f"{self.bundle}/root{top}")

    def introduce(self) -> None:
        """Have the runtime know the container, from what it wrote of another: once, for it may be reading
        that by then. Raise OSError."""
        if self._introduced:
            return
        status = json.loads(self._status)
        config = self.config
        for place in (self.bundle, self._state):
            files.write(f"{place}/config.json", json.dumps(config), 0o600)
        started = files.read(f"/proc/{self.pid}/stat").rpartition(")")[2].split()[19]
        status |= {"pid": self.pid, "process-start-time": int(started), "bundle": self.bundle}
        status |= {"rootfs": config["root"]["path"], "cgroup-path": config["linux"]["cgroupsPath"]}
        with open(f"{self._state}/seccomp.bpf", "wb") as file:
            file.write(base64.b64decode(config["annotations"][plan.FILTER]))
        files.write(f"{self._state}/status", json.dumps(status), 0o600)
        self._introduced = True

    def discard(self) -> None:
        """It will be no container."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        for fd in self.streams:
            os.close(fd)
        self.let_go()


def _live(told: int, say: int, writes: list[int], config: dict[str, Any], top: str, disk: str) -> NoReturn:
    """The waiting process's life, from the fork on."""
    try:
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for target, fd in enumerate((stdin, *writes)):
            os.dup2(fd, target)
        low, high = sorted((told, say))
        for gap in ((3, low), (low + 1, high), (high + 1, _MOST_FILES)):
            os.closerange(*gap)  # ends of what it reads must go with the agent's, and so must the files
        kernel.own_pages()  # before it is in its group: they are not the container's
        image = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)  # which its group may not
        os.write(say, b".")
        _hear(told)  # it is
        disks.touch(image)
        os.close(image)
        kernel.unshare(kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWCGROUP)
        become.stage(config, top)
        allowed = become.Filter(config["annotations"][plan.FILTER])
        os.write(say, b"+")
        message = _hear(told)
        wanted = message["wanted"]
        if wanted["filter"]:
            allowed = become.Filter(wanted["filter"])
        become.become(wanted, message["plan"], top, allowed, lambda: os.close(say))
    except become.CannotBecome as error:
        os.write(say, str(error).encode(errors="replace"))
    except OSError as error:
        os.write(say, f"{error.filename or 'system call'}: {error.strerror}".encode(errors="replace"))
    except BaseException as error:
        os.write(say, f"{type(error).__name__}: {error}".encode(errors="replace"))
    os._exit(1)


def _hear(told: int) -> dict[str, Any]:
    if not (payload := frames.read(told)):
        os._exit(1)  # nobody wants it
    return frames.message(payload)
