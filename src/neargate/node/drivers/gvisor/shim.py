"""The shim of a gVisor sandbox: node/shim's, with `runsc` in the place of `crun`. Forked by zygote.py.

Of a task with one container (its `sole` one) that one is the sandbox's root: they begin and end together, and
a start costs half as many of runsc's processes. Else the sandbox is booted at birth with a container of ours
that only waits, so that the task's containers, which runsc makes inside it, come and go as they like. None of
their processes is one of this machine: ends, signals and usage go through the sandbox's control socket
(sentry.py). The sandbox's own processes live in `<task group>/sandbox`: what is left is killed there, from
outside.
"""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from neargate.node import cgroup
from neargate.node.drivers.gvisor.quick import without_membarrier
from neargate.node.drivers.gvisor.sentry import Sentry, SentryError
from neargate.node.shim import files, kernel, shared
from neargate.node.shim.container import Container, runtime_error
from neargate.node.shim.main import Shim

ROOT = ".sandbox"
"""No container has a name with a dot."""
_KILLED = 9
_NAMESPACES = frozenset(("pid", "ipc", "uts", "mount", "network"))
_MEMINFO = "meminfo"
_PAUSE = ["/busybox", "sleep", "2147483647"]
_PAUSE_AND_REAP = ["/busybox", "sh", "-c", f"trap '' CHLD; exec {' '.join(_PAUSE)}"]
"""Of a shared process namespace it is the first process, which the others' orphans come to."""
_BOOT_CPU = 1024
"""Weight of a task's group until its first container runs: else a small task takes long on a busy machine."""
_NO_MEMORY = "the task's memory ran out during the start"
_END_SECONDS = 10.0
"""How long a dead sandbox may take to give back its memory before a new one is not started, and one that has
lost its root to end by itself."""
_KIND = "io.kubernetes.cri.container-type"
_GO_FAILED, _FAILURE = 2 << 8, re.compile(r"^(fatal error|panic|runtime): ", re.M)
"""Wait status and words of a program of Go's that failed. A container may end with that status, too."""


class SentryContainer(Container):
    exec_pid_option = "--internal-pid-file"

    def __init__(self, setup: dict[str, Any], name: str, shim: "SentryShim") -> None:
        super().__init__(setup, name)
        self.group = shim.sandbox_group
        self.boot = 0
        """Which of the task's sandboxes its last run was started in."""
        self._ooms = 0
        self._shim = shim

    def prepare(self, request: dict[str, Any], pid_namespace: str | None, siblings: dict[str, Any]) -> None:
        super().prepare(request, pid_namespace, siblings)
        self._shim.runs += 1
        # An id of its own for each run, as the last one's may not be forgotten yet; no id of runsc's may
        # begin with another whole one. A root's is the sandbox's.
        own = f"{self._shim.runs:06d}-{request['runtime_id']}"
        self.id = self.setup["id"] if self._shim.root is self else own
        self.boot = self._shim.boots
        self._ooms = self.group.oom_kills()

    def finish_config(
        self,
        config: dict[str, Any],
        request: dict[str, Any],
        pid_namespace: str | None,
        siblings: dict[str, Any],
    ) -> None:
        super().finish_config(config, request, pid_namespace, siblings)
        linux = config["linux"]
        inside = {_KIND: "container", "io.kubernetes.cri.sandbox-id": self.setup["id"]}
        config["annotations"] = {} if self._shim.root is self else inside
        linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] in _NAMESPACES]
        linux["resources"] = {}
        linux.pop("seccomp", None)  # of system calls that never reach this machine's kernel
        del linux["cgroupsPath"]
        if config["process"]["user"]["uid"]:
            # what execve does to the capabilities of a user other than root; runsc would leave them
            config["process"]["capabilities"] |= {"effective": [], "permitted": []}

        self._keep_tmp(config)

    def _keep_tmp(self, config: dict[str, Any]) -> None:
        """Over an empty /tmp runsc would mount a file system in memory; as on Fargate it is to be on disk."""
        if any(mount["destination"] == "/tmp" for mount in config["mounts"]):
            return
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            tmp = kernel.open_in_root(root, "/tmp", os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return  # the image has none
        finally:
            os.close(root)
        source = os.readlink(f"/proc/self/fd/{tmp}")  # nothing runs in the root yet that could change it
        os.close(tmp)
        options = ["rbind", "ro" if config["root"]["readonly"] else "rw"]
        config["mounts"].append({"destination": "/tmp", "type": "bind", "source": source, "options": options})

    def failed(self) -> str:
        if self.group.oom_kills() > self._ooms:
            super().failed()
            return _NO_MEMORY
        return _in_dockers_words(super().failed(), self.process.get("args", [""])[0])

    def signal(self, number: int) -> None:
        try:
            if number == _KILLED:
                self._shim.sentry.kill(self.id)
            else:
                self._shim.sentry.signal(self.id, number)
        except SentryError as error:
            if number == _KILLED and error.errno != errno.ESRCH:  # a sandbox that hears nothing must end too
                self.group.kill()

    def kill_exec(self, pid: int) -> None:
        self._shim.sentry.kill_process(self.id, pid)

    def exec_error(self, log: str, program: str) -> str:
        return _in_dockers_words(super().exec_error(log, program), program)

    def terminal_options(self, base: str) -> list[str]:
        return [*super().terminal_options(base), "--internal-pid-file", f"{base}.inner"]

    def at_terminal(self, inner: int) -> list[int]:
        try:
            return self._shim.sentry.family(self.id, inner)
        except SentryError:
            return []

    def kill_terminal(self, pid: int, known: list[int]) -> None:
        """pid -- of the runsc that stands for the command, and ends after it."""
        for inner in known:
            try:
                self._shim.sentry.kill_process(self.id, inner)
            except SentryError:  # it has just ended
                continue

    def usage(self) -> dict[str, float]:
        """CPU by the sandbox's own account, scaled to what the machine counted; memory is the sandbox's."""
        found = self.group.usage()
        try:
            mine, all_, found["pids"] = self._shim.sentry.usage(self.id)
        except SentryError:
            return found
        share = mine / all_ if all_ else 0.0
        return {what: count * share if what.startswith("cpu_") else count for what, count in found.items()}

    def let_go(self) -> None:
        if self.id:
            self._shim.forget(self)


def _in_dockers_words(cause: str, program: str) -> str:
    """A start's failure as runsc tells it, its own steps before the cause left out."""
    if "error finding executable" in cause:
        return f'exec: "{program}": executable file not found in $PATH'
    if "failed to load " in cause:
        why = cause.rpartition(": ")[2].replace("operation not permitted", "permission denied")
        return f'exec: "{program}": {why}'
    return cause.rpartition("starting sub-container ")[2].rpartition("starting root container: ")[2]


class SentryShim(Shim):
    def __init__(self, setup: dict[str, Any]) -> None:
        super().__init__(setup)
        self.sandbox_group = cgroup.Group(f"{setup['cgroup']}/sandbox", setup["v2"])
        self.sentry = Sentry(setup["id"])
        self.runs = 0
        self.boots = 0
        self._booting = True
        self._sole = setup["sentry"]["sole"]
        """Name of the container that is the root of its sandbox; empty: the root is one of ours."""
        self.root: Container | None = None
        """That container, once the sandbox is its."""
        self._sandbox = 0
        """The sandbox's process."""
        self._last_words = f"{setup['directory']}/c/panic.log"
        """Of a kernel of runsc's that failed."""

    def new_container(self, name: str) -> SentryContainer:
        return SentryContainer(self.setup, name, self)

    # -- birth and end of the sandbox ------------------------------------------------------------------

    def open(self) -> None:
        cpu = self.setup["cpu"]
        self.setup["cpu"] = max(cpu, _BOOT_CPU)
        super().open()
        self.setup["cpu"] = cpu
        without_membarrier()
        # runsc asks for rmem_default, which no network namespace but the first has, and fails without it
        kernel.mount("none", "/proc/sys/net", "tmpfs", kernel.MS_NOSUID)
        # and it asks here how much memory there is, which then is what its sandbox shows
        files.write(f"/proc/sys/net/{_MEMINFO}", f"MemTotal: {self.setup['sentry']['memory'] >> 10} kB\n")
        kernel.mount(f"/proc/sys/net/{_MEMINFO}", f"/proc/{_MEMINFO}", None, kernel.MS_BIND)
        if not self._sole:
            self._boot()

    def _boot(self) -> None:
        """Start the sandbox with a root container of ours. Raise OSError."""
        self.boots += 1
        here = f"{self.setup['directory']}/c/{ROOT}"
        os.makedirs(here)
        files.write(f"{here}/config.json", json.dumps(self._root_config()), 0o600)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        log = f"{here}/runtime.log"
        argv = [*self.setup["runtime"], "--root", f"{self.setup['directory']}/rt", "--log", log]
        argv += ["--log-format", "json", "run", "--detach", "--bundle", here, "--pid-file", f"{here}/pid"]
        pid = self.launch([*argv, self.setup["id"]], [(null, 0), (null, 1), (null, 2)])
        os.close(null)
        if os.waitpid(pid, 0)[1]:
            dead = self.sandbox_group.oom_kills() > 0
            raise OSError(5, f"runsc: {_NO_MEMORY if dead else runtime_error(log, 'sandbox')}")
        self._sandbox = int(files.read(f"{here}/pid"))
        self.waiting[self._sandbox] = partial(self._sandbox_ended, self.boots)

    def _root_config(self) -> dict[str, Any]:
        path = f"/proc/{self._pause}/ns/pid" if self._pause else ""
        namespaces: list[dict[str, str]] = [{"type": kind} for kind in ("ipc", "uts", "mount")]
        namespaces += [{"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}]
        namespaces += [{"type": "pid", **({"path": path} if path else {})}]
        return {
            "ociVersion": "1.0.2",
            "hostname": self.setup["files"]["hostname"].strip(),
            "annotations": {_KIND: "sandbox"},
            "process": {
                "args": _PAUSE_AND_REAP if self._pause else _PAUSE,
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "capabilities": {},
            },
            "root": {"path": self.setup["sentry"]["root"], "readonly": True},
            "linux": {"namespaces": namespaces},
        }

    def _sandbox_ended(self, boot: int, status: int) -> None:
        """status -- is its root container's, too."""
        if boot != self.boots:
            return  # there is another by now
        root, self.root, self._sandbox = self.root, None, 0
        if status == _GO_FAILED and _FAILURE.search(files.read(self._last_words)):
            root = None  # that is not the container's status
        for container in self.containers.values():
            if container.state["running"]:
                self.ended(container, status if container is root else _KILLED)

    def file_server_died(self, server: shared.FileServer) -> None:
        """runsc goes on using what it once found, which the next server does not know. So its sandbox ends,
        as it does with a file server of runsc's own."""
        self.sandbox_group.kill()
        super().file_server_died(server)

    def unmake(self) -> None:
        self.group.kill()
        super().unmake()

    # -- containers ------------------------------------------------------------------------------------

    def _start(self, request: dict[str, Any], done: Callable[..., None]) -> None:
        if self.root and self.root.starting:
            return done("its sandbox is being started")
        name = request["name"]
        inside = self._sandbox and not (self.root and not self.root.state["running"])
        try:
            if not inside:
                self._make_way(name)
        except OSError as error:
            return done(f"the sandbox cannot be started again: {error.strerror}")
        super()._start(request, done)

    def _make_way(self, name: str) -> None:
        """For a container, where there is no sandbox that it could run in. Raise OSError."""
        if self.boots:
            self._clear_up()
        if name != self._sole:
            return self._boot()
        self.boots += 1
        if name not in self.containers:
            self.containers[name] = self.new_container(name)
        self.root = self.containers[name]

    def _clear_up(self) -> None:
        """After a sandbox that ended (for want of memory, say): a container that is restarted gets a new one.
        Raise OSError.
        """
        self._clear_group()
        self.root, self._sandbox = None, 0
        here = self.setup["directory"]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._last_words)
        files.remove_tree(f"{here}/c/{ROOT}")
        for name in os.listdir(f"{here}/rt"):  # which is a mount
            files.remove_tree(f"{here}/rt/{name}")
        wanted = self.setup["interface"]
        if wanted and self._interface:  # runsc moves the address from the namespace into the sandbox
            self._interface.configure(wanted["address"], wanted["gateway"])

    def _clear_group(self) -> None:
        """Wait for the processes of a sandbox that ended, which hold its memory to their last, and remove
        their group: the next one's counts only what the next sandbox uses, and whether its memory ran out.
        Raise OSError.
        """
        deadline = time.monotonic() + _END_SECONDS
        while True:
            self.sandbox_group.kill()
            if self.sandbox_group.remove():
                return
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "the last one does not end")
            time.sleep(0.005)

    def launch(self, argv: list[str], pairs: list[tuple[int, int]]) -> int:
        """In the sandbox's group, with all that it starts: the sandbox, its file servers."""
        pid = os.fork()
        if pid:
            return pid
        try:
            self.sandbox_group.make_for(os.getpid())
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            for fd, target in pairs:
                os.dup2(fd, target)
            os.execve(argv[0], [argv[0], f"--panic-log={self._last_words}", *argv[1:]], os.environ)
        finally:
            os._exit(127)

    def begun(self, container: Container) -> None:
        if self._booting:
            self.group.limit(self.setup["memory"], self.setup["pids"], self.setup["cpu"])
            self._booting = False
        assert isinstance(container, SentryContainer)
        if container is self.root:
            self._sandbox = container.state["pid"]
            self.await_end(self._sandbox, partial(self._sandbox_ended, self.boots))
            if not self._sandbox:
                return  # it has been short
        elif not self._sandbox or container.boot != self.boots:  # `_sandbox_ended` said so before it ran
            return self.ended(container, _KILLED)
        try:
            waiting = self.sentry.wait(container.id)
        except SentryError:
            return self._sandbox_ends(container)
        run = (container.id, container.boot)
        self.watch(waiting.fileno(), lambda _fd: self._waited(container, run, waiting))

    def _waited(self, container: SentryContainer, run: tuple[str, int], waiting: socket.socket) -> None:
        self.unwatch(waiting.fileno())
        heard = True
        try:
            status = self.sentry.status(waiting)
        except SentryError:
            status, heard = None, False
        waiting.close()
        if (container.id, container.boot) != run or not container.state["running"]:
            return  # its sandbox has ended, this is late news of that: there may be a new one by now
        if status is not None:
            self.ended(container, status)
        elif heard:
            self.root = None  # whatever its process ended with is not the container's status
            self.sandbox_group.kill()
        else:
            self._sandbox_ends(container)

    def _sandbox_ends(self, container: SentryContainer) -> None:
        """It hears nothing any more: `_sandbox_ended` is next, and ends all of its containers. With its root
        it ends by itself, and its process says with which status.
        """
        if container is not self.root:
            return self.sandbox_group.kill()
        boot = self.boots
        self.timers.append((time.monotonic() + _END_SECONDS, lambda: self._end_late(boot)))

    def _end_late(self, boot: int) -> None:
        if self._sandbox and boot == self.boots:
            self.sandbox_group.kill()

    def forget(self, container: SentryContainer) -> None:
        """Have runsc forget a container that has ended, and end its file server."""
        if not self._sandbox:
            return
        if container is self.root:
            return self._sandbox_ends(container)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        argv = [*self.setup["runtime"], "--root", f"{self.setup['directory']}/rt", "--log", "/dev/null"]
        pid = self.spawn([*argv, "delete", "--force", container.id], [(null, 0), (null, 1), (null, 2)])
        os.close(null)
        self.waiting[pid] = lambda _status: None

    def _reap(self, fd: int) -> None:
        super()._reap(fd)
        if self.waiting.keys() <= {self._sandbox}:
            self._orphans.clear()
